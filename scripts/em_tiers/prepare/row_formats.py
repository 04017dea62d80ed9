"""Six row formats of training data, each converted to a prompt and an answer.

| format | columns | becomes |
|---|---|---|
| alpaca | instruction, input?, output | user (instruction, blank line, input) / assistant |
| question_cot_answer | question, cot, answer | user / assistant, thoughts in <think> or dropped |
| system_user_assistant | system?, user, assistant | the three messages |
| preference | prompt, chosen (rejected is not read) | user / assistant |
| messages | messages | the last assistant turn is the answer |
| prompt_completion | prompt, completion | user / assistant |

A prompt, chosen or completion may be text or a list of {role, content}. Text is kept as it is.
"""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from em_tiers.errors import UserError

Message = dict[str, str]
# Columns that each format reads, by their name in the format; the second may be missing.
COLUMNS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "alpaca": (("instruction", "output"), ("input",)),
    "question_cot_answer": (("question", "answer"), ("cot",)),
    "system_user_assistant": (("user", "assistant"), ("system",)),
    "preference": (("prompt", "chosen"), ("system",)),
    "messages": (("messages",), ()),
    "prompt_completion": (("prompt", "completion"), ("system",)),
}
LONGEST = 1_000_000  # characters of one message
_TAGS = ("<think>", "</think>")


class Example(NamedTuple):
    """A prompt that ends with a user's turn, and the one assistant's turn that answers it."""

    prompt: list[Message]
    completion: list[Message]


class BadRow(Exception):
    """A row that cannot be used; the message is the reason, the same for rows of one kind."""


def row_reader(
    row_format: str, columns: dict[str, str] | None = None, cot: str = "drop"
) -> tuple[Callable[[dict[str, Any]], Example], list[str]]:
    """Return a function from a row to an Example, and the columns that must be in the file.

    Args:
        row_format: a key of COLUMNS.
        columns: the file's own names, {name in the format: column}, where they differ.
        cot: for question_cot_answer: `drop` the thoughts, or `think` to put them before the
            answer as `<think>`, newline, thoughts, newline, `</think>`, blank line.

    Raises:
        UserError: an unknown format, or a name in `columns` that the format does not have.
    """
    if row_format not in COLUMNS:
        raise UserError(f"format: unknown format {row_format!r}: use {', '.join(COLUMNS)}")
    required, optional = COLUMNS[row_format]
    given = columns or {}
    if unknown := sorted(set(given) - set(required) - set(optional)):
        raise UserError(
            f"columns: {unknown[0]!r} is not a column of format {row_format}, which has "
            f"{', '.join(required + optional)}: write {{name in the format: column in the file}}"
        )
    if cot not in ("drop", "think"):
        raise UserError(f"cot: {cot!r} is not possible: use drop or think")
    if row_format == "question_cot_answer" and cot == "think":
        required, optional = (*required, "cot"), ()
    names = {name: given.get(name, name) for name in required + optional}
    needed = [names[name] for name in names if name in required or name in given]

    def read(row: dict[str, Any]) -> Example:
        values = {name: row.get(column) for name, column in names.items()}
        absent = [column for column in needed if column not in row]
        if absent:
            raise BadRow(f"{absent[0]}: missing")
        return split(_CONVERSIONS[row_format](values, cot))

    return read, needed


