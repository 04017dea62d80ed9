"""Check controls against their bands, and the share that the strict rate keeps of each variant."""

from pathlib import Path

import polars as pl

from em_tiers.logs import LOG, run_script
from em_tiers.report.table_files import write_tables
from em_tiers.statistics.controls import check_controls, missing_controls


def main(
    rates: Path, acceptance: list[dict], variants: list[dict], outputs: dict[str, Path]
) -> None:
    """Write the table controls; outputs are paths by format.

    Args:
        rates: the rates table.
        acceptance: bands as {variant, metric, low, high}.
        variants: all variants with their roles; missing controls are logged.
    """
    for sentence in missing_controls(variants):
        LOG.warning("%s", sentence)
    write_tables({"controls": check_controls(pl.read_parquet(rates), acceptance)}, outputs)


if "snakemake" in globals():
    job = globals()["snakemake"]
    run_script(
        main,
        job.log[0],
        rates=job.input.rates,
        acceptance=job.params.acceptance,
        variants=job.params.variants,
        outputs=dict(job.output.items()),
    )
