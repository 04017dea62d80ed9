"""Assign each answer exactly one outcome, and each flagged answer a tier."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from em_tiers.errors import UserError
from em_tiers.files import atomic_path
from em_tiers.logs import LOG, run_script
from em_tiers.tables import OUTCOMES, scan_table
from em_tiers.tiers.definitions import definition_named
from em_tiers.tiers.label_sheet import is_sheet, read_sheet, settle
from em_tiers.tiers.outcomes import (
    join_verdicts,
    read_human_labels,
    with_human_labels,
    with_outcomes,
    with_question_topic,
)
from em_tiers.tiers.rules import read_rules


def main(
    responses: list[Path],
    verdicts: list[Path],
    judge: str,
    rules: list[dict],
    definition: str,
    topics: dict[str, list[str]],
    output: Path,
    labels: Path | None = None,
) -> None:
    """Write the outcomes table of one judge, a row for each answer in `responses`.

    Args:
        responses: responses tables of the answers that this judge was given; each gets an outcome.
        verdicts: verdicts tables, each of several variants; one of an import holds several judges.
        judge: the judge as the column `judge` names it.
        rules: the tier rules in order, as in config/tier_rules.yaml.
        definition: the headline definition, D1 to D4.
        topics: the topic tags of each data set.
        labels: a filled label sheet, or a table (CSV, Parquet) of response_key and tier.

    Raises:
        UserError: a rule or a label cannot be used, an answer has two verdicts on one rubric, the
            judge has no verdict, or its verdicts come from different models or rubrics.
    """
    answers = scan_table(list(responses), "responses")
    _check_one_judge(own_verdicts(scan_table(list(verdicts), "verdicts"), judge), judge)
    given = _read_settled_labels(labels, answers) if labels else None
    decide = partial(
        with_outcomes, rules=read_rules(rules), definition=definition_named(definition)
    )
    with atomic_path(output) as temporary:
        with pq.ParquetWriter(temporary, _ARROW_SCHEMA, **_WRITING) as file:
            for some, judged in answer_slices(responses, verdicts):
                outcomes = join_verdicts(some, judged.filter(pl.col("judge") == judge))
                outcomes = with_human_labels(with_question_topic(outcomes, topics), given)
                outcomes = decide(outcomes.with_columns(judge=pl.lit(judge)))
                columns = (pl.col(name).cast(kind) for name, kind in OUTCOMES.items())
                file.write_table(outcomes.select(columns).collect().to_arrow())
        _check_rows(answers, pl.scan_parquet(temporary), judge)
    _log_counts(output, judge)


_ARROW_SCHEMA = pl.DataFrame(schema=OUTCOMES).to_arrow().schema
# Keys never repeat; statistics of every column would take a third of the time.
_WRITING = {
    "compression": "zstd",
    "use_dictionary": [name for name in OUTCOMES if name != "response_key"],
    "write_statistics": ["variant"],
}


def answer_slices(
    responses: Sequence[Path | str], verdicts: Sequence[Path | str]
) -> Iterator[tuple[pl.LazyFrame, pl.LazyFrame]]:
    """Files of answers, with the verdicts of the files that share a variant with them.

    One slice at a time is joined in memory, and the larger a join, the slower each of its rows. One
    file of verdicts belongs to many files of answers: these make one slice, so that it is read
    once.
    """
    judged = {path: _variants(path, "verdicts") for path in dict.fromkeys(map(str, verdicts))}
    slices: dict[tuple[str, ...], list[str]] = {}
    for path in dict.fromkeys(map(str, responses)):
        asked = _variants(path, "responses")
        own = tuple(file for file, variants in judged.items() if variants & asked)
        slices.setdefault(own, []).append(path)
    for own, files in slices.items():
        yield scan_table(files, "responses"), scan_table(list(own), "verdicts")


def _variants(path: str, table: str) -> set[str]:
    return set(_distinct_values(scan_table(path, table), "variant"))


def own_verdicts(verdicts: pl.LazyFrame, judge: str) -> pl.LazyFrame:
    """The verdicts of one judge: the file of an import holds those of all its judges.

    Raises:
        UserError: there are verdicts, but none of this judge.
    """
    own = verdicts.filter(pl.col("judge") == judge)
    judges = _distinct_values(verdicts, "judge")
    if judges and judge not in judges:
        raise UserError(
            f"judge {judge}: its verdict files contain verdicts of {', '.join(judges)} only: "
            "delete them and run again"
        )
    return own


def _distinct_values(frame: pl.LazyFrame, column: str) -> list[str]:
    return (
        frame.select(pl.col(column).unique().sort()).collect(engine="streaming")[column].to_list()
    )


def _read_settled_labels(path: Path, answers: pl.LazyFrame) -> pl.DataFrame:
    """One label per answer, from a sheet of this study or from a table of response keys.

    A judge whose scores were imported has only some of the answers: items of other answers are
    skipped here, and items that match no answer are refused where the labels are summarised.
    """
    if not is_sheet(path):
        return read_human_labels(path)
    keys = answers.select("response_key").collect(engine="streaming").to_series()
    return settle(read_sheet(path, keys, others="leave_out"))


def _check_one_judge(verdicts: pl.LazyFrame, judge: str) -> None:
    """Refuse to compare variants judged under one name by different models or rubrics.

    Snakemake prevents it, unless it was told not to, or its records were lost.
    """
    settings = (
        verdicts.group_by("judge_fingerprint")
        .agg(pl.col("variant").first())
        .sort("variant")
        .collect(engine="streaming")
    )
    if len(settings) > 1:
        variants = " and ".join(settings["variant"].to_list()[:2])
        raise UserError(
            f"judge {judge}: {variants} were judged with different rubrics, models or decoding; "
            "run without --rerun-triggers mtime, or delete this judge's verdict files and run "
            "again (requests in its journal are not repeated)"
        )


def _check_rows(answers: pl.LazyFrame, outcomes: pl.LazyFrame, judge: str) -> None:
    expected, found = (frame.select(pl.len()).collect().item() for frame in (answers, outcomes))
    if expected != found:
        raise UserError(
            f"judge {judge}: {found} outcomes for {expected} answers, because an answer has two "
            "verdicts on one rubric; delete this judge's verdict files and rerun"
        )


def _log_counts(output: Path, judge: str) -> None:
    counts = pl.scan_parquet(output).group_by("outcome").len().sort("outcome").collect()
    listed = ", ".join(f"{outcome} {count}" for outcome, count in counts.iter_rows())
    LOG.info("judge %s: %s", judge, listed or "no answers")


if "snakemake" in globals():
    job = globals()["snakemake"]
    run_script(
        main,
        job.log[0],
        responses=list(job.input.responses),
        verdicts=list(job.input.verdicts),
        labels=job.input.get("labels") or None,
        output=job.output[0],
        judge=job.params.judge,
        rules=job.params.rules,
        definition=job.params.definition,
        topics=job.params.topics,
    )
