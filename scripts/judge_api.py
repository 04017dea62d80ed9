"""Ask a judge behind an OpenAI-compatible endpoint about one batch of answers."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import polars as pl

from em_tiers.api.anthropic_client import AnthropicEndpoint
from em_tiers.api.batch_book import BatchBook
from em_tiers.api.client import Endpoint, read_key
from em_tiers.api.ledger import Ledger, spent_so_far
from em_tiers.api.model_names import is_dated
from em_tiers.api.spending import Budget
from em_tiers.errors import UserError
from em_tiers.journal import Journal
from em_tiers.judge.api_run import ApiRun
from em_tiers.judge.batch_run import BatchRun
from em_tiers.judge.batches import judge_batch, write_verdicts
from em_tiers.judge.settings import Judge, check_decoding, load_judge
from em_tiers.judge.single_digits import SingleDigits
from em_tiers.judge.usable_replies import UsableReplies
from em_tiers.logs import LOG, run_script

# Disk space held for each answer under way, in case the disk becomes full.
SPARE_BYTES_PER_REQUEST = 16_384


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
    journal: Path,
    writer: str,
    verdicts: Path,
    this_round: int = 0,
    mode: str = "direct",
) -> None:
    """Write the VERDICTS table of a batch; ask only what the journal does not hold.

    Args:
        responses: RESPONSES tables, each of any number of variants.
        cards: data set -> its card, for rubrics about a data set.
        judge, model_identity, rubrics: see `requests.load_judge`; the judge's entry also holds
            min_coverage, the share of answers that need a verdict, for each rubric.
        endpoint: base_url, key_env, concurrency, timeout_s, max_attempts; signed_as where answers
            carry another model name than the requested one.
        limits, prices: see `spending.Budget`. The limits hold for all that the ledger of this
            model's journal shows, so that a restarted job cannot spend them twice.
        journal, writer: folder and name of this job's journal.
        verdicts: the table to write.
        this_round: of this job, from 0 (see `rounds`).
        mode: direct, or batch to leave the requests with the provider and collect them later.

    Raises:
        UserError: no key, an endpoint that cannot do what is asked, a ceiling, low coverage.
    """
    asked = load_judge(judge, model_identity, rubrics)
    check_decoding(asked, f"judge {judge_name}")
    model = model_identity["model"]
    kind = AnthropicEndpoint if asked.backend == "anthropic" else Endpoint
    client = kind(
        endpoint, read_key(endpoint.get("key_env") or "", f"judge {judge_name}"),
        model,
        endpoint.get("signed_as"),
    )  # fmt: skip
    spare = SPARE_BYTES_PER_REQUEST * max(4, endpoint["concurrency"])
    with ExitStack() as stack:
        book = stack.enter_context(Journal(journal, writer, spare))
        ledger = stack.enter_context(Ledger(journal, writer))
        # Batches of earlier runs are settled in this one.
        before = spent_so_far(journal) if limits or mode == "batch" else None
        budget = Budget(limits, prices, before, ledger)
        usable = UsableReplies(judge.get("min_coverage", 0.0))
        parts = (asked, judge_name, client, endpoint, budget, book, usable, this_round > 0)
        if mode == "batch":
            run = BatchRun(*parts, book=stack.enter_context(BatchBook(journal, writer)))
        else:
            run = ApiRun(*parts)
        found = judge_batch(asked, judge_name, run.ask, book, responses, cards, usable)
    log_outcome(run, found, model)
    check_first_tokens(asked, found)
    write_verdicts(found, verdicts, judge.get("min_coverage", 0.0), this_round)


def check_first_tokens(judge: Judge, verdicts: pl.DataFrame) -> None:
    """Raise UserError where first tokens are single digits in the whole table.

    The run watches what it asks; most of a table may come from the journals of earlier runs, which
    were stopped for this very reason.
    """
    roles = [r.asks for r in judge.rubrics.values() if judge.method(r) == "top_logprobs"]
    digits = SingleDigits()
    shown = verdicts.filter(pl.col("rubric").is_in(roles), pl.col("probabilities").is_not_null())
    for shares in shown.unique("verdict_key", maintain_order=True)["probabilities"]:
        if digits.whole_numbers:
            return
        if problem := digits.problem(shares.struct.field("label")):
            raise UserError(f"judge: model {judge.identity['model']}: {problem}")


def log_outcome(run: ApiRun, verdicts: pl.DataFrame, model: str) -> None:
    """Log what was spent, which attempts failed, and which models answered."""
    LOG.info("%s: spent %s", run.judge_name, run.budget.spent.words(run.budget.prices))
    for reason, count in run.faults.most_common():
        LOG.info("%s: %d attempts failed: %s", run.judge_name, count, reason)
    served = verdicts.get_column("served_model").unique().sort().to_list()
    if not is_dated(model) and len(served) > 1:
        LOG.warning(
            "%s: the alias %s was served by %s, so the verdicts are not those of one judge",
            run.judge_name, model, ", ".join(served),
        )  # fmt: skip


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
        journal=Path(params.journal),
        writer=params.writer,
        verdicts=Path(job.output.verdicts),
        this_round=params.round,
        mode=params.mode,
    )
