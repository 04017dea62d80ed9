"""What an endpoint is sent beyond the chat completion: extra_body and headers of its entry."""

import re
from collections.abc import Mapping
from typing import Any

from em_tiers.errors import UserError

# Parts of a request that other settings decide.
_OWN_FIELDS = {
    "model": "model",
    "messages": "the rubric",
    "n": "decoding.samples",
    "temperature": "decoding.temperature",
    "seed": "decoding.seed",
    "max_tokens": "decoding.max_tokens",
    "max_completion_tokens": "decoding.max_tokens",
    "logprobs": "method",
    "top_logprobs": "method",
    "response_format": "method",
    "stream": "nothing: replies are read whole",
}
_OWN_HEADERS = ("authorization", "cookie", "content-type", "content-length", "host")
# Of the name of a header that holds a key, and the beginning of a key.
_KEY_NAME = re.compile(r"key|token|secret|auth|passw|cookie|credential", re.IGNORECASE)
_KEY = re.compile(r"^(?:Bearer |Basic |sk-|sk_|hf_|gsk_|key-|AKIA|AIza|eyJ)")
# Headers that say who asks: they change no answer.
_HARMLESS = {"http-referer", "referer", "x-title", "user-agent", "openai-organization"}
_HARMLESS |= {"openai-project", "x-request-id", "x-client-request-id"}


def check_extras(extra_body: Mapping[str, Any] | None, headers: Mapping[str, str] | None) -> None:
    """Refuse extras that another setting decides, or that hold a key.

    Raises:
        UserError: names the key and the remedy.
    """
    for name in extra_body or {}:
        if name in _OWN_FIELDS:
            raise UserError(f"extra_body.{name}: is decided by {_OWN_FIELDS[name]}: remove it")
        if _KEY_NAME.search(name) and isinstance(extra_body[name], str):
            raise UserError(f"extra_body.{name}: looks like a key: use key_env")
    for name, value in (headers or {}).items():
        if not re.fullmatch(r"[A-Za-z0-9-]+", name) or not re.fullmatch(r"[\x20-\x7e]*", value):
            raise UserError(f"headers.{name}: cannot be sent: use letters, digits and hyphens")
        if name.lower() in _OWN_HEADERS or _KEY_NAME.search(name) or _KEY.match(value):
            raise UserError(f"headers.{name}: may hold a key or is set by the client: use key_env")


def identity_of_extras(
    extra_body: Mapping[str, Any] | None, headers: Mapping[str, str] | None
) -> dict[str, Any]:
    """The extras that can change an answer, for the identity of who answers; empty without any."""
    kept = {k.lower(): v for k, v in (headers or {}).items() if k.lower() not in _HARMLESS}
    extras = {"extra_body": dict(extra_body or {}), "headers": kept}
    return {name: value for name, value in extras.items() if value}


def pins_provider(extra_body: Mapping[str, Any] | None) -> bool:
    """Whether a router is told which provider must answer, as OpenRouter understands it."""
    provider = (extra_body or {}).get("provider")
    if not isinstance(provider, Mapping):
        return False
    only, order = provider.get("only"), provider.get("order")
    if isinstance(only, list) and len(only) == 1:
        return True
    alone = isinstance(order, list) and len(order) == 1
    return alone and provider.get("allow_fallbacks") is False
