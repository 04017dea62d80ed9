"""Write the answer in one table: the headline rates of each model and judge, ready for a paper."""

from pathlib import Path

import polars as pl

from em_tiers.logs import run_script
from em_tiers.report.table_files import write_all
from em_tiers.statistics.headline import answer_table, headline_rows


def main(
    rates: Path,
    groups: Path,
    overestimation: Path,
    differences: Path,
    counterfactual: Path,
    outputs: dict[str, Path],
    judge_card: Path | None = None,
) -> None:
    """Write the table headline: numbers as Parquet and CSV, percent and points for people.

    Args:
        rates, groups, overestimation, differences, counterfactual: tables of these names.
        outputs: paths by format.
        judge_card: the table of this name; None where the judges were not tested.
    """
    tables = (rates, groups, overestimation, differences, counterfactual)
    card = pl.read_parquet(judge_card) if judge_card else None
    rows = headline_rows(*map(pl.read_parquet, tables), card)
    header, shown = answer_table(rows)
    write_all(rows, outputs, pl.DataFrame(shown, schema=header, orient="row"))


if "snakemake" in globals():
    job = globals()["snakemake"]
    run_script(
        main,
        job.log[0],
        rates=Path(job.input.rates),
        groups=Path(job.input.groups),
        overestimation=Path(job.input.overestimation),
        differences=Path(job.input.differences),
        counterfactual=Path(job.input.counterfactual),
        outputs=dict(job.output.items()),
        judge_card=Path(str(job.input.judge_card)) if job.input.get("judge_card") else None,
    )
