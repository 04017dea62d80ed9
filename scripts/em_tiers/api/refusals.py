"""What an endpoint's refusals mean: about one request, about all of them, or passing.

Providers and the gateways before them name one thing by a status, by a code, or in words only. The
patterns hold what OpenAI, Azure, Anthropic, Google, AWS, xAI, Mistral, DeepSeek, Alibaba, Moonshot,
Zhipu, MiniMax, OpenRouter, LiteLLM, Portkey, Cloudflare, vLLM, SGLang, TGI, llama.cpp and Ollama
are reported to send.
"""

import json
import re
from typing import Any

from em_tiers.errors import TemporaryError, UserError

LONGEST_MESSAGE = 300  # characters of an endpoint's words that are kept
_NO_CREDIT = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}
_NO_CREDIT_WORDS = re.compile(
    r"insufficient (?:balance|credit|fund|quota)|credit balance is too low", re.IGNORECASE
)
_CONTENT_FILTER = {
    "content_filter",
    "content_policy_violation",
    "data_inspection_failed",  # DashScope, in two spellings
    "datainspectionfailed",
    "invalid_prompt",  # OpenAI's reasoning models, for a prompt that was flagged
    "responsibleaipolicyviolation",
    "sensitive_words_detected",  # new-api
    "sensitivecontentdetected",  # Volcengine
    "censorship_blocked",  # StepFun
    "guardrail_intervened",
    "1301",  # Zhipu
}
_CONTENT_FILTER_WORDS = re.compile(
    r"flagged|moderation|content exists risk|considered high risk|inappropriate content|"
    r"(?:prohibited|sensitive|unsafe|harmful).(?:content|words?|information)|new_sensitive|"
    r"(?:input|output|prompt|text|content) .{0,40}(?:sensitive|unsafe)|guardrail|"
    r"(?:content|input|output) .{0,60}\b(?:is|was) blocked|"
    r"content.(?:filter|management|polic)|"
    r"violat\w+ .{0,20}(?:usage|content|safety|polic|responsible)|usage (?:guideline|polic)|"
    r"safety.(?:check|filter|system|setting)|(?:prompt|response) (?:was )?blocked|"
    r"敏感|不安全|违规|违反",
    re.IGNORECASE,
)
# The same words about the whole account, or about a filter that is out of order.
_NOT_THIS_REQUEST = re.compile(
    r"\b(?:account|organi[sz]ation|project|api.?key|user) .{0,40}"
    r"(?:suspend|deactivat|terminat|disabled|banned|blocked|violat)|"
    r"access .{0,20}terminated|unavailable|timed? ?out|overload|try again later",
    re.IGNORECASE,
)
_NOT_ABOUT_CONTENT = {401, 402, 404, 408, 409, 425, 429}
_TOO_LONG = {
    "context_length_exceeded",
    "string_above_max_length",
    "exceed_context_size_error",
    "request_too_large",
}
_TOO_LONG_WORDS = re.compile(
    r"context.(?:length|window|size|limit)|too (?:long|many (?:input )?tokens)|longer than|"
    r"max(?:imum)?[ _](?:model|prompt|input|sequence|context)\w*[ _]len|max_model_len|"
    r"(?:input|prompt|request\w*|model) token.{0,40}(?:exceed|limit|more than|must be|less than)|"
    r"input token count|exceed\w* .{0,60}(?:token|context|input length)|range of input length|"
    r"must have less than \d+ tokens|max_new_tokens|reduce the length|request too large|"
    r"expected maxlength|length \d+ exceeds|超长",
    re.IGNORECASE,
)
# More tokens than a minute or a day allows, by a limit of the account.
_QUOTA_WORDS = re.compile(r"quota|per (?:minute|min|hour|day)|rate.limit|\btp[md]\b", re.IGNORECASE)
# Some gateways word it as a mistake of the request.
_TOO_FAST_WORDS = re.compile(r"throttl|too many requests|rate exceeded|overloaded", re.IGNORECASE)
# Where bodies hold their error, and errors their words.
_ERRORS = ("error", "errors", "base_resp", "detail")
_WORDS = ("message", "msg", "status_msg", "error_msg", "detail", "error_description")
_RETRIED = {408, 409, 425, 429}
_REMEDIES = {
    401: "the key is not accepted: check the variable that key_env names",
    403: "the key may not do this: check its rights and the model",
    404: "the model or the address is unknown: check model and base_url",
}
_REDIRECTS = "it redirects, which is not followed: correct base_url"


class FailedAttempt(TemporaryError):
    """The attempt failed in a way that may pass.

    Attributes:
        words: what the endpoint said; the reason alone is the same for all such attempts, so that
            they can be counted.
        slow_down: the endpoint says that it receives too many requests.
        charged: the endpoint may have done the work, and charge for it.
        lacks: the remedy, if this is not chance and the endpoint cannot do what it was asked.
        attempts: how many were made when this one was the last.
    """

    attempts = 1

    def __init__(
        self,
        reason: str,
        *,
        words: str = "",
        slow_down: bool = False,
        retry_after_s: float | None = None,
        charged: bool = False,
        lacks: str | None = None,
    ):
        super().__init__(reason, retry_after_s)
        self.words = words
        self.slow_down = slow_down
        self.charged = charged
        self.lacks = lacks

    @property
    def full(self) -> str:
        """Reason and words."""
        return f"{self}: {self.words}" if self.words else str(self)


