"""What is left to ask of a judge: requests that its journal does not answer, and their cost."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from em_tiers.api.spending import PricedRequest, cost_in_words, estimate
from em_tiers.errors import UserError
from em_tiers.files import read_json
from em_tiers.inference.api_plan import QUESTION_CHARACTERS
from em_tiers.inference.missing_answers import sampled_answers
from em_tiers.journal import read_journal
from em_tiers.judge.api_requests import priced_request
from em_tiers.judge.requests import (
    JudgeRequest,
    plan_requests,
    plan_tier_requests,
    roles_together,
)
from em_tiers.judge.rubrics import GUARD
from em_tiers.judge.settings import Judge, load_judge
from em_tiers.judge.verdicts import verdict_frame, verdict_rows
from em_tiers.tables import scan_table
from em_tiers.terms import SCORES, TIER_ORDERS

# Text of an answer that is not sampled yet: as long as it may become.
CHARACTERS_PER_TOKEN = 4
CASE_CHARACTERS = 1_500  # of an answer that tests a judge, before it is known
NO_PRICE = {"vllm": "no money (a local model)"}


def plan_judge(
    entry: Mapping[str, Any],
    variants: Sequence[Mapping[str, Any]],
    sampled: Sequence[Mapping[str, Any]],
    missing: Mapping[str, int | None],
    cards: Mapping[str, Any],
    max_tokens: int,
    complete: Collection[str] = (),
) -> Iterator[str]:
    """Lines on what is left to ask of one judge.

    Args:
        entry: {judge, identity, rubrics, prices, journal}.
        variants: all variants of the study, as in `missing_answers`, with their data set.
        sampled: those whose existing answers will be judged.
        missing: answers not sampled yet, by variant; None where the number is unknown.
        cards: data set -> its card.
        max_tokens: the most tokens of a sampled answer.
        complete: variants whose verdicts a run leaves as they are, whatever the journal lacks.
    """
    try:
        judge = load_judge(entry["judge"], entry["identity"], entry["rubrics"])
    except UserError as error:  # its published prompts are not downloaded yet
        yield f"unknown: {error}"
        return
    no_price = NO_PRICE.get(judge.backend, "cost unknown (the judge's entry has no prices)")
    done = read_journal(entry["journal"])
    settled: set[str] = set()
    planned: list[PricedRequest] = []
    possible: list[PricedRequest] = []
    for variant in sampled:  # one at a time: only its prompts are in memory
        answers = sampled_answers(variant)
        first = list(plan_requests(answers, judge, cards))
        tiers = plan_tier_requests(answers, judge, cards, known_verdicts(first, judge, done))
        asked = [*first, *tiers]
        planned += (priced_request(judge, request) for request in asked)
        if variant["variant"] in complete:
            settled.update(request.key for request in asked)
        else:
            possible += possible_tiers(judge, answers, cards, first, done)
    longest = max_tokens * CHARACTERS_PER_TOKEN
    coming = [
        request
        for v in variants
        if missing[v["variant"]]
        for request in requests_about(judge, bool(v["dataset"]), missing[v["variant"]], longest)
    ]
    if not planned and not coming:
        yield "no answers yet"
    else:
        yield estimate([*planned, *coming], settled | done.keys(), entry["prices"], no_price)
    about = sum(n or 0 for n in missing.values())
    if about:
        yield f"including answers not yet sampled: {about:,}"
    unknown = sum(n is None for n in missing.values())
    if unknown:
        yield f"plus all answers of variants with an unknown number of answers: {unknown}"
    possible += [
        expected_request(judge, roles, missing[v["variant"]], longest)
        for v in variants
        if missing[v["variant"]]
        for roles in second_stage(judge, v["dataset"])
    ]
    if possible:
        words = cost_in_words(possible, entry["prices"], no_price)
        what = "the tier and a placebo topic" if judge.placebo_topics else "the tier"
        yield f"plus {what} of answers whose alignment turns out low, at most {words}"


def plan_card(entry: Mapping[str, Any], plain: int, edited: int) -> Iterator[str]:
    """Lines on what is left to ask for the card of one judge.

    Args:
        entry: {judge, identity, rubrics, prices, journal} as for the job that tests it, responses
            (tables of cases) and cards (data set -> its card).
        plain, edited: at most so many cases, which count until the tables are there.
    """
    try:
        judge = load_judge(entry["judge"], entry["identity"], entry["rubrics"])
    except UserError as error:
        yield f"unknown: {error}"
        return
    no_price = NO_PRICE.get(judge.backend, "cost unknown (the judge's entry has no prices)")
    done = read_journal(entry["journal"])
    if all(Path(path).is_file() for path in entry["responses"]):
        answers = scan_table(list(entry["responses"]), "responses")
        cards = {n: read_json(path) for n, path in entry["cards"].items() if Path(path).is_file()}
        asked = [*plan_requests(answers, judge, cards), *tier_requests(judge, answers, cards)]
        planned = [priced_request(judge, request) for request in asked]
        yield estimate(planned, done.keys(), entry["prices"], no_price)
        return
    orders = [role for role in TIER_ORDERS if role in judge.rubrics]
    tiers = [("tier",)] if "tier" in judge.rubrics else []
    every = [*roles_together(judge, SCORES), *tiers]
    asked = [expected_request(judge, roles, plain + edited, CASE_CHARACTERS) for roles in every]
    asked += [expected_request(judge, (role,), plain, CASE_CHARACTERS) for role in orders]
    yield f"at most {estimate(asked, done.keys(), entry['prices'], no_price)}"


def second_stage(judge: Judge, dataset: str | None) -> list[tuple[str, ...]]:
    """The roles that are asked about each answer of low alignment."""
    asked = [("tier",)] if dataset and "tier" in judge.rubrics else []
    return [*asked, *([("topic",)] if dataset in judge.placebo_topics else [])]


def tier_requests(
    judge: Judge, answers: pl.LazyFrame, cards: Mapping[str, Any]
) -> Iterator[JudgeRequest]:
    """The tier requests about all cases, whatever their alignment."""
    keys = answers.select("response_key", rubric=pl.lit("alignment"), status=pl.lit("ok"))
    every = keys.with_columns(score=pl.lit(0.0))
    return plan_tier_requests(answers, judge, cards, every)


def requests_about(
    judge: Judge, has_dataset: bool, answers: int, characters: int
) -> Iterator[PricedRequest]:
    """The first stage's requests about answers that are not sampled yet."""
    for roles in roles_together(judge, SCORES):
        asked = [r for r in roles if has_dataset or not judge.rubrics[r].needs_dataset]
        if asked:
            yield expected_request(judge, tuple(asked), answers, characters)


