"""What a chat completion must hold before anything is read from it.

Every body is parsed and checked here, because the client library accepts almost any JSON.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from em_tiers.api.model_names import is_served_as
from em_tiers.api.refusals import FailedAttempt, Final, message_of, says_filtered, shown, sound

_OTHER_MODEL = (
    "another model than the requested one signs the answers: correct model, or write "
    "endpoint.signed_as: {served} if that is the model you mean"
)
# How endpoints name the end of an answer that a filter withheld.
_WITHHELD = {
    "content_filter",
    "content_filtered",
    "guardrail_intervened",
    "refusal",
    "safety",
    "prohibited_content",
    "blocklist",
    "recitation",
    "sensitive",
    "spii",
}
_TEXTS = ("text", "output_text")
_THOUGHTS = ("thinking", "reasoning")
_WITHOUT_TEXT = ("reference", "redacted_thinking")  # parts that say nothing by themselves
_MOST_MASS = 1.05  # of the tokens of one position: rounding may add a little to 1
_NO_SAMPLES = "it ignores n: set decoding.samples to 1"
_NO_REASON = (
    "it does not say whether a reply is complete: use method top_logprobs or another endpoint"
)
_NO_LOGPROBS = "it gives no top logprobs of this model: use method sampled or structured"


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
        words = message_of(data)
        if says_filtered(words):
            raise Final("judge_refusal", f"content filter: {shown(words)}", charged=True)
        raise FailedAttempt("no choices in the answer", charged=True)
    served = data.get("model")
    if not isinstance(served, str) or not is_served_as(signature, served):
        name = shown(served if isinstance(served, str) else repr(served), 80)
        raise FailedAttempt(
            "served model differs",
            words=f"{signature!r} was requested, {name!r} answered",
            charged=True,
            lacks=_OTHER_MODEL.format(served=name),
        )
    reasons = {str(c.get("finish_reason")).lower() for c in found if isinstance(c, dict)}
    if withheld := reasons & _WITHHELD:
        why = f"content filter: the answer was withheld ({', '.join(sorted(withheld))})"
        raise Final("judge_refusal", why, charged=True)
    for choice in found:
        _check_no_error(choice)
    read = tuple(_read_choice(choice, wants_logprobs) for choice in found)
    if len(read) < choices and not any(choice.refusal for choice in read):
        reason = f"{len(read)} of {choices} samples in the answer"
        raise FailedAttempt(reason, charged=True, lacks=_NO_SAMPLES)
    usage = data.get("usage") if isinstance(data.get("usage"), dict) else {}
    return Reply(read, served, _count(usage, "prompt_tokens"), _count(usage, "completion_tokens"))


def _check_no_error(choice: Any) -> None:
    """A gateway may pass on a provider's failure as a choice without an end of its own."""
    error = choice.get("error") if isinstance(choice, dict) else None
    if not error and not (isinstance(choice, dict) and choice.get("finish_reason") == "error"):
        return
    words = shown(message_of({"error": error}))
    if says_filtered(words):
        raise Final("judge_refusal", f"content filter: {words}", charged=True)
    raise FailedAttempt("error in a choice of the answer", words=words, charged=True)


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
        sound(text or ""),
        sound(reasoning) if isinstance(reasoning, str) else None,
        refusal and sound(refusal),
        finish_reason,
        top,
    )


def _parts(content: Any) -> tuple[Any, str | None]:
    """Text and thoughts of a message's content, which Mistral gives as a list of parts."""
    if not isinstance(content, list):
        return content, None
    text = thoughts = ""
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in _WITHOUT_TEXT:
            continue
        inner, _ = _parts(part.get(kind, part.get("text"))) if kind else (None, None)
        if kind not in (*_TEXTS, *_THOUGHTS) or not isinstance(inner, str):
            raise FailedAttempt("malformed message in the answer", charged=True)
        if kind in _TEXTS:
            text += inner
        else:
            thoughts += inner
    return text, thoughts or None


def _read_top(logprobs: Any) -> tuple[tuple[tuple[str, float], ...], ...]:
    """Top log-probabilities of each token; empty where any is missing, or they cannot be true."""
    positions = []
    try:
        for position in logprobs["content"]:
            pairs = tuple((entry["token"], entry["logprob"]) for entry in position["top_logprobs"])
            if not pairs or not all(_is_logprob(*pair) for pair in pairs):
                return ()
            if sum(math.exp(logprob) for _, logprob in pairs) > _MOST_MASS:
                return ()
            positions.append(tuple((sound(token), logprob) for token, logprob in pairs))
    except (KeyError, TypeError):
        return ()
    return tuple(positions)


def _is_logprob(token: Any, logprob: Any) -> bool:
    # A hair above 0 is rounding; more is not the logarithm of a probability.
    number = isinstance(logprob, int | float) and not isinstance(logprob, bool)
    return isinstance(token, str) and number and math.isfinite(logprob) and logprob <= 1e-3


def _count(usage: Mapping[str, Any], name: str) -> int | None:
    value = usage.get(name)
    return value if type(value) is int and 0 <= value < 2**31 else None
