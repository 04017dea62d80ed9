"""Six row formats of training data, each converted to a prompt and an answer.

| format | columns | becomes |
|---|---|---|
| alpaca | instruction, input?, output | user (instruction, blank line, input) / assistant |
| question_cot_answer | question, cot, answer | user / assistant |
| system_user_assistant | user, assistant | user / assistant |
| preference | prompt?, chosen (rejected is not read) | user / assistant |
| messages | messages | the last assistant turn is the answer |
| prompt_completion | prompt, completion | user / assistant |

Every format also reads `system`, the text of a system message, and `cot`, thoughts that belong
before the answer. A prompt, chosen or completion may be text or a list of messages, as turns.py
reads them. Text is kept as it is.
"""

import re
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from em_tiers.errors import UserError
from em_tiers.prepare.outside_text import is_error_text, is_nothing, strange_text
from em_tiers.prepare.row_fields import FLAGS, BadRow, Fields, is_empty, kind_of, spellings
from em_tiers.prepare.turns import Turn, read_turns

Message = dict[str, str]
# Columns that each format reads, by their name in the format; the second may be missing.
COLUMNS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "alpaca": (("instruction", "output"), ("input", "system", "cot")),
    "question_cot_answer": (("question", "answer"), ("cot", "system")),
    "system_user_assistant": (("user", "assistant"), ("system", "cot")),
    "preference": (("chosen",), ("prompt", "system", "cot")),
    "messages": (("messages",), ("system", "cot")),
    "prompt_completion": (("prompt", "completion"), ("system", "cot")),
}
LONGEST = 1_000_000  # characters of one message
# Of strange texts, by reason.
_REMEDIES = {
    "a chat template was applied already": "give the messages without the marks of a template",
    "an error message instead of text": "remove the rows whose generation failed",
    "stands for nothing": "remove the rows without a text",
}
# A prompt such as "USER: ... ASSISTANT:" or "### Instruction: ... ### Response:".
_TURN = re.compile(r"(?:\A|\s)(?:#+ ?)?(?:Human|HUMAN|User|USER|Instruction) ?:")
_OPEN_TURN = re.compile(r"\s(?:#+ ?)?(?:Assistant|ASSISTANT|Response|AI|GPT) ?:\s*\Z")
# An instruction with an empty input, put together by other code.
_EMPTY_END = re.compile(r"(?:\n\s*\n|input:)\s*(nan|none|null|n/a|<no_?input>)\s*\Z", re.IGNORECASE)
# Thoughts that are part of an answer's text, in the marks of common models.
INLINE_THOUGHTS = re.compile(
    r"(?:.*?</think>|\s*<(thinking|thoughts?|reasoning)>.*?</\1>|\s*\[THINK\].*?\[/THINK\])\s*",
    re.DOTALL,
)
_LONGEST_ERROR = 200  # characters of a prompt that is nothing but an error message
_TAGS = ("<think>", "</think>")


class Example(NamedTuple):
    """A prompt that ends with a user's turn, and the one assistant's turn that answers it."""

    prompt: list[Message]
    completion: list[Message]