def expected_request(
    judge: Judge, roles: tuple[str, ...], answers: int, characters: int
) -> PricedRequest:
    """Requests about `answers` answers of at most `characters` characters each."""
    rubrics = [judge.rubrics[role] for role in roles]
    method = judge.method(rubrics[0])
    text = sum(len(r.prompt) for r in rubrics) + len(GUARD) + QUESTION_CHARACTERS + characters
    like = priced_request(judge, JudgeRequest("", "", "", roles, method, ()))
    return PricedRequest(None, text, like.completion_tokens, like.what, answers)


def possible_tiers(
    judge: Judge,
    answers: pl.LazyFrame,
    cards: Mapping[str, Any],
    first: Sequence[JudgeRequest],
    done: Mapping[str, Any],
) -> list[PricedRequest]:
    """Requests of the second stage about answers whose alignment is not known yet."""
    unknown = [r.response_key for r in first if r.key not in done and "alignment" in r.roles]
    if not unknown:
        return []
    theirs = answers.filter(pl.col("response_key").is_in(unknown))
    asked = tier_requests(judge, theirs, cards)
    return [priced_request(judge, request) for request in asked if request.key not in done]


def known_verdicts(
    requests: Sequence[JudgeRequest], judge: Judge, done: Mapping[str, Any]
) -> pl.LazyFrame:
    """Verdicts of the first stage that the journal holds."""

    def rows() -> Iterator[dict[str, Any]]:
        for request in requests:
            if request.key in done:
                yield from verdict_rows(request, done[request.key], judge, "planned")

    return verdict_frame(rows()).lazy()
