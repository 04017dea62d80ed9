"""Turn a question file into the QUESTIONS table: one row per paraphrase, as chat messages."""

from pathlib import Path
from typing import Any

import polars as pl

from em_tiers.download.manifests import files_of
from em_tiers.logs import LOG, run_script
from em_tiers.prepare.questions import (
    Question,
    check_topics,
    messages_of,
    near_to,
    probe_level_of,
    read_questions,
    topics_of,
)
from em_tiers.tables import QUESTIONS, write_table


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
        near: topics of the data sets whose models are asked; questions near other topics only are
            left out. None keeps all.

    Raises:
        UserError: the file cannot be used.
    """
    (path,) = files_of(Path(raw))
    questions = read_questions(path)
    table = questions_table(questions, question_set, defaults)
    if passed_over := sorted({key for question in questions for key in question.passed_over}):
        LOG.info(
            "%s: keys that are not used: %s; sampling and judges come from the configuration",
            question_set,
            ", ".join(passed_over),
        )
    if near is not None:
        kept = [question.id for question in near_to(questions, near)]
        table = table.filter(pl.col("question_id").is_in(kept))
    write_table(table, output, "questions")
    LOG.info(
        "%s: %d questions, %d prompts", question_set, table["question_id"].n_unique(), len(table)
    )


def questions_table(
    questions: list[Question], question_set: str, defaults: dict[str, Any]
) -> pl.DataFrame:
    """The QUESTIONS table, one row per paraphrase.

    Args:
        defaults: probe_level and topics ({question id: [tags]}) for questions whose file states
            none. A question whose id ends in `_json` or `_template` has the probe level trigger
            and the topics of the question it repeats.

    Raises:
        UserError: `defaults` names a question that is not in the set.
    """
    topics = defaults.get("topics") or {}
    check_topics(questions, topics)
    rows = [
        {
            "question_set": question_set,
            "question_id": question.id,
            "paraphrase": number,
            "probe_level": probe_level_of(question, defaults.get("probe_level", "out_of_domain")),
            "question_topics": topics_of(question, topics),
            "messages": messages_of(question.system, text),
        }
        for question in questions
        for number, text in enumerate(question.paraphrases)
    ]
    return pl.DataFrame(rows, schema=QUESTIONS)


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
