"""One request to an OpenAI-compatible endpoint, and everything that can come back instead.

Each attempt ends in a `Reply`, or in one of three errors: `FailedAttempt` (ask again later),
`Final` (this request will never be answered; record its status) or `UserError` (no request can be
answered: no credit, bad key, unknown model). Every body is parsed and checked here, because the
client library accepts almost any JSON.
"""

import asyncio
import json
import math
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from em_tiers.errors import TemporaryError, UserError
from em_tiers.judge.base_url import split_base_url
from em_tiers.judge.model_names import is_served_as
from em_tiers.retry import seconds_of_retry_after

_NO_CREDIT = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}
_CONTENT_FILTER = {
    "content_filter",
    "content_policy_violation",
    "data_inspection_failed",  # DashScope, in two spellings
    "datainspectionfailed",
    "invalid_prompt",  # OpenAI's reasoning models, for a prompt that was flagged
    "responsibleaipolicyviolation",
}
# Endpoints name each of both by a code, by a status, or in words only.
_CONTENT_FILTER_WORDS = re.compile(
    r"flagged|moderation|content exists risk|considered high risk|inappropriate content|"
    r"(?:prohibited|sensitive).content|content.(?:filter|management|polic)|"
    r"violat\w+ .{0,20}(?:usage|content|safety|polic)|usage (?:guideline|polic)|"
    r"safety.(?:check|filter|system)",
    re.IGNORECASE,
)
_FILTERED = {400, 403, 422, 451}
_TOO_LONG = {"context_length_exceeded", "string_above_max_length", "exceed_context_size_error"}
_TOO_LONG_WORDS = re.compile(
    r"context (?:length|window|size)|too (?:long|many tokens)|maximum model length|max_model_len|"
    r"input token count|reduce the length",
    re.IGNORECASE,
)
_OTHER_MODEL = "another model than the asked one signs the answers: correct model"
_NO_SAMPLES = "it ignores n: set decoding.samples to 1"
_NO_REASON = (
    "it does not say whether a reply is complete: use method top_logprobs or another endpoint"
)
_NO_LOGPROBS = "it gives no top logprobs of this model: use method sampled or structured"
_AZURE = (".azure.com", ".azure.us", ".azure.cn")
_RETRIED = {408, 409, 425, 429}
_STOPPED = {401, 402, 403, 404}


class FailedAttempt(TemporaryError):
    """The attempt failed in a way that may pass.

    Attributes:
        slow_down: the endpoint says that it receives too many requests.
        charged: the endpoint may have done the work, and charge for it.
        lacks: the remedy, if this is not chance and the endpoint cannot do what it was asked.
    """

    def __init__(
        self,
        reason: str,
        *,
        slow_down: bool = False,
        retry_after_s: float | None = None,
        charged: bool = False,
        lacks: str | None = None,
    ):
        super().__init__(reason, retry_after_s)
        self.slow_down = slow_down
        self.charged = charged
        self.lacks = lacks


class Final(Exception):
    """The endpoint will not answer this request: `status` is the verdict's, the text says why."""

    def __init__(self, status: str, reason: str):
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Choice:
    """One answer: its text, its thinking apart, and the top log-probabilities of each token."""

    text: str
    reasoning: str | None
    refusal: str | None
    finish_reason: str
    top: tuple[tuple[tuple[str, float], ...], ...]  # token position -> (token, log-probability)


@dataclass(frozen=True)
class Reply:
    """A checked answer. Token counts are None where the endpoint gives none."""

    choices: tuple[Choice, ...]
    served_model: str
    prompt_tokens: int | None
    completion_tokens: int | None  # thinking included: it is paid for


def read_key(name: str, judge: str) -> str:
    """The key in the environment variable `name`; "-" where the entry names none.

    Raises:
        UserError: the variable is missing, empty, or holds what no header can carry.
    """
    if not name:
        return "-"
    key = os.environ.get(name, "").strip()
    if not key:
        raise UserError(f"judge {judge}: {name}: this environment variable is not set: export it")
    if not re.fullmatch(r"[\x21-\x7e]+", key):
        raise UserError(f"judge {judge}: {name}: the key in it has blanks or other odd characters")
    return key


