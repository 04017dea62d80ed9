"""Messages of a training row: a text, a list, or a text that holds a list, in any usual notation.

A message is {role, content} as chat APIs write it, or {from, value} as ShareGPT files do. Its other
keys are kept beside it, because some of them carry meaning (row_fields.py).
"""

import ast
import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from em_tiers.prepare.outside_text import is_nothing, messages_in_text
from em_tiers.prepare.row_fields import BadRow, kind_of

_NOTATIONS = (("role", "content"), ("from", "value"))
_ROLES = {
    **{name: name for name in ("system", "user", "assistant")},
    **dict.fromkeys(("developer",), "system"),
    **dict.fromkeys(("human", "prompter"), "user"),
    **dict.fromkeys(("gpt", "chatgpt", "model", "bot", "ai"), "assistant"),
}
# Types of a content's parts: what they are, and the key of their text.
_PARTS = {
    **dict.fromkeys(("text", "input_text", "output_text"), ("text", "text")),
    "reasoning": ("reasoning", "reasoning"),
    "thinking": ("reasoning", "thinking"),
}
# How Python, JSON, or JSON inside JSON write a list of messages; only its first part is looked at.
_LIST = re.compile(r"""\s*(?:array\()?["']?[\[{]\s*\{?\s*\\?["']""")
_KEYS = [[re.compile(rf"""["']{key}\\?["']\s*:""") for key in notation] for notation in _NOTATIONS]
_LOOKED_AT = 2_000  # characters


class Turn(NamedTuple):
    """One message of a conversation.

    Attributes:
        role: system, user or assistant.
        content: its text, which nothing has checked.
        extras: its other keys.
        place: the column that holds it.
    """

    role: str
    content: Any
    extras: Mapping[str, Any] = MappingProxyType({})
    place: str = ""

    @property
    def thoughts(self) -> tuple[str | None, Any]:
        """The key and the value of the thoughts that belong before the content, or two Nones."""
        for key, value in self.extras.items():
            if kind_of(key) == "thoughts" and not is_nothing(value):
                return key, value
        return None, None


def read_turns(value: Any, role: str, column: str) -> list[Turn]:
    """The messages of a column; a plain text is one message of `role`.

    Raises:
        BadRow: a message without a role that can be trained on, or without content.
    """
    if isinstance(value, str):
        value = messages_of_text(value, column)
    if isinstance(value, dict):
        value = _transposed(value)
    if not isinstance(value, list):
        return [Turn(role, value)]
    turns = [_turn(part, column) for part in value]
    blank_system = turns and turns[0].role == "system" and is_nothing(turns[0].content)
    return turns[1:] if blank_system else turns


def messages_of_text(text: str, column: str) -> Any:
    """The list that a text holds as JSON or as Python prints it; the text itself if it holds none.

    Raises:
        BadRow: the text looks like a list of messages, but cannot be read as one.
    """
    found = messages_in_text(text)
    if found is None and not _looks_like_messages(text):
        return text
    if found is None:
        try:
            found = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
            if text.lstrip().startswith("{"):  # JSON or code of another kind
                return text
            raise BadRow(f"{column}: text of messages that cannot be read") from error
    if isinstance(found, str):
        return messages_of_text(found, column)
    parts = found if isinstance(found, list) else [found]
    if not all(_is_message(part) for part in parts):
        return text
    _check_keys(text.strip(), column)
    return parts


def _check_keys(text: str, column: str) -> None:
    """Refuse a key that occurs twice in an object, of which the last would win unseen."""
    try:
        json.loads(text, object_pairs_hook=lambda pairs: _unique(pairs, column))
    except (ValueError, RecursionError):
        for node in ast.walk(ast.parse(text, mode="eval")):
            if isinstance(node, ast.Dict):
                _unique([(ast.literal_eval(key), None) for key in node.keys if key], column)


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and any(value.keys() >= set(names) for names in _NOTATIONS)


def _unique(pairs: list[tuple[str, Any]], column: str) -> dict[str, Any]:
    """An object of JSON or Python, in which no key may occur twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise BadRow(f"{column}: a key that occurs twice in a message")
    return found


def _looks_like_messages(text: str) -> bool:
    start = text[:_LOOKED_AT]
    return _LIST.match(start) is not None and any(
        all(key.search(start) for key in keys) for keys in _KEYS
    )


def _transposed(value: dict[str, Any]) -> Any:
    """The messages of {role: [...], content: [...]}, which some exports write for a list."""
    for names in _NOTATIONS:
        columns = [value.get(name) for name in names]
        if isinstance(columns[0], list) and _is_list_of(columns[1], len(columns[0])):
            lists = {k: part for k, part in value.items() if _is_list_of(part, len(columns[0]))}
            return [
                dict(zip(lists, parts, strict=True)) for parts in zip(*lists.values(), strict=True)
            ]
    return value


def _is_list_of(value: Any, length: int) -> bool:
    return isinstance(value, list) and len(value) == length


def _turn(part: Any, column: str) -> Turn:
    for role_key, content_key in _NOTATIONS:
        if isinstance(part, dict) and part.get(role_key) is not None and content_key in part:
            role = _ROLES.get(str(part[role_key]).strip().casefold())
            if role is None:
                raise BadRow("roles other than system, user and assistant")
            extras = {k: v for k, v in part.items() if k not in (role_key, content_key)}
            content, thoughts = _parts(part[content_key])
            return Turn(role, content, extras | thoughts, column)
    raise BadRow("a message without role and content")


def _parts(content: Any) -> tuple[Any, dict[str, str]]:
    """The text of a content that is a list of parts, as some APIs write it, and its thoughts.

    Parts of text are joined by line breaks, as Inspect joins them.

    Raises:
        BadRow: a part is neither text nor thoughts.
    """
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        return content, {}
    found: dict[str, list[Any]] = {"text": [], "reasoning": []}
    for part in content:
        kind = str(part.get("type"))
        name, key = _PARTS.get(kind, (None, ""))
        if name is None or not isinstance(part.get(key), str):
            raise BadRow(f"content: a part of type {kind}, not text")
        found[name].append(part[key])
    thoughts = "\n".join(found["reasoning"])
    return "\n".join(found["text"]), {"reasoning": thoughts} if thoughts else {}