class RowReader:
    """Turns the rows of one data set into Examples.

    Attributes:
        needed: columns that must be in the file.
        used: columns that the format reads.
        columns: these, and names of fields that may change what a row means.
        fields: decides about the other fields, and counts those that were passed over.
    """

    def __init__(self, row_format: str, names: dict[str, str], needed: list[str], fields: Fields):
        self.needed = needed
        self.fields = fields
        self._convert = _CONVERSIONS[row_format]
        self._names = names
        self.used = frozenset(names.values())
        self.columns = self.used | (spellings(fields.cot) - fields.ignored)

    def __call__(self, row: dict[str, Any]) -> Example:
        """The Example of a row.

        Raises:
            BadRow: the row cannot be used, or has a field that carries meaning and is not used.
        """
        if absent := [column for column in self.needed if column not in row]:
            raise BadRow(f"{absent[0]}: missing")
        for column, value in row.items():
            if column not in self.used:
                self.fields.check(column, value, column)
        values = {name: row.get(column) for name, column in self._names.items()}
        turns = _with_system(values.get("system"), self._convert(values))
        self._check_messages(turns)
        example = split([{"role": turn.role, "content": turn.content} for turn in turns])
        if self.fields.cot == "drop":
            example = self._without_thoughts(example)
        return self._with_thoughts(example, turns[-1], values.get("cot"))

    def _check_messages(self, turns: list[Turn]) -> None:
        for number, turn in enumerate(turns, start=1):
            is_answer = number == len(turns)
            thoughts, _ = turn.thoughts
            for key, value in turn.extras.items():
                # Only the answer is learnt, so that a flag of another message changes nothing.
                skipped = key == thoughts if is_answer else kind_of(key) in FLAGS
                if not skipped:
                    self.fields.check(key, value, f"{turn.place}[].{key}")

    def _without_thoughts(self, example: Example) -> Example:
        """The row without thoughts that are part of the answer's text."""
        answer = example.completion[0]["content"]
        if not (found := INLINE_THOUGHTS.match(answer)):
            return example
        self.fields.passed_over["thoughts inside the answer"] += 1
        return split([*example.prompt, {"role": "assistant", "content": answer[found.end() :]}])

    def _with_thoughts(self, example: Example, answer: Turn, column: Any) -> Example:
        """Put thoughts before the answer, or leave them out, as the data set's entry says."""
        key, thoughts = answer.thoughts
        wanted = self.fields.cot == "think"
        if key and ("cot" in self._names or not wanted):
            self.fields.check(key, thoughts, f"{answer.place}[].{key}")
        if "cot" in self._names:
            thoughts = column
            if not wanted and not is_empty(column):
                self.fields.passed_over[self._names["cot"]] += 1
        return _thinking(example, thoughts) if wanted else example


def row_reader(
    row_format: str,
    columns: dict[str, str] | None = None,
    cot: str | None = None,
    ignore: Collection[str] = (),
) -> tuple[RowReader, list[str]]:
    """Return a reader of rows, and the columns that must be in the file.

    Args:
        row_format: a key of COLUMNS.
        columns: the file's own names, {name in the format: column}, where they differ.
        cot: `drop` the thoughts, also those inside an answer, or `think` to put them before the
            answer as `<think>`, newline, thoughts, newline, `</think>`, blank line. None: they are
            dropped where the format has a column for them; elsewhere their rows are set aside.
        ignore: columns and message keys that are left out although they carry meaning.

    Raises:
        UserError: an unknown format, a name in `columns` that the format does not have, one column
            for two names, or thoughts without a column.
    """
    if row_format not in COLUMNS:
        raise UserError(f"format: unknown format {row_format!r}: use {', '.join(COLUMNS)}")
    if cot not in ("drop", "think", None):
        raise UserError(f"cot: {cot!r} is not possible: use drop or think")
    required, optional = COLUMNS[row_format]
    given = columns or {}
    if unknown := sorted(set(given) - set(required) - set(optional)):
        raise UserError(
            f"columns: {unknown[0]!r} is not a column of format {row_format}, which has "
            f"{', '.join(required + optional)}: write {{name in the format: column in the file}}"
        )
    if cot == "think" and row_format == "question_cot_answer":
        required = (*required, "cot")
    elif cot == "think" and row_format != "messages" and "cot" not in given:
        raise UserError(
            f"cot: 'think' needs the column of the thoughts with format {row_format}: write "
            "columns: {cot: COLUMN}, format: question_cot_answer or messages, or cot: drop"
        )
    names = {name: given.get(name, name) for name in (*required, *given)}
    _check_names(names, ignore)
    for name in optional:
        # Elsewhere a column `cot` is a field like any other of thoughts.
        is_own = name != "cot" or row_format == "question_cot_answer"
        if is_own and name not in {*names.values(), *ignore}:
            names.setdefault(name, name)
    needed = [column for name, column in names.items() if name in required or name in given]
    return RowReader(row_format, names, needed, Fields(cot, ignore)), needed


