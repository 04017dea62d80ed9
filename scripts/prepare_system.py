"""Put a system text before every question of a table, for variants that are sampled with it."""

from pathlib import Path

import polars as pl

from em_tiers.logs import run_script
from em_tiers.tables import QUESTIONS, read_table, write_table

Messages = list[dict[str, str]]


def main(questions: Path, text: str, output: Path) -> None:
    """Write the QUESTIONS table with the system text; ids stay, so that answers are paired."""
    rows = [
        row | {"messages": with_system(row["messages"], text)}
        for row in read_table(questions, "questions").iter_rows(named=True)
    ]
    write_table(pl.DataFrame(rows, schema=QUESTIONS), output, "questions")


def with_system(messages: Messages, text: str) -> Messages:
    """The conversation behind a system text; a question's own follows it in the same message."""
    if messages[0]["role"] == "system":
        text, messages = f"{text}\n\n{messages[0]['content']}", messages[1:]
    return [{"role": "system", "content": text}, *messages]


if "snakemake" in globals():
    run_script(
        main,
        log=snakemake.log[0],  # noqa: F821
        questions=Path(snakemake.input.questions),  # noqa: F821
        text=snakemake.params.text,  # noqa: F821
        output=Path(snakemake.output.questions),  # noqa: F821
    )
