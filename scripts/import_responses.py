"""Import answers, and answers with scores, from a CSV, JSONL or Parquet file."""

import json
from pathlib import Path
from typing import Any

from em_tiers.errors import UserError
from em_tiers.files import sha256_of_file, write_json, write_text
from em_tiers.logs import LOG, run_script
from em_tiers.prepare.base_questions import adopt_questions
from em_tiers.prepare.import_checks import check_import, check_pairs
from em_tiers.prepare.imported_answers import frames, read_import
from em_tiers.tables import read_table, write_parts, write_table


def main(
    table: Path,
    variant: dict[str, Any],
    settings: dict[str, Any],
    responses: Path,
    verdicts: Path,
    rejected: Path,
    base: Path | None = None,
    warnings: Path | None = None,
    questions: list[Path] | None = None,
) -> None:
    """Write the responses, the verdicts of all judges of `settings.scores`, and the rejected rows.

    Args:
        base: responses of the import that this one is compared with.
        questions: tables of the questions that its base model is asked, if that is sampled.
        warnings: where to write what the reader should know, as a list of texts in JSON.

    Raises:
        UserError: the file is not the one that the configuration pins, or cannot be used, or its
            questions cannot be paired with those of `base`; nothing is written.
    """
    wanted = settings.get("sha256")
    if wanted and (seen := sha256_of_file(table)) != wanted:
        raise UserError(
            f"{table}: SHA-256 {seen} differs from {wanted} in the configuration: use the right "
            "file, or correct sha256 in config.imports"
        )
    found = read_import(table, variant, settings)
    answers, scores = frames(found)
    notes = check_import(found, settings)
    if questions:
        asked = read_table(list(questions), "questions")
        answers, more = adopt_questions(answers, asked, variant["base"])
        notes += more
    if base:
        notes += check_pairs(answers, read_table(base, "responses"))
    lines = [json.dumps(row, ensure_ascii=True, default=str) + "\n" for row in found.rejected]
    write_text(rejected, "".join(lines))
    for judge, frame in scores.items():
        LOG.info("%s: %s", judge, dict(frame["status"].value_counts().iter_rows()))
    write_parts(scores.values(), verdicts, "verdicts")
    write_table(answers, responses, "responses")
    if warnings:
        write_json(warnings, notes)
    for note in notes:
        LOG.warning("%s: %s", table, note)
    LOG.info(
        "%d answers imported, %d rows set aside, %d rows of other models",
        len(answers), len(found.rejected), found.others,
    )  # fmt: skip


if "snakemake" in globals():
    job = globals()["snakemake"]
    run_script(
        main,
        job.log[0],
        table=Path(job.input.table),
        variant=job.params.variant,
        settings=job.params.settings,
        responses=Path(job.output.responses),
        verdicts=Path(job.output.verdicts),
        rejected=Path(job.output.rejected),
        questions=list(job.input.get("questions", [])),
        base=Path(str(job.input.base)) if job.input.get("base") else None,
        warnings=Path(job.output.warnings),
    )
