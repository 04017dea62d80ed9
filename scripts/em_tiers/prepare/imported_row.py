"""What one row of an import says: a question, the answers to it, and what belongs to each answer.

A question is a text or a list of messages that ends with the user's; an answer is a text, a
message, or a list of answers to the same question. Where both are in one column, it holds a whole
conversation, and the last message is the answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from em_tiers.prepare.outside_text import is_error_text, is_nothing, messages_in_text
from em_tiers.prepare.row_fields import BadRow
from em_tiers.prepare.turns import Turn, read_turns

# Why generation stopped, by other names than "length".
_LENGTH = ("length", "max_tokens", "model_length", "max_length", "max_new_tokens", "token_limit")


@dataclass(frozen=True)
class Said:
    """One of the row's answers.

    Attributes:
        text: the answer.
        reasoning: thoughts that the row keeps apart from the text, or None.
        place, count: its place among the answers of its row, and their number.
        problem: why it cannot be used, or None.
    """

    text: str
    reasoning: str | None
    place: int
    count: int
    problem: str | None = None

    def own(self, value: Any, what: str) -> Any:
        """The part of a column's value that belongs to this answer.

        Raises:
            BadRow: one value for several answers, or another number of values than of answers.
        """
        if self.count > 1:
            if is_nothing(value):
                return None
            if not isinstance(value, list) or len(value) != self.count:
                raise BadRow(f"several answers, and {what} is not a list of as many values")
        alone = isinstance(value, list) and len(value) == self.count
        return value[self.place] if alone else value


@dataclass(frozen=True)
class ImportedRow:
    """A question and the answers to it.

    Attributes:
        messages: the conversation that they reply to, with its system message.
    """

    messages: list[dict[str, str]]
    answers: list[Said]

    @property
    def question(self) -> str | list[list[str]]:
        """What identifies the question: its text, or the turns of a longer conversation."""
        turns = [m for m in self.messages if m["role"] != "system"]
        if len(turns) == 1:
            return turns[0]["content"]
        return [[turn["role"], turn["content"]] for turn in turns]


def read_row(row: Mapping[str, Any], columns: Mapping[str, str]) -> ImportedRow:
    """The row's question and answers.

    Raises:
        BadRow: none of its answers can be used; the message is the reason.
    """
    for asks in ("question", "answer"):
        if columns[asks] not in row:
            raise BadRow(f"column {columns[asks]!r} is missing")
    if columns["question"] == columns["answer"]:
        *asked, last = _conversation(row[columns["question"]], "conversation")
        if last.role != "assistant":
            raise BadRow("conversation does not end with an answer")
        answers = [last]
    else:
        asked = _conversation(row[columns["question"]], "question")
        answers = _answers(row[columns["answer"]])
    system = _system(row.get(columns.get("system")), asked)
    asked = [turn for turn in asked if turn.role != "system"]
    _check_order(asked)
    messages = [{"role": "system", "content": system}] if system else []
    messages += [{"role": turn.role, "content": _text(turn.content, "question")} for turn in asked]
    said = [_said(turn, place, len(answers)) for place, turn in enumerate(answers)]
    if all(one.problem for one in said):
        raise BadRow(str(said[0].problem))
    return ImportedRow(messages, said)


def _said(turn: Turn, place: int, count: int) -> Said:
    try:
        return Said(_text(turn.content, "answer"), _thoughts(turn), place, count)
    except BadRow as error:
        return Said("", None, place, count, str(error))


def finish_reason_of(value: Any) -> str | None:
    """Why generation stopped, `length` where the token limit did it; None where nothing is said."""
    if is_nothing(value):
        return None
    text = str(value).strip().rpartition(".")[2].casefold()
    return "length" if text in _LENGTH else text


def _conversation(value: Any, what: str) -> list[Turn]:
    """The messages of a value; a plain text is one of the user."""
    if value is None:
        raise BadRow(f"{what} is null")
    if not isinstance(value, (str, list, dict)):
        raise BadRow(f"{what} is {type(value).__name__}, not text")
    if isinstance(value, str) and not value.strip():
        raise BadRow(f"{what} is empty")
    if isinstance(value, list) and not value:
        raise BadRow(f"{what} is an empty list")
    if isinstance(value, list) and all(isinstance(part, str) for part in value) and value[1:]:
        raise BadRow(f"{what} is a list of texts, not one text")
    if isinstance(value, list) and isinstance(value[0], (str, list)):
        return _conversation(value[0], what)
    if isinstance(value, dict) and not isinstance(next(iter(value.values()), None), list):
        value = [value]
    turns = read_turns(value, "user", what)
    if any(turn.role == "" or not isinstance(turn.content, str) for turn in turns):
        raise BadRow(f"{what} is not text")
    return turns


def _answers(value: Any) -> list[Turn]:
    """The answers in a value: one, or those of a list, however deep it is."""
    if isinstance(value, list) and not any(isinstance(part, dict) for part in value):
        found = [turn for part in value for turn in _answers(part)]
        if not found:
            raise BadRow("answer is an empty list")
        return found
    is_text = isinstance(value, str) and messages_in_text(value) is None
    if is_text or not isinstance(value, (str, list, dict)):
        return [Turn("assistant", value)]
    turns = read_turns([value] if isinstance(value, dict) else value, "assistant", "answer")
    if any(turn.role != "assistant" for turn in turns):
        raise BadRow(
            "answer holds messages of others than the assistant: for a conversation, name its "
            "column as question and as answer"
        )
    return turns


def _system(column: Any, turns: list[Turn]) -> str | None:
    texts = [turn.content for turn in turns if turn.role == "system"]
    if not is_nothing(column):
        texts = list(dict.fromkeys([str(column), *texts]))
    if len(texts) > 1:
        raise BadRow("several system texts")
    return _text(texts[0], "system") if texts and not is_nothing(texts[0]) else None


def _check_order(turns: list[Turn]) -> None:
    roles = [turn.role for turn in turns]
    if roles != (["user", "assistant"] * len(roles))[: len(roles)] or len(roles) % 2 == 0:
        raise BadRow("question: roles out of order: it must begin and end with the user's message")


def _thoughts(turn: Turn) -> str | None:
    _, thoughts = turn.thoughts
    return thoughts if isinstance(thoughts, str) and thoughts.strip() else None


def _text(value: Any, what: str) -> str:
    if value is None:
        raise BadRow(f"{what} is null")
    if not isinstance(value, str):
        raise BadRow(f"{what} is {type(value).__name__}, not text")
    if what == "question" and not value.strip():
        raise BadRow("question is empty")
    if value.strip() and is_nothing(value):
        raise BadRow(f"{what} stands for nothing, such as nan or None")
    if is_error_text(value):
        raise BadRow(f"{what} is an error message")
    if not value.isprintable() and is_broken(value):
        raise BadRow(f"{what} is not UTF-8")
    return value


def is_broken(text: str) -> bool:
    """Whether a text holds bytes that were not UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False
