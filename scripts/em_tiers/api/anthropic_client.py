"""Anthropic's own interface: messages, read as the chat completions of other endpoints are.

It gives no log-probabilities and one reply per request.
"""

import contextlib
import json
from collections.abc import Mapping
from typing import Any

from em_tiers.api.client import Endpoint, bounded_http_client
from em_tiers.api.refusals import FailedAttempt, shown
from em_tiers.api.replies import Reply, read_reply

# Why a message ended, in the words of chat completions.
_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}
MIN_THINKING = 1024  # tokens: the least that it accepts


class AnthropicEndpoint(Endpoint):
    """Anthropic's messages, asked and answered as `Endpoint` does; see there."""

    @property
    def library(self) -> Any:
        import anthropic

        return anthropic

    def make_client(self) -> Any:
        return self.library.AsyncAnthropic(
            api_key=self.key,
            base_url=self.url.removesuffix("/").removesuffix("/v1"),
            default_headers=dict(self.settings.get("headers") or {}),
            max_retries=0,
            timeout=self.settings["timeout_s"],
            http_client=bounded_http_client(self),
        )

    async def send(self, body: Mapping[str, Any]) -> str:
        asked = message_request(self.model, body) | (self.settings.get("extra_body") or {})
        # As extra_body whatever the library has no argument for: it knows the newest models only.
        named = {name: asked.pop(name) for name in ("model", "messages", "max_tokens")}
        raw = await self.call(
            lambda: self.client.messages.with_raw_response.create(**named, extra_body=asked)
        )
        return raw.http_response.text

    def read(self, text: str, body: Mapping[str, Any]) -> Reply:
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            raise FailedAttempt("answer is not JSON", words=shown(text), charged=True) from None
        return read_reply(as_completion(data), self.signature, wants_logprobs=False, choices=1)


def message_request(model: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """A chat completion request as a request for a message.

    It has no seed. A model that thinks takes no temperature, and at least 1,024 tokens of thoughts.
    """
    system = [m["content"] for m in body["messages"] if m["role"] == "system"]
    thinks = "max_completion_tokens" in body
    asked: dict[str, Any] = {
        "model": model,
        "messages": [m for m in body["messages"] if m["role"] != "system"],
        "max_tokens": body["max_completion_tokens"] if thinks else body["max_tokens"],
    }
    if system:
        asked["system"] = "\n\n".join(system)
    if thinks:
        budget = max(MIN_THINKING, body["reasoning_tokens"])
        asked["thinking"] = {"type": "enabled", "budget_tokens": budget}
        asked["max_tokens"] += budget - body["reasoning_tokens"]
    elif "temperature" in body:
        asked["temperature"] = body["temperature"]
    if schema := body.get("response_format"):
        form = {"type": "json_schema", "schema": schema["json_schema"]["schema"]}
        asked["output_config"] = {"format": form}
    return asked


def as_completion(data: Any) -> Any:
    """A message in the shape of a chat completion; anything else as it is."""
    if not isinstance(data, dict) or not isinstance(data.get("content"), list):
        return data
    # Thoughts that Anthropic keeps to itself are parts without a text.
    hidden = ("redacted_thinking",)
    parts = [p for p in data["content"] if not (isinstance(p, dict) and p.get("type") in hidden)]
    reason = data.get("stop_reason")
    choice = {
        "message": {"role": "assistant", "content": parts},
        "finish_reason": _REASONS.get(reason, reason) if isinstance(reason, str) else None,
    }
    usage = data.get("usage") if isinstance(data.get("usage"), dict) else {}
    counts: dict[str, int] = {}
    with contextlib.suppress(TypeError, KeyError):
        cached = ("cache_creation_input_tokens", "cache_read_input_tokens")
        extra = sum(usage.get(name) or 0 for name in cached)
        counts = {
            "prompt_tokens": usage["input_tokens"] + extra,
            "completion_tokens": usage["output_tokens"],
        }
    return {"model": data.get("model"), "choices": [choice], "usage": counts}
