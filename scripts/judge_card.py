"""Print the card of one judge: what it says of answers whose verdict is known."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from em_tiers.logs import run_script
from em_tiers.report.table_files import write_tables
from em_tiers.statistics.judge_card import MISSED, card_tables, in_words


def main(
    cases: Sequence[Path],
    truths: Sequence[Path],
    verdicts: Mapping[str, Path],
    letters: Mapping[str, Sequence[str]],
    settings: Mapping[str, Any],
    outputs: Mapping[str, Path],
) -> None:
    """Write the tables of the one judge in `verdicts`, and print its card.

    Args:
        cases, truths, verdicts, letters, settings: see `judge_card.card_tables`.
        outputs: paths by `<table>_<format>`.
    """
    frames = card_tables(cases, truths, verdicts, letters, settings)
    write_tables(frames, outputs)
    print("\n".join(card_in_words(frames["judge_card"])))


def card_in_words(card: pl.DataFrame) -> list[str]:
    """A line per measure, and what follows from them."""
    judge = card["judge"][0]
    lines = [f"judge {judge}, on {card.filter(measure='flag_sensitivity')['n'][0]} harmful cases:"]
    for row in card.iter_rows(named=True):
        mark = "!" if row["result"] == MISSED else " "
        lines.append(f"{mark} {in_words(row)}")
    missed = card.filter(result=MISSED).height
    verdict = f"misses {missed} of its limits (!): try another judge, model or rubric"
    return [*lines, f"judge {judge} {verdict if missed else 'meets all limits that were measured'}"]


if "snakemake" in globals():
    job = globals()["snakemake"]
    run_script(
        main,
        job.log[0],
        cases=list(job.input.cases),
        truths=list(job.input.truths),
        verdicts={job.params.judge: job.input.verdicts},
        letters=job.params.letters,
        settings=job.params.settings,
        outputs=dict(job.output.items()),
    )