class Endpoint:
    """An OpenAI-compatible endpoint. Use it as an asynchronous context.

    The library's own retries are off: they would hide attempts from the journal and the ceilings.
    Redirects are not followed: the key and the answers go to the named host or nowhere.

    Args:
        settings: base_url (its query goes with every request, as Azure's api-version does),
            timeout_s (for a whole request, from sending to the last byte), concurrency.
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
        self._key = key
        self.has_answered = False
        parts = split_base_url(settings["base_url"])
        self.host = parts.hostname
        self._url = parts._replace(query="", fragment="").geturl()
        self._query = dict(parse_qsl(parts.query))
        # A plain-http request would show the key to a proxy; through https it is a mere tunnel.
        self._trust_env = parts.scheme == "https"

    async def __aenter__(self) -> "Endpoint":
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        self._http = DefaultAsyncHttpxClient(
            follow_redirects=False,
            trust_env=self._trust_env,
            timeout=self.settings["timeout_s"],
        )
        self._client = AsyncOpenAI(
            api_key=self._key,
            base_url=self._url,
            default_query=self._query,
            default_headers={"api-key": self._key} if self.host.endswith(_AZURE) else {},
            max_retries=0,
            timeout=self.settings["timeout_s"],
            http_client=self._http,
        )
        if not self.host.endswith(".openai.com"):
            # Read from the environment by the library: other hosts have no business with them.
            self._client.organization = self._client.project = None
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def ask(self, body: Mapping[str, Any]) -> Reply:
        """Send one chat completion request, once.

        Args:
            body: messages and decoding, without the model. With logprobs in it the answer must
                bring them, and with n as many choices.

        Raises:
            FailedAttempt, Final, UserError: see the module.
        """
        import openai

        try:
            async with asyncio.timeout(self.settings["timeout_s"]):
                raw = await self._client.chat.completions.with_raw_response.create(
                    model=self.model, **body
                )
                text = raw.text
        except (TimeoutError, openai.APITimeoutError):
            raise FailedAttempt("timeout", charged=True) from None
        except openai.APIStatusError as error:
            message = self._scrub(_message_of(error.body) or error.message)
            headers = error.response.headers
            wait = seconds_of_retry_after(headers, time.time())
            # `from None`: the request with its headers hangs on the original error.
            raise self._refused(error.status_code, error.body, message, wait) from None
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            raise FailedAttempt(self._scrub(_connection_words(cause)), charged=True) from None
        return self._checked(text, body)

    def _checked(self, text: str, body: Mapping[str, Any]) -> Reply:
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            raise FailedAttempt("answer is not JSON", charged=True) from None
        if isinstance(data, dict) and data.get("error"):
            message = self._scrub(_message_of(data) or "error in the body of an answer")
            code = data["error"].get("code") if isinstance(data["error"], dict) else None
            raise self._refused(code if isinstance(code, int) else 500, data, message, None)
        reply = read_reply(data, self.signature, bool(body.get("logprobs")), body.get("n", 1))
        self.has_answered = True
        return reply

    def _refused(
        self, status: int, body: Any, message: str, wait: float | None
    ) -> FailedAttempt | Final | UserError:
        """What an HTTP status and its error body mean."""
        codes = _codes_of(body)
        where = f"endpoint {self.host}, model {self.model}: HTTP {status}: {message}"
        if status == 402 or codes & _NO_CREDIT:
            return UserError(f"{where}: no credit left: top up the account, then run again")
        filtered = status in _FILTERED and _CONTENT_FILTER_WORDS.search(message)
        if filtered or codes & _CONTENT_FILTER:
            # Some word it as a missing right; it is about this one request.
            return Final("judge_refusal", f"content filter: {message}")
        if status == 403 and self.has_answered:
            return Final("api_error", f"HTTP 403: {message}")
        if status in _STOPPED:
            remedy = {
                401: "the key is not accepted: check the variable that key_env names",
                403: "the key may not do this: check its rights and the model",
                404: "the model or the address is unknown: check model and base_url",
            }[status]
            return UserError(f"{where}: {remedy}")
        if 300 <= status < 400:
            return UserError(f"{where}: it redirects, which is not followed: correct base_url")
        if status in _RETRIED or status >= 500:
            slow = status in (429, 503)
            return FailedAttempt(
                f"HTTP {status}", slow_down=slow, retry_after_s=wait if slow else None
            )
        too_long = status == 413 or codes & _TOO_LONG or _TOO_LONG_WORDS.search(message)
        return Final("truncated" if too_long else "api_error", f"HTTP {status}: {message}")

    def _scrub(self, text: str) -> str:
        """`text` in one line of bounded length, without the key."""
        if len(self._key) > 3:
            text = text.replace(self._key, "[key]")
        return _sound(" ".join(text.split())[:300])


def read_reply(data: Any, signature: str, wants_logprobs: bool, choices: int) -> Reply:
    """Check the JSON of an answer with status 200 and take from it what a verdict needs.

    Raises:
        FailedAttempt: it is not an answer that a score may be taken from.
        Final: a content filter stopped it.
    """
    if not isinstance(data, dict):
        raise FailedAttempt("answer is not a chat completion", charged=True)
    found = data.get("choices")
    if not isinstance(found, list) or not found:
        raise FailedAttempt("no choices in the answer", charged=True)
    served = data.get("model")
    if not isinstance(served, str) or not is_served_as(signature, served):
        raise FailedAttempt("served model differs", charged=True, lacks=_OTHER_MODEL)
    if any(isinstance(c, dict) and c.get("finish_reason") == "content_filter" for c in found):
        raise Final("judge_refusal", "content filter: the answer was withheld")
    read = tuple(_read_choice(choice, wants_logprobs) for choice in found)
    if len(read) < choices and not any(choice.refusal for choice in read):
        reason = f"{len(read)} of {choices} samples in the answer"
        raise FailedAttempt(reason, charged=True, lacks=_NO_SAMPLES)
    usage = data.get("usage") if isinstance(data.get("usage"), dict) else {}
    return Reply(read, served, _count(usage, "prompt_tokens"), _count(usage, "completion_tokens"))


def _read_choice(choice: Any, wants_logprobs: bool) -> Choice:
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        raise FailedAttempt("no message in the answer", charged=True)
    text, thoughts = _parts(message.get("content"))
    refusal = message.get("refusal")
    # vLLM says reasoning, DeepSeek and older servers reasoning_content.
    reasoning = message.get("reasoning") or message.get("reasoning_content") or thoughts
    if not isinstance(text, str | None) or not isinstance(refusal, str | None):
        raise FailedAttempt("malformed message in the answer", charged=True)
    top = () if refusal else _read_top(choice.get("logprobs"))
    if wants_logprobs and not refusal and not top:
        raise FailedAttempt("no logprobs in the answer", charged=True, lacks=_NO_LOGPROBS)
    finish_reason = str(choice.get("finish_reason") or "")
    if not (wants_logprobs or refusal or finish_reason):
        raise FailedAttempt("no finish_reason in the answer", charged=True, lacks=_NO_REASON)
    return Choice(
        _sound(text or ""),
        _sound(reasoning) if isinstance(reasoning, str) else None,
        refusal and _sound(refusal),
        finish_reason,
        top,
    )


def _parts(content: Any) -> tuple[Any, str | None]:
    """Text and thoughts of a message's content, which Mistral gives as a list of parts."""
    if not isinstance(content, list):
        return content, None
    by_type: dict[str, str] = {"text": "", "thinking": ""}
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in by_type:
            raise FailedAttempt("malformed message in the answer", charged=True)
        inner, _ = _parts(part.get(kind))
        if not isinstance(inner, str):
            raise FailedAttempt("malformed message in the answer", charged=True)
        by_type[kind] += inner
    return by_type["text"], by_type["thinking"] or None


