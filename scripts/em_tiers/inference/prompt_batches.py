"""Prompts of many conversations that begin alike: the shared beginning is tokenised once."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from em_tiers.inference.chat import (
    Message,
    apply_template,
    control_tokens,
    encode_text,
    render_prompt,
)

_PROBES = ("Zq0.", "Yp1.")  # user's texts of no language, with different first letters


class _Head(NamedTuple):
    """A text that begins many prompts and ends before a control token, and its token ids."""

    text: str
    ids: list[int]


class PromptRenderer:
    """Renders conversations as `chat.render_prompt` does, many at a time.

    A tokenizer takes a text apart at its control tokens first. What is before one is therefore
    spelt the same whatever follows, and a system text with its turn's marks is spelt once. The
    first prompt with each system text is compared with its whole spelling, and the beginning is
    not shared where they differ.
    """

    def __init__(self, tokenizer: Any, thinking: str):
        self._tokenizer = tokenizer
        self._thinking = thinking
        self._heads: dict[str, _Head | None] = {}
        self._control, _ = control_tokens(tokenizer)
        self._backend = getattr(tokenizer, "backend_tokenizer", None)

    def render(self, conversations: Sequence[Sequence[Message]]) -> list[list[int]]:
        """Token ids of each conversation and of the opening of the assistant's turn.

        Raises:
            TemplateError: as `render_prompt`.
        """
        parts = self._parts(conversations)
        tails = [tail for _, tail in filter(None, parts)]
        spelt = iter(self._encode(tails) if tails else ())
        return [
            [*part[0].ids, *next(spelt)]
            if part
            else render_prompt(self._tokenizer, messages, self._thinking)
            for part, messages in zip(parts, conversations, strict=True)
        ]

    def _encode(self, texts: list[str]) -> list[list[int]]:
        found = self._backend.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids for encoding in found]

    def _parts(self, conversations: Sequence[Sequence[Message]]) -> list[tuple[_Head, str] | None]:
        """The shared beginning of each prompt and the rest of it; None for one that has none."""
        heads = [self._head(messages) for messages in conversations]
        shared = [messages for messages, head in zip(conversations, heads, strict=True) if head]
        texts = iter(apply_template(self._tokenizer, shared, self._thinking))
        return [
            head and _split(head, next(texts), messages[-1]["content"])
            for head, messages in zip(heads, conversations, strict=True)
        ]

    def _head(self, messages: Sequence[Message]) -> _Head | None:
        if self._backend is None or [m["role"] for m in messages] != ["system", "user"]:
            return None
        system, user = (message["content"] for message in messages)
        if self._control.search(user):
            return None
        if system not in self._heads:
            self._heads[system] = self._checked_head(messages)
        return self._heads[system]

    def _checked_head(self, messages: Sequence[Message]) -> _Head | None:
        system, user = messages
        if self._control.search(system["content"]):
            return None
        probes = [[system, {**user, "content": probe}] for probe in _PROBES]
        texts = apply_template(self._tokenizer, probes, self._thinking)
        pairs = enumerate(zip(*texts, strict=False))
        differs = next((n for n, (one, other) in pairs if one != other), 0)
        shared = texts[0][:differs]
        marks = [match.start() for match in self._control.finditer(shared)]
        if not marks or not marks[-1]:
            return None
        text = shared[: marks[-1]]
        head = _Head(text, encode_text(self._tokenizer, text))
        whole = render_prompt(self._tokenizer, messages, self._thinking)  # checks the messages too
        [rest] = apply_template(self._tokenizer, [messages], self._thinking)
        if not rest.startswith(text):
            return None
        return head if [*head.ids, *self._encode([rest[len(text) :]])[0]] == whole else None


def _split(head: _Head, text: str, user: str) -> tuple[_Head, str] | None:
    tail = text[len(head.text) :]
    # Whatever the template makes of this user's text, `render_prompt` checks it.
    return (head, tail) if text.startswith(head.text) and user in tail else None
