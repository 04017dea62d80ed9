"""One request to an OpenAI-compatible endpoint, and everything that can come back instead.

Each attempt ends in a `Reply`, or in one of three errors: `FailedAttempt` (ask again later),
`Final` (this request will never be answered; record its status) or `UserError` (no request can be
answered: no credit, bad key, unknown model).
"""

import asyncio
import contextlib
import json
import os
import re
import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from em_tiers.api.base_url import split_base_url
from em_tiers.api.refusals import FailedAttempt, Final, message_of, refusal_of, shown
from em_tiers.api.replies import Reply, read_reply
from em_tiers.errors import UserError
from em_tiers.retry import seconds_of_retry_after
from em_tiers.secret_forms import spellings

T = TypeVar("T")
_AZURE = (".azure.com", ".azure.us", ".azure.cn")
# Bytes of an unpacked reply, and more of them for each token that it may have: far above what any
# honest reply takes.
REPLY_BYTES = 2**20
BYTES_PER_TOKEN = 64
BYTES_PER_TOKEN_WITH_LOGPROBS = 4096


def read_key(name: str, who: str) -> str:
    """The key in the environment variable `name`; "-" where the entry names none.

    Raises:
        UserError: the variable is missing, empty, or holds what no header can carry.
    """
    if not name:
        return "-"
    key = os.environ.get(name, "").strip()
    if not key:
        raise UserError(f"{who}: {name}: this environment variable is not set: export it")
    if not re.fullmatch(r"[\x21-\x7e]+", key):
        raise UserError(f"{who}: {name}: the key in it has blanks or other odd characters")
    return key


