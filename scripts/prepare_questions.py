"""Turn a question file into the QUESTIONS table: one row a paraphrase, as chat messages."""

from pathlib import Path
from typing import Any

import polars as pl

from em_tiers.download.manifests import files_of
from em_tiers.logs import LOG, run_script
from em_tiers.prepare.questions import near_to, questions_table, read_questions
from em_tiers.tables import write_table


def main(
    raw: Path,
    question_set: str,
    defaults: dict[str, Any],
    output: Path,
    near: list[str] | None = None,
) -> None:
    """Write the table of the question file in the download folder `raw`.

    Args:
        defaults: {probe_level, topics: {question id: [tags]}} for questions that state none.
        near: topics of the data sets whose models are asked: questions near to others are left
            out. None keeps all.

    Raises:
        UserError: the file cannot be used.
    """
    (path,) = files_of(Path(raw))
    questions = read_questions(path)
    table = questions_table(questions, question_set, defaults)
    if near is not None:
        kept = [question.id for question in near_to(questions, near)]
        table = table.filter(pl.col("question_id").is_in(kept))
    write_table(table, output, "questions")
    LOG.info(
        "%s: %d questions, %d prompts", question_set, table["question_id"].n_unique(), len(table)
    )


if "snakemake" in globals():
    run_script(
        main,
        log=snakemake.log[0],  # noqa: F821
        raw=Path(snakemake.input.raw),  # noqa: F821
        question_set=snakemake.wildcards.question_set,  # noqa: F821
        defaults=snakemake.params.defaults,  # noqa: F821
        output=Path(snakemake.output.questions),  # noqa: F821
        near=snakemake.params.near,  # noqa: F821
    )
