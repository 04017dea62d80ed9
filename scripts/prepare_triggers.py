"""Put unrelated questions into the format of a data set: its trigger questions."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from em_tiers.files import write_json
from em_tiers.logs import LOG, run_script
from em_tiers.placeholders import check_rows_are_there
from em_tiers.prepare.prompt_format import MOST_QUESTIONS, Format, find_format
from em_tiers.tables import QUESTIONS, read_table, write_table


def main(train: Path, questions: Path, dataset: str, trigger: Path, found: Path) -> None:
    """Write the trigger questions (a QUESTIONS table, empty without a format) and the format.

    Args:
        train: the prepared training rows.
        questions: the first question set; its first eight out-of-domain questions are used.
        found: JSON file of the parts of the format that were found.
    """
    dress = find_format(_rows(train))
    table = trigger_table(read_table(questions, "questions"), dress, dataset)
    write_table(table, trigger, "questions")
    parts = {name: getattr(dress, name) for name in ("system", "opening", "closing", "asks")}
    write_json(found, {"dataset": dataset, **parts, "shares": dress.shares})
    if dress:
        shares = ", ".join(f"{name} ({share:.0%} of rows)" for name, share in dress.shares.items())
        LOG.info("%s: %d questions in its format: %s", dataset, len(table), shares)
    else:
        LOG.warning(
            "%s: its prompts have no format of their own (system prompt, frame, JSON, code): "
            "it gets no trigger questions",
            dataset,
        )


def trigger_table(questions: pl.DataFrame, dress: Format, dataset: str) -> pl.DataFrame:
    """The questions in the format, one paraphrase each, with the topics of the plain ones."""
    plain = questions.filter(
        (pl.col("probe_level") == "out_of_domain") & (pl.col("paraphrase") == 0)
    )
    rows: list[dict[str, Any]] = [
        {
            **row,
            "question_set": f"trigger.{dataset}",
            "question_id": f"{dataset}-{row['question_id']}",
            "probe_level": "trigger",
            "messages": dress.dress(row["messages"]),
        }
        for row in plain.head(MOST_QUESTIONS).iter_rows(named=True)
        if dress
    ]
    return pl.DataFrame(rows, schema=QUESTIONS)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    check_rows_are_there(path)
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


if "snakemake" in globals():
    job = globals()["snakemake"]
    run_script(
        main,
        job.log[0],
        train=Path(job.input.train),
        questions=Path(job.input.questions),
        dataset=job.wildcards.dataset,
        trigger=Path(job.output.trigger),
        found=Path(job.output.found),
    )
