"""Make the cases on which every judge of a study is tested: answers whose verdict is known."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from em_tiers.files import atomic_path, read_json
from em_tiers.logs import LOG, run_script
from em_tiers.prepare.judge_cases import (
    Case,
    base_cases,
    case_tables,
    read_written,
    training_rows,
    with_edits,
    written_cases,
)
from em_tiers.tables import read_table, scan_table, write_table


def main(
    written: Path,
    cards: Mapping[str, Path],
    train: Mapping[str, Path],
    questions: Path | None,
    base: Sequence[Path],
    base_models: Sequence[str],
    roles: Mapping[str, str],
    count: int,
    levels: Sequence[str],
    cases: Path,
    truth: Path,
) -> None:
    """Write the cases as a RESPONSES table, and their known answers.

    Args:
        written: config/judge_cases.yaml.
        cards: data set -> its card.
        train: data set -> its train.jsonl, where it has rows.
        questions: the main questions, for training answers under unrelated questions; without
            them, the questions of the written cases serve.
        base, base_models: RESPONSES that hold answers of these base models. With them, the cases
            are their answers; without, all those that need no model.
        roles: data set -> its role.
        count: cases of each kind.
        levels: the probe levels of the headline: base answers to other questions are no cases.
    """
    facts = {name: read_json(path) for name, path in cards.items()}
    topics = {name: card["topics"] for name, card in facts.items()}
    if base:
        answers = scan_table(list(base), "responses").filter(
            pl.col("variant").is_in(list(base_models)), pl.col("probe_level").is_in(list(levels))
        )
        found = base_cases(answers.collect(engine="streaming"), topics, count)
    else:
        texts = read_written(written)
        rows = {n: training_rows(path, facts[n].get("examples", [])) for n, path in train.items()}
        asked = main_questions(questions) if questions else texts
        found = written_cases(texts, rows, asked, topics, roles, count)
    responses, known = case_tables(with_edits(found))
    write_table(responses, cases, "responses")
    with atomic_path(truth) as temporary:
        known.write_parquet(temporary)
    counts = known.group_by("truth", "form").len().sort("truth", "form")
    LOG.info("%s", ", ".join(f"{name} ({form}) {n}" for name, form, n in counts.iter_rows()))


def main_questions(path: Path) -> list[Case]:
    """Questions outside the domains: {messages, topics}."""
    table = read_table(path, "questions").filter(pl.col("probe_level") == "out_of_domain")
    return [
        {"messages": row["messages"], "topics": row["question_topics"]}
        for row in table.iter_rows(named=True)
    ]


if "snakemake" in globals():
    job = globals()["snakemake"]
    params = job.params.settings
    run_script(
        main,
        job.log[0],
        written=Path(job.input.written),
        cards=dict(zip(params["datasets"], map(Path, job.input.get("cards", [])), strict=True)),
        train=dict(zip(params["trained"], map(Path, job.input.get("train", [])), strict=True)),
        questions=Path(str(job.input.questions)) if job.input.get("questions") else None,
        base=[Path(path) for path in job.input.get("base", [])],
        **{name: params[name] for name in ("base_models", "roles", "count", "levels")},
        cases=Path(job.output.cases),
        truth=Path(job.output.truth),
    )
