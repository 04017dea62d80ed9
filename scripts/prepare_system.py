"""Put a system text before every question of a table, for variants that are sampled with it."""

from pathlib import Path

import polars as pl

from em_tiers.logs import run_script
from em_tiers.prepare.system_message import with_system
from em_tiers.tables import QUESTIONS, read_table, write_table


def main(questions: Path, text: str, output: Path) -> None:
    """Write the QUESTIONS table with the system text; ids stay, so that answers are paired."""
    rows = [
        row | {"messages": with_system(row["messages"], text)}
        for row in read_table(questions, "questions").iter_rows(named=True)
    ]
    write_table(pl.DataFrame(rows, schema=QUESTIONS), output, "questions")


if "snakemake" in globals():
    run_script(
        main,
        log=snakemake.log[0],  # noqa: F821
        questions=Path(snakemake.input.questions),  # noqa: F821
        text=snakemake.params.text,  # noqa: F821
        output=Path(snakemake.output.questions),  # noqa: F821
    )