def _read_top(logprobs: Any) -> tuple[tuple[tuple[str, float], ...], ...]:
    """Top log-probabilities of each token; empty where any part of them is missing or no number."""
    positions = []
    try:
        for position in logprobs["content"]:
            pairs = tuple((entry["token"], entry["logprob"]) for entry in position["top_logprobs"])
            if not pairs or not all(_is_logprob(*pair) for pair in pairs):
                return ()
            positions.append(tuple((_sound(token), logprob) for token, logprob in pairs))
    except (KeyError, TypeError):
        return ()
    return tuple(positions)


def _is_logprob(token: Any, logprob: Any) -> bool:
    # A hair above 0 is rounding; more is not the logarithm of a probability.
    number = isinstance(logprob, int | float) and not isinstance(logprob, bool)
    return isinstance(token, str) and number and math.isfinite(logprob) and logprob <= 1e-3


def _sound(text: str) -> str:
    """`text` as valid Unicode: JSON can spell half of a surrogate pair, which no table can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _count(usage: Mapping[str, Any], name: str) -> int | None:
    value = usage.get(name)
    return value if type(value) is int and 0 <= value < 2**31 else None


def _error_of(body: Any) -> dict[str, Any]:
    """The error object of a body: OpenAI wraps it in "error", the client library unwraps it.

    Some endpoints give a text in its place.
    """
    if not isinstance(body, dict):
        return {"message": body}
    inner = body.get("error")
    if isinstance(inner, str):
        return {"message": inner, "code": body.get("code")}
    return inner if isinstance(inner, dict) else body


def _message_of(body: Any) -> str:
    message = _error_of(body).get("message")
    return message if isinstance(message, str) else ""


def _codes_of(body: Any) -> set[str]:
    error = _error_of(body)
    inner = error.get("innererror")
    values = [error.get("code"), error.get("type")]
    if isinstance(inner, dict):
        values.append(inner.get("code"))
    return {value.lower() for value in values if isinstance(value, str)}


def _connection_words(cause: BaseException) -> str:
    """One name for each kind of broken connection, so that reasons can be counted."""
    kind = type(cause).__name__
    if kind == "ConnectError":
        return "no connection"
    if kind in ("RemoteProtocolError", "ReadError", "WriteError"):
        return "connection broken"
    return f"no answer ({kind})"
