"""Ask a judge behind an OpenAI-compatible endpoint about the answers of a batch of variants."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from em_tiers.errors import UserError
from em_tiers.files import read_json
from em_tiers.journal import Journal
from em_tiers.judge.api_client import Endpoint, read_key
from em_tiers.judge.api_requests import check_judge
from em_tiers.judge.api_run import ApiRun
from em_tiers.judge.model_names import is_dated
from em_tiers.judge.requests import JudgeRequest, load_judge, plan_requests, plan_tier_requests
from em_tiers.judge.spending import Budget, spent_in_journal
from em_tiers.judge.verdicts import coverage_error, verdict_frame, verdict_rows
from em_tiers.logs import LOG, run_script
from em_tiers.tables import scan_table, write_table

# Answers whose requests and records are in memory together: about half a gigabyte.
ANSWERS_AT_ONCE = 20_000
REASONS_SHOWN = 8


def main(
    responses: list[Path],
    cards: Mapping[str, Path],
    judge: Mapping[str, Any],
    judge_name: str,
    model_identity: Mapping[str, Any],
    rubrics: Mapping[str, Mapping[str, Any]],
    endpoint: Mapping[str, Any],
    limits: Mapping[str, float] | None,
    prices: Mapping[str, float] | None,
    min_coverage: float,
    journal: Path,
    writer: str,
    outputs: list[Path],
) -> None:
    """Write one VERDICTS table a variant; ask only what the journal does not hold.

    Args:
        responses: RESPONSES tables, one a variant.
        cards: data set -> its card, for rubrics about a data set.
        judge, model_identity, rubrics: see `judging.load_judge`.
        endpoint: base_url, key_env, concurrency, timeout_s, max_attempts; signed_as where answers
            carry another model name than the asked one.
        limits, prices: see `spending.Budget`. The limits hold for all that the journal shows for
            this model, so that a restarted job cannot spend them twice.
        min_coverage: share of answers that need a verdict, for each rubric.
        journal, writer: folder and name of this job's journal.
        outputs: paths of the tables, in the order of `responses`.

    Raises:
        UserError: no key, an endpoint that cannot do what is asked, a ceiling, low coverage.
    """
    asked = load_judge(judge, model_identity, rubrics)
    check_judge(asked, judge_name)
    model = model_identity["model"]
    client = Endpoint(
        endpoint, read_key(endpoint.get("key_env") or "", judge_name), model,
        endpoint.get("signed_as"),
    )  # fmt: skip
    read_cards = {name: read_json(path) for name, path in cards.items()}
    with Journal(journal, writer) as book:
        budget = Budget(limits, prices, spent_in_journal(journal) if limits else None)
        run = ApiRun(asked, judge_name, client, endpoint, budget, book)
        seen = []
        for tables in _groups(responses):
            frame = _judge_answers(run, scan_table(tables, "responses"), read_cards)
            seen.append(frame.select("judge", "rubric", "status", "raw_text", "served_model"))
            for path in tables:
                _write(frame, path, outputs[responses.index(path)])
    _report(run, pl.concat(seen), model)
    _check_coverage(pl.concat(seen), min_coverage, outputs)


def _groups(responses: list[Path]) -> Iterator[list[Path]]:
    """Tables in groups of about ANSWERS_AT_ONCE rows."""
    group: list[Path] = []
    rows = 0
    for path in responses:
        group.append(path)
        rows += scan_table(path, "responses").select(pl.len()).collect().item()
        if rows >= ANSWERS_AT_ONCE:
            yield group
            group, rows = [], 0
    if group:
        yield group


def _judge_answers(run: ApiRun, answers: pl.LazyFrame, cards: Mapping[str, Any]) -> pl.DataFrame:
    """VERDICTS of both stages: the rubrics for every answer, then the tier of the low ones."""
    first = _verdicts(run, list(plan_requests(answers, run.judge, cards)))
    second = list(plan_tier_requests(answers, run.judge, cards, first.lazy()))
    return pl.concat([first, _verdicts(run, second)])


def _verdicts(run: ApiRun, requests: list[JudgeRequest]) -> pl.DataFrame:
    records = run.journal.read(request.key for request in requests)
    new = [request for request in requests if request.key not in records]
    LOG.info("%s: %d of %d requests to ask", run.judge_name, len(new), len(requests))
    records |= run.run(new)
    return verdict_frame(
        row
        for request in requests
        for row in verdict_rows(request, records[request.key], run.judge, run.judge_name)
    )


def _write(frame: pl.DataFrame, responses: Path, output: Path) -> None:
    """Write the verdicts of one variant's table."""
    keys = scan_table(responses, "responses").select("response_key").collect()
    part = frame.join(keys, on="response_key", how="semi", maintain_order="left")
    write_table(part, output, "verdicts")


def _report(run: ApiRun, verdicts: pl.DataFrame, model: str) -> None:
    """Log what it took, what went wrong on the way, and who answered."""
    LOG.info("%s: spent %s", run.judge_name, run.budget.spent.words(run.budget.prices))
    for reason, count in run.faults.most_common():
        LOG.info("%s: %d attempts failed: %s", run.judge_name, count, reason)
    served = verdicts.get_column("served_model").unique().sort().to_list()
    if not is_dated(model) and len(served) > 1:
        LOG.warning(
            "%s: the alias %s was served by %s: the verdicts are not those of one judge",
            run.judge_name, model, ", ".join(served),
        )  # fmt: skip


def _check_coverage(verdicts: pl.DataFrame, min_coverage: float, outputs: list[Path]) -> None:
    """Fail, without tables, when too many answers have no verdict; say how often and why."""
    problem = coverage_error(verdicts, min_coverage)
    if not problem:
        return
    for output in outputs:
        output.unlink(missing_ok=True)
    failed = verdicts.filter(pl.col("status") == "api_error").get_column("raw_text")
    reasons = Counter(failed.to_list()).most_common(REASONS_SHOWN)
    listed = "; ".join(f"{count} x {reason}" for reason, count in reasons)
    raise UserError(problem + (f" (api_error: {listed})" if listed else ""))


if "snakemake" in globals():
    job = globals()["snakemake"]
    params = job.params
    run_script(
        main,
        job.log[0],
        responses=[Path(path) for path in job.input.responses],
        cards=dict(zip(params.datasets, map(Path, job.input.get("cards", [])), strict=True)),
        judge=params.judge,
        judge_name=params.judge_name,
        model_identity=params.model_identity,
        rubrics=params.rubrics,
        endpoint=params.endpoint,
        limits=params.limits,
        prices=params.prices,
        min_coverage=params.judge["min_coverage"],
        journal=Path(params.journal),
        writer=params.writer,
        outputs=[Path(path) for path in job.output.verdicts],
    )
