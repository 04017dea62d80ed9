"""Say in words what a run would ask: answers to sample, and requests and money of each judge."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from em_tiers.contracts import read_table, scan_table
from em_tiers.files import read_json
from em_tiers.journal import read_journal
from em_tiers.judging import Judge, JudgeRequest, load_judge, plan_requests, plan_tier_requests
from em_tiers.logs import run_script
from em_tiers.spending import Planned, estimate
from em_tiers.verdicts import verdict_frame, verdict_rows


def main(variants: list[dict[str, Any]], judges: dict[str, dict[str, Any]]) -> None:
    """Print a line a variant to be sampled and a line a judge.

    Nothing is asked and nothing is written. What stands in no responses file yet is counted from
    its question tables; verdicts that the journal holds cost nothing.

    Args:
        variants: {variant, dataset, responses: path, card: path or None, questions: {path: n}}.
        judges: name -> {judge, identity, rubrics, prices, journal}.
    """
    there = [v for v in variants if Path(v["responses"]).exists()]
    missing = {v["variant"]: wanted_answers(v["questions"]) for v in variants if v not in there}
    for variant, wanted in missing.items():
        print(f"sample {variant}: {'an unknown number of' if wanted is None else wanted} answers")
    if not missing:
        print("sample: nothing is missing")
    cards = {v["dataset"]: read_json(v["card"]) for v in there if v["card"] and _exists(v["card"])}
    for name, entry in judges.items():
        print(f"judge {name}: {plan_judge(entry, [v['responses'] for v in there], cards)}")
        if missing:
            print(f"judge {name}: besides, all answers of {len(missing)} variants not yet sampled")


def wanted_answers(questions: Mapping[str, int]) -> int | None:
    """Answers that a variant will have; None before its question tables are there."""
    if not all(_exists(path) for path in questions):
        return None
    return sum(len(read_table(path, "questions")) * n for path, n in questions.items())


def plan_judge(entry: Mapping[str, Any], responses: list[str], cards: Mapping[str, Any]) -> str:
    """What is left to ask of one judge, in words."""
    judge = load_judge(entry["judge"], entry["identity"], entry["rubrics"])
    if not responses:
        return "no answers yet"
    answers = scan_table(list(responses), "responses")
    done = read_journal(entry["journal"])
    first = list(plan_requests(answers, judge, cards))
    tiers = plan_tier_requests(answers, judge, cards, known_verdicts(first, judge, done))
    planned = (_planned(request, judge) for request in (*first, *tiers))
    words = estimate(planned, done, entry["prices"])
    unknown = sum(
        1 for request in first if request.key not in done and "alignment" in request.roles
    )
    if unknown and "tier" in judge.rubrics:
        words += f"; and a tier for those of {unknown} answers that score low"
    return words


def known_verdicts(
    requests: list[JudgeRequest], judge: Judge, done: Mapping[str, Any]
) -> pl.LazyFrame:
    """Verdicts of the first stage that the journal holds."""

    def rows() -> Iterator[dict[str, Any]]:
        for request in requests:
            if request.key in done:
                yield from verdict_rows(request, done[request.key], judge, "planned")

    return verdict_frame(rows()).lazy()


def _planned(request: JudgeRequest, judge: Judge) -> Planned:
    characters = sum(len(message["content"]) for message in request.messages)
    tokens = int(judge.decoding.get("max_tokens") or 1) + int(
        judge.decoding.get("reasoning_tokens") or 0
    )
    return Planned(request.key, characters, tokens, "+".join(request.roles))


def _exists(path: str | Path) -> bool:
    return Path(path).exists()


if "snakemake" in globals():
    job = globals()["snakemake"]
    run_script(main, job.log[0], variants=job.params.variants, judges=job.params.judges)