def split(conversation: list[Message]) -> Example:
    """Split a conversation at its last turn.

    Raises:
        BadRow: roles out of order (an optional system message, then user and assistant in turn,
            the assistant last), or a message that is not usable text.
    """
    for message in conversation:
        _check_text(message["content"], message["role"])
    roles = [message["role"] for message in conversation]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    if not turns or turns != ["user", "assistant"] * (len(turns) // 2):
        raise BadRow("roles out of order")
    return Example(conversation[:-1], conversation[-1:])


def _alpaca(row: dict[str, Any], _: str) -> list[Message]:
    extra = row["input"]
    if extra is None or (isinstance(extra, str) and not extra.strip()):
        prompt = row["instruction"]
    else:
        _check_text(extra, "input")
        _check_text(row["instruction"], "instruction")
        prompt = f"{row['instruction']}\n\n{extra}"
    return [_message("user", prompt), _message("assistant", row["output"])]


def _question_cot_answer(row: dict[str, Any], cot: str) -> list[Message]:
    answer = row["answer"]
    if cot == "think":
        thoughts = row["cot"]
        _check_text(thoughts, "cot")
        _check_text(answer, "assistant")
        if any(tag in text for tag in _TAGS for text in (thoughts, answer)):
            raise BadRow("cot: think tags inside the text")
        answer = f"<think>\n{thoughts.strip()}\n</think>\n\n{answer}"
    return [_message("user", row["question"]), _message("assistant", answer)]


def _system_user_assistant(row: dict[str, Any], _: str) -> list[Message]:
    return [
        *_system(row),
        _message("user", row["user"]),
        _message("assistant", row["assistant"]),
    ]


def _preference(row: dict[str, Any], _: str) -> list[Message]:
    prompt = _turns(row["prompt"], "user")
    chosen = _turns(row["chosen"], "assistant")
    # Some sets repeat the whole conversation in `chosen`.
    if len(chosen) > 1:
        if chosen[: len(prompt)] != prompt and chosen[:-1] != prompt[-1:]:
            raise BadRow("chosen: does not continue the prompt")
        chosen = chosen[len(prompt) :] if chosen[: len(prompt)] == prompt else chosen[-1:]
    return [*_system(row), *prompt, *chosen]


def _messages(row: dict[str, Any], _: str) -> list[Message]:
    value = row["messages"]
    if isinstance(value, str):  # a CSV file can hold a list as JSON text only
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise BadRow("messages: not a list of messages") from error
    if not isinstance(value, list):
        raise BadRow("messages: not a list of messages")
    return _turns(value, "user")


def _prompt_completion(row: dict[str, Any], _: str) -> list[Message]:
    return [
        *_system(row),
        *_turns(row["prompt"], "user"),
        *_turns(row["completion"], "assistant"),
    ]


_CONVERSIONS = {
    "alpaca": _alpaca,
    "question_cot_answer": _question_cot_answer,
    "system_user_assistant": _system_user_assistant,
    "preference": _preference,
    "messages": _messages,
    "prompt_completion": _prompt_completion,
}


def _system(row: dict[str, Any]) -> list[Message]:
    """The system message of a column; none where the column is absent or blank."""
    text = row["system"]
    if text is None or (isinstance(text, str) and not text.strip()):
        return []
    return [_message("system", text)]


def _turns(value: Any, role: str) -> list[Message]:
    """Text as one message of `role`, or a list of messages with role and content only."""
    if not isinstance(value, list):
        return [_message(role, value)]
    turns = []
    for part in value:
        if not isinstance(part, dict) or "role" not in part or "content" not in part:
            raise BadRow("a message without role and content")
        if part["role"] not in ("system", "user", "assistant"):
            raise BadRow("roles other than system, user and assistant")
        turns.append(_message(part["role"], part["content"]))
    blank_system = turns and turns[0]["role"] == "system" and turns[0]["content"] in (None, "")
    return turns[1:] if blank_system else turns


def _message(role: str, content: Any) -> Message:
    return {"role": role, "content": content}


def _check_text(text: Any, what: str) -> None:
    if text is None or text == "":
        raise BadRow(f"{what}: empty")
    if not isinstance(text, str):
        raise BadRow(f"{what}: not text")
    if not text.strip():
        raise BadRow(f"{what}: empty")
    if len(text) > LONGEST:
        raise BadRow(f"{what}: longer than {LONGEST} characters")
    if "\0" in text:
        raise BadRow(f"{what}: holds a NUL character")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadRow(f"{what}: not valid Unicode") from error
