"""Answers from elsewhere to questions that this study asks of their base model.

An imported question with the text of one that the base model is asked becomes that question: it
gets its set, id, level and topics, so that the two are compared. Ids of the file do not matter.
"""

from collections import defaultdict
from collections.abc import Mapping

import polars as pl

from em_tiers.prepare.question_texts import check_shared, compared, conversation, shortened

_OF_QUESTION = ("question_set", "question_id", "paraphrase", "probe_level", "question_topics")


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


def _identity(messages: list[dict[str, str]]) -> tuple[str, str]:
    systems = [m["content"] for m in messages if m["role"] == "system"]
    return compared(conversation(messages)), compared(" ".join(systems))


def _alone(alone: Mapping[str, str], base: str) -> list[str]:
    if not alone:
        return []
    first = shortened(next(iter(alone.values())))
    return [f"{len(alone)} questions are not asked of {base} ({first}): differences leave them out"]


def _system(other: Mapping[str, str], base: str) -> list[str]:
    if not other:
        return []
    return [
        f"{len(other)} questions were asked with another system text than in {base} "
        f"({shortened(next(iter(other.values())))}): a difference may come from the system text"
    ]