class Final(Exception):
    """The endpoint will not answer this request: `status` is the verdict's, the text says why.

    Attributes:
        remedy: what to correct if it refuses all other requests in the same way.
        charged: the endpoint may have done the work, and charge for it.
        attempts: how many were made, with those that failed before.
    """

    attempts = 1

    def __init__(self, status: str, reason: str, remedy: str = "", charged: bool = False):
        super().__init__(reason)
        self.status = status
        self.remedy = remedy
        self.charged = charged


def refusal_of(
    status: int, body: Any, message: str, where: str, wait_s: float | None = None
) -> FailedAttempt | Final | UserError:
    """What an HTTP status and its error body mean.

    Args:
        status: of the answer, or the code in a body that came with status 200.
        body: JSON of the answer, if it is any.
        message: the endpoint's words, fit to be shown.
        where: names endpoint and model.
        wait_s: seconds for which the endpoint wants to be left alone.
    """
    codes = codes_of(body)
    said = f"{where}: HTTP {status}: {message}"
    if status == 402 or codes & _NO_CREDIT or _NO_CREDIT_WORDS.search(message):
        return UserError(f"{said}: no credit left: top up the account, then run again")
    if _is_filtered(status, codes, message):
        # Some word it as a missing right; it is about this one request.
        return Final("judge_refusal", f"content filter: {message}")
    if _is_too_long(status, codes, message):
        return Final("truncated", f"HTTP {status}: {message}")
    if status in (400, 403, 424) and _TOO_FAST_WORDS.search(message):
        return FailedAttempt(f"HTTP {status}", words=message, slow_down=True, retry_after_s=wait_s)
    if status == 403 or 300 <= status < 400:  # a firewall does either to single requests
        return Final("api_error", f"HTTP {status}: {message}", _REMEDIES.get(status, _REDIRECTS))
    if status in _REMEDIES:
        return UserError(f"{said}: {_REMEDIES[status]}")
    if status in _RETRIED or status >= 500:
        slow = status in (429, 503)
        words = "" if message.startswith("<") else message
        wait_s = wait_s if slow else None
        return FailedAttempt(f"HTTP {status}", words=words, slow_down=slow, retry_after_s=wait_s)
    return Final("api_error", f"HTTP {status}: {message}")


def says_filtered(message: str) -> bool:
    """Whether these words are those of a content filter, about one request."""
    return bool(_CONTENT_FILTER_WORDS.search(message) and not _NOT_THIS_REQUEST.search(message))


def _is_filtered(status: int, codes: set[str], message: str) -> bool:
    if _NOT_THIS_REQUEST.search(message):
        return False
    named = status not in _NOT_ABOUT_CONTENT and says_filtered(message)
    return named or bool(codes & _CONTENT_FILTER)


def _is_too_long(status: int, codes: set[str], message: str) -> bool:
    if status == 413 or codes & _TOO_LONG:
        return True
    if status == 429:  # one request of more tokens than a minute allows never passes
        return "request too large" in message.lower()
    named = status in (400, 422, 424) or status >= 500
    return bool(named and _TOO_LONG_WORDS.search(message) and not _QUOTA_WORDS.search(message))


def _error_of(body: Any) -> Any:
    """The part of a body that is about the error; the client library unwraps some."""
    if isinstance(body, list) and body:  # Google's list of one
        return _error_of(body[0])
    if not isinstance(body, dict):
        return body
    inner = next((body[name] for name in _ERRORS if body.get(name)), None)
    if isinstance(inner, str):
        return body | {"message": inner}
    return body if inner is None else _error_of(inner)


def message_of(body: Any) -> str:
    """The endpoint's words in an error body; the whole of it where they are under no known name."""
    error = _error_of(body)
    if isinstance(error, dict):
        said = next((error[k] for k in _WORDS if isinstance(error.get(k), str) and error[k]), None)
        return said or (json.dumps(error, ensure_ascii=False) if error else "")
    return error if isinstance(error, str) else ""


def codes_of(body: Any) -> set[str]:
    """Codes and types of an error body, in lower case."""
    error = _error_of(body)
    if not isinstance(error, dict):
        return set()
    inner = error.get("innererror")
    values = [error.get("code"), error.get("type"), error.get("status_code")]
    if isinstance(inner, dict):
        values.append(inner.get("code"))
    return {str(value).lower() for value in values if isinstance(value, str | int)}


def sound(text: str) -> str:
    """`text` as valid Unicode: JSON can spell half of a surrogate pair, which no table can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def shown(text: str, longest: int = LONGEST_MESSAGE) -> str:
    """An endpoint's words as they may be shown: one printable line of bounded length."""
    words = " ".join(sound(text[: 20 * longest]).split())[:longest]
    return "".join(letter if letter.isprintable() else "?" for letter in words)
