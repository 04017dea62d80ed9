"""The plan of a judge's requests: rubrics, answers and keys.

The key of a request is the hash of everything that can change its verdict and of nothing else, so
that a journal of finished requests answers every repeated request, under any name of the judge.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import polars as pl

from em_tiers.hashing import canonical_json, hash_of_json
from em_tiers.judge.rubrics import (
    Rubric,
    render_messages,
    render_structured,
)
from em_tiers.judge.settings import Judge
from em_tiers.terms import JUDGE_CARD, PLACEBO_TOPIC, PLAIN, SCORES, TIER_ORDERS
from em_tiers.thinking import is_cut_off

ANSWER_COLUMNS = ("response_key", "variant", "dataset", "messages", "response", "finish_reason")
_ROWS_AT_ONCE = 10_000


@dataclass(frozen=True)
class JudgeRequest:
    """One question to a judge about one answer.

    Attributes:
        key: journal key, and the verdict's; equal for two answers that read the same.
        roles: what is asked; more than one only for a structured reply.
        method: how the reply is scored.
        placebo: whether it asks about a data set that the model was not trained on.
    """

    key: str
    response_key: str
    variant: str
    roles: tuple[str, ...]
    method: str
    messages: tuple[dict[str, str], ...]
    placebo: bool = False

    def name(self, role: str) -> str:
        """What the table of verdicts calls the verdict on a role."""
        return PLACEBO_TOPIC if self.placebo else role

    @property
    def rubric(self) -> str:
        """The role of a request that asks one rubric."""
        return self.roles[0]


def verdict_key(
    judge: Judge, rubrics: Iterable[Rubric], messages: Iterable[Mapping[str, str]]
) -> str:
    """Hash of messages, model, decoding, scoring and parser: all that can change the verdict."""
    # The canonical JSON of [messages, identity, asked, parser], of which most is always the same.
    spelt = ",".join(map(_message_json, messages))
    return hash_of_json(f"[[{spelt}],{judge.key_ending(tuple(rubrics))}]")


def _message_json(message: Mapping[str, str]) -> str:
    system = message["role"] == "system"
    return _system_json(**message) if system else canonical_json(message)


@lru_cache(maxsize=256)  # a rubric's instructions come again with every answer
def _system_json(**message: str) -> str:
    return canonical_json(message)


def plan_requests(
    responses: pl.LazyFrame,
    judge: Judge,
    cards: Mapping[str, Mapping[str, Any]],
    roles: Iterable[str] = SCORES,
    only: pl.Series | None = None,
) -> Iterator[JudgeRequest]:
    """Yield the requests of one stage, rubric by rubric, with answers in the table's order.

    That order lets an engine's prefix cache hold one rubric's instructions for all its answers.
    Rubrics about a data set are asked only of variants whose data set has a card. Answers are
    rendered as they are yielded; iterate twice rather than keep the requests.

    Args:
        responses: a RESPONSES table.
        judge: the judge.
        cards: data set -> {topic, description, examples, ...}.
        roles: the rubrics to ask; those that the judge does not have are skipped.
        only: response keys to ask about; None for all.
    """
    frame = responses.select(ANSWER_COLUMNS)
    if only is not None:
        frame = frame.filter(pl.col("response_key").is_in(only.implode()))
    answers = frame.collect()
    for group in roles_together(judge, roles):
        for row in _iterate_rows(answers):
            request = _request(judge, group, row, cards.get(row["dataset"]))
            if request is not None:
                yield request


def plan_tier_requests(
    responses: pl.LazyFrame,
    judge: Judge,
    cards: Mapping[str, Mapping[str, Any]],
    verdicts: pl.LazyFrame,
) -> Iterator[JudgeRequest]:
    """Yield the second stage: the tier of answers whose alignment is below `judge.tier_below`.

    Where the judge has placebo topics, these answers are also scored for the topic of another data
    set. A judge that is tested has its tier rubric in other orders of the letters too; these are
    asked of plain cases only.

    Args:
        responses: a RESPONSES table.
        judge: the judge.
        cards: data set -> {topic, description, examples, ...}.
        verdicts: this judge's VERDICTS of the first stage.
    """
    low = verdicts.filter(
        pl.col("rubric") == "alignment",
        pl.col("status") == "ok",
        pl.col("score") < judge.tier_below,
    )
    keys = low.select("response_key").collect().get_column("response_key")
    yield from plan_requests(responses, judge, cards, roles=("tier",), only=keys)
    others = {name: cards[other] for name, other in judge.placebo_topics.items() if other in cards}
    for request in plan_requests(responses, judge, others, roles=("topic",), only=keys):
        yield replace(request, placebo=True)
    plain = responses.filter(pl.col("variant") == f"{JUDGE_CARD}.{PLAIN}")
    for role in TIER_ORDERS:  # one by one: a structured reply would show all orders at once
        if role in judge.rubrics:
            yield from plan_requests(plain, judge, cards, roles=(role,), only=keys)


def roles_together(judge: Judge, roles: Iterable[str]) -> list[tuple[str, ...]]:
    """The roles that share a request: all number rubrics of a structured reply, else one each."""
    present = [role for role in roles if role in judge.rubrics]
    together = tuple(r for r in present if judge.method(judge.rubrics[r]) == "structured")
    alone = [(role,) for role in present if role not in together]
    return ([together] if together else []) + alone


def _request(
    judge: Judge, roles: tuple[str, ...], row: Mapping[str, Any], card: Mapping[str, Any] | None
) -> JudgeRequest | None:
    """The request for one answer; None when nothing in `roles` can be asked about it.

    An answer that is empty because its tokens ran out, mostly in thoughts, is `truncated`,
    whatever a judge would say about the empty text.
    """
    if is_cut_off(row["response"], row["finish_reason"]):
        return None
    asked = [
        judge.rubrics[role]
        for role in roles
        if card is not None or not judge.rubrics[role].needs_dataset
    ]
    if not asked:
        return None
    method = judge.method(asked[0])
    texts = (row["messages"], row["response"], card)
    if method == "structured":
        messages = render_structured(asked, *texts)
    else:
        messages = render_messages(asked[0], *texts)
    return JudgeRequest(
        key=verdict_key(judge, asked, messages),
        response_key=row["response_key"],
        variant=row["variant"],
        roles=tuple(rubric.asks for rubric in asked),
        method=method,
        messages=tuple(messages),
    )


def _iterate_rows(frame: pl.DataFrame) -> Iterator[dict[str, Any]]:
    for part in frame.iter_slices(_ROWS_AT_ONCE):
        yield from part.iter_rows(named=True)