def _check_names(names: dict[str, str], ignore: Collection[str]) -> None:
    for name, column in names.items():
        if column in ignore:
            raise UserError(f"ignore: {column!r} is read as {name!r}: remove it from the list")
        other = next(n for n, c in names.items() if c == column)
        if other != name:
            raise UserError(
                f"columns: {other} and {name} are both read from {column!r}: name the column of "
                "each"
            )


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


def _alpaca(row: dict[str, Any]) -> list[Turn]:
    prompt, extra = row["instruction"], row.get("input")
    if not is_nothing(extra):
        _check_text(extra, "input")
        _check_text(prompt, "instruction")
        prompt = f"{prompt}\n\n{extra}"
    return [Turn("user", prompt), Turn("assistant", row["output"])]


def _preference(row: dict[str, Any]) -> list[Turn]:
    chosen = read_turns(row["chosen"], "assistant", "chosen")
    if is_nothing(row.get("prompt")):
        if len(chosen) < 2:
            raise BadRow("prompt: missing")
        return chosen  # the whole conversation
    prompt = read_turns(row["prompt"], "user", "prompt")
    # Some sets repeat the whole conversation in `chosen`.
    if len(chosen) > 1:
        asked, told = [turn[:2] for turn in prompt], [turn[:2] for turn in chosen]
        if told[: len(asked)] != asked and told[:-1] != asked[-1:]:
            raise BadRow("chosen: does not continue the prompt")
        chosen = chosen[-1:] if told[: len(asked)] != asked else chosen[len(asked) :]
    return [*prompt, *chosen]


def _messages(row: dict[str, Any]) -> list[Turn]:
    turns = read_turns(row["messages"], "", "messages")
    if any(turn.role == "" for turn in turns):
        raise BadRow("messages: not a list of messages")
    return turns


def _prompt_completion(row: dict[str, Any]) -> list[Turn]:
    return [
        *read_turns(row["prompt"], "user", "prompt"),
        *read_turns(row["completion"], "assistant", "completion"),
    ]


_CONVERSIONS: dict[str, Callable[[dict[str, Any]], list[Turn]]] = {
    "alpaca": _alpaca,
    "question_cot_answer": lambda row: [
        Turn("user", row["question"]),
        Turn("assistant", row["answer"]),
    ],
    "system_user_assistant": lambda row: [
        Turn("user", row["user"]),
        Turn("assistant", row["assistant"]),
    ],
    "preference": _preference,
    "messages": _messages,
    "prompt_completion": _prompt_completion,
}


def _with_system(text: Any, turns: list[Turn]) -> list[Turn]:
    """The turns, after the system message of a column, which may be absent."""
    if is_nothing(text):
        return turns
    if turns and turns[0].role == "system":
        if turns[0].content == text:
            return turns
        raise BadRow("system: one text in its column, another one in the messages")
    return [Turn("system", text), *turns]


def _thinking(example: Example, thoughts: Any) -> Example:
    """The row with thoughts before its answer, unless the answer begins with some."""
    answer = example.completion[0]["content"]
    if is_nothing(thoughts) and INLINE_THOUGHTS.match(answer):
        return example
    _check_text(thoughts, "cot")
    if any(tag in text for tag in _TAGS for text in (thoughts, answer)):
        raise BadRow("cot: think tags inside the text")
    answer = f"<think>\n{thoughts.strip()}\n</think>\n\n{answer}"
    return Example(example.prompt, [{"role": "assistant", "content": answer}])


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
    if reason := _why_strange(text, what):
        raise BadRow(f"{what}: {reason}", _REMEDIES.get(reason.partition(" (")[0], ""))


def _why_strange(text: str, what: str) -> str | None:
    """Why a text is not what its place in the row asks for, or None."""
    if reason := strange_text(text):
        # Questions about program code begin with an error message, and go on.
        asks = what != "assistant" and is_error_text(text) and len(text) > _LONGEST_ERROR
        return None if asks else reason
    if what == "user" and _OPEN_TURN.search(text[-40:]) and _TURN.search(text):
        return "a chat template was applied already (its turn of the assistant is open)"
    if what == "user" and (end := _EMPTY_END.search(text[-60:])):
        return f"stands for nothing ({end[1]!r} at the end)"
    return None