class Endpoint:
    """An OpenAI-compatible endpoint. Use it as an asynchronous context.

    The library's own retries are off: they would hide attempts from the journal and the ceilings.
    Redirects are not followed: the key and the answers go to the named host or nowhere.

    Args:
        settings: base_url (its query goes with every request, as Azure's api-version does),
            timeout_s (for a whole request, from sending to the last byte), and where the endpoint
            needs them extra_body (JSON that goes with every request) and headers.
        key: see `read_key`; it is cut out of every message that leaves this class.
        model: served name to ask for; answers must be signed by it.
        signature: the name that answers must carry where it is not `model` (Azure signs with the
            model's name and is asked by the deployment's).
    """

    def __init__(
        self, settings: Mapping[str, Any], key: str, model: str, signature: str | None = None
    ):
        self.settings = settings
        self.model = model
        self.signature = signature or model
        self.key = key
        self._spellings = spellings(key)
        parts = split_base_url(settings["base_url"])
        self.host = parts.hostname
        self.url = parts._replace(query="", fragment="").geturl()
        self.query = dict(parse_qsl(parts.query))
        # A plain-http request would show the key to a proxy; through https it is a mere tunnel.
        self.trust_env = parts.scheme == "https"

    @property
    def name(self) -> str:
        """Host and model, for messages."""
        return f"endpoint {self.host}, model {self.model}"

    @property
    def library(self) -> Any:
        """The client library; its errors have the same names in all libraries of its makers."""
        import openai

        return openai

    def make_client(self) -> Any:
        """The library's client, which sends nothing by itself."""
        azure = {"api-key": self.key} if self.host.endswith(_AZURE) else {}
        client = self.library.AsyncOpenAI(
            api_key=self.key,
            base_url=self.url,
            default_query=self.query,
            default_headers=azure | dict(self.settings.get("headers") or {}),
            max_retries=0,
            timeout=self.settings["timeout_s"],
            http_client=bounded_http_client(self),
        )
        if not self.host.endswith(".openai.com"):
            # Read from the environment by the library: other hosts have no business with them.
            client.organization = client.project = None
        return client

    async def __aenter__(self) -> "Endpoint":
        self.client = self.make_client()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()

    async def ask(self, body: Mapping[str, Any]) -> Reply:
        """Send one chat completion request, once.

        Args:
            body: messages and decoding, without the model. With logprobs in it the answer must
                bring them, and with n as many choices. The endpoint's own extra_body is added.

        Raises:
            FailedAttempt, Final, UserError: see the module.
        """
        _MOST_BYTES.set(most_bytes(body))
        return self.read(self.without_key(await self.send(body)), body)

    async def send(self, body: Mapping[str, Any]) -> str:
        """The text of an answer with status 200."""
        extra = self.settings.get("extra_body")
        known = {name: value for name, value in body.items() if name != "reasoning_tokens"}
        raw = await self.call(
            lambda: self.client.chat.completions.with_raw_response.create(
                model=self.model, **known, **({"extra_body": extra} if extra else {})
            )
        )
        return raw.text

    async def call(self, send: Callable[[], Awaitable[T]], bounded: bool = True) -> T:
        """The result of one call of the client library, or what its failure means.

        Args:
            send: makes the call.
            bounded: whether the reply has a size limit; answers of a whole batch have none.

        Raises:
            FailedAttempt, Final, UserError: see the module.
        """
        library = self.library
        if not bounded:
            _MOST_BYTES.set(sys.maxsize)
        try:
            async with asyncio.timeout(self.settings["timeout_s"]):
                return await send()
        except (TimeoutError, library.APITimeoutError):
            raise FailedAttempt("timeout", charged=True) from None
        except library.APIStatusError as error:
            message = message_of(error.body) or error.message
            headers = error.response.headers
            wait = seconds_of_retry_after(headers, time.time())
            # `from None`: the request with its headers hangs on the original error.
            raise self.refusal(error.status_code, error.body, message, wait) from None
        except library.APIConnectionError as error:
            raise self._broken(error.__cause__ or error) from None

    def read(self, text: str, body: Mapping[str, Any]) -> Reply:
        """The reply that the text of an answer to `body` is.

        Raises:
            FailedAttempt, Final, UserError: see the module.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            raise FailedAttempt("answer is not JSON", words=shown(text), charged=True) from None
        if isinstance(data, dict) and data.get("error"):
            message = message_of(data) or "error in the body of an answer"
            raise self.refusal(_status_in(data["error"]), data, message)
        return read_reply(data, self.signature, bool(body.get("logprobs")), body.get("n", 1))

    def refusal(
        self, status: int, body: Any, message: str, wait_s: float | None = None
    ) -> Exception:
        """What an HTTP status other than 200 means (see `refusals.refusal_of`)."""
        return refusal_of(status, body, shown(self.without_key(message)), self.name, wait_s)

    def _broken(self, cause: BaseException) -> Exception:
        """What a connection that failed means."""
        words = shown(self.without_key(str(cause)))
        if isinstance(cause, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY" in words:
            return UserError(
                f"{self.name}: its certificate is not trusted ({words}): correct base_url, or "
                "name the file of your authority's certificate in the variable SSL_CERT_FILE"
            )
        return FailedAttempt(_connection_words(cause), words=words, charged=_was_sent(cause))

    def without_key(self, text: str) -> str:
        """`text` without the key, which an endpoint may repeat in one of several spellings."""
        for spelling in self._spellings:
            text = text.replace(spelling, "[key]")
        return text


def bounded_http_client(endpoint: Endpoint) -> Any:
    """The HTTP client below a client library: no redirects, and replies of bounded size."""
    return endpoint.library.DefaultAsyncHttpxClient(
        follow_redirects=False,
        trust_env=endpoint.trust_env,
        timeout=endpoint.settings["timeout_s"],
        event_hooks={"response": [_read_bounded]},
    )


_MOST_BYTES: ContextVar[int] = ContextVar("most_bytes")


def most_bytes(body: Mapping[str, Any]) -> int:
    """Size in bytes above which a reply to this request is not read."""
    tokens = body.get("max_completion_tokens") or body.get("max_tokens") or 0
    each = BYTES_PER_TOKEN_WITH_LOGPROBS if body.get("logprobs") else BYTES_PER_TOKEN
    return REPLY_BYTES + tokens * body.get("n", 1) * each


async def _read_bounded(response: Any) -> None:
    """Read a response's body, unpacked piece by piece, and refuse one without an end.

    Only the beginning of an error is read: its status has the meaning.

    Raises:
        Final: it is larger than any reply to the request can be.
    """
    most, parts, size = _MOST_BYTES.get(REPLY_BYTES), [], 0
    async with contextlib.aclosing(response.aiter_bytes()) as pieces:
        async for piece in pieces:
            size += len(piece)
            if size > most and response.status_code != 200:
                break
            if size > most:
                raise Final(
                    "unparsable",
                    f"the reply has more than {most:,} bytes and was not read",
                    charged=True,
                )
            parts.append(piece)
    response._content = b"".join(parts)  # as its own aread() would; tests hold the library to it


def _status_in(error: Any) -> int:
    """The HTTP status that an error in the body of an answer names; 500 without one."""
    code = error.get("code") if isinstance(error, dict) else None
    named = str(code) if type(code) in (int, str) else ""
    return int(named) if re.fullmatch("[45][0-9][0-9]", named) else 500


def _was_sent(cause: BaseException) -> bool:
    """Whether a request may have reached the endpoint before its connection failed."""
    return type(cause).__name__ not in ("ConnectError", "ConnectTimeout", "PoolTimeout")


def _connection_words(cause: BaseException) -> str:
    """One name for each kind of broken connection, so that reasons can be counted."""
    kind = type(cause).__name__
    if kind == "ConnectError":
        return "no connection"
    if kind in ("RemoteProtocolError", "ReadError", "WriteError"):
        return "connection broken"
    return f"no answer ({kind})"
