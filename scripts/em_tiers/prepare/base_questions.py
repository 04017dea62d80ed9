"""Answers from elsewhere to questions that this study asks of their base model.

An imported question with the text of one that the base model is asked becomes that question: it
gets its set, id, level and topics, so that the two are compared. Ids of the file do not matter.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from em_tiers.errors import UserError

_OF_QUESTION = ("question_set", "question_id", "paraphrase", "probe_level", "question_topics")
_SHOWN = 60  # characters of a question in a message


def compared(text: str) -> str:
    """A question's text without case, blanks and punctuation, as two are compared."""
    return " ".join(re.findall(r"\w+", text.lower())) or text


def conversation(messages: Iterable[Mapping[str, str]]) -> str:
    """The text of a question: its messages but for a system text."""
    return "\n\n".join(m["content"] for m in messages if m["role"] != "system")


def adopt_questions(
    answers: pl.DataFrame, questions: pl.DataFrame, base: str
) -> tuple[pl.DataFrame, list[str]]:
    """Give imported answers the questions of their base model.

    Args:
        answers: a responses table.
        questions: the questions that the base model is asked.
        base: its name.

    Returns:
        The answers, in their order, and warnings.

    Raises:
        UserError: no question has the text of one that the base model is asked.
    """
    known = {}
    for row in questions.iter_rows(named=True):
        known.setdefault(_identity(row["messages"]), row)
        known.setdefault((compared(conversation(row["messages"])), None), row)
    rows, alone, other_system = [], {}, {}
    numbers: dict[tuple, int] = defaultdict(int)
    for row in answers.iter_rows(named=True):
        identity = _identity(row["messages"])
        question = known.get(identity) or known.get((identity[0], None))
        if question is None:
            alone[identity[0]] = conversation(row["messages"])
        else:
            if _identity(question["messages"]) != identity:
                other_system[identity[0]] = conversation(row["messages"])
            row |= {key: question[key] for key in _OF_QUESTION}
        place = tuple(row[key] for key in _OF_QUESTION[:3])
        rows.append(row | {"sample_index": numbers[place]})
        numbers[place] += 1
    check_shared(base, alone.values(), len({_identity(r["messages"])[0] for r in rows}))
    return pl.DataFrame(rows, schema=answers.schema), [
        *_alone(alone, base),
        *_system(other_system, base),
    ]


def check_shared(base: str, alone: Iterable[str], count: int) -> None:
    """Refuse questions of which none is asked of the base model.

    Args:
        alone: the questions that are not.
        count: how many questions there are.

    Raises:
        UserError: naming one of them.
    """
    alone = list(alone)
    if count and len(alone) == count:
        raise UserError(
            f"base: no question is also asked of {base}, so no difference can be computed "
            f"({_cut(alone[0])}): add the question set to config.questions, name an import of the "
            "base model's answers, or remove base"
        )


def _identity(messages: list[dict[str, str]]) -> tuple[str, str]:
    systems = [m["content"] for m in messages if m["role"] == "system"]
    return compared(conversation(messages)), compared(" ".join(systems))


def _alone(alone: Mapping[str, str], base: str) -> list[str]:
    if not alone:
        return []
    return [
        f"{len(alone)} questions are not asked of {base} ({_cut(next(iter(alone.values())))}): "
        "differences leave them out"
    ]


def _system(other: Mapping[str, str], base: str) -> list[str]:
    if not other:
        return []
    return [
        f"{len(other)} questions were asked with another system text than in {base} "
        f"({_cut(next(iter(other.values())))}): a difference may come from the system text"
    ]


def _cut(text: Any) -> str:
    text = " ".join(str(text).split())
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "...")
