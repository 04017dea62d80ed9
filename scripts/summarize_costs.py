"""Requests, tokens and cost: of answers sampled through an API, and of each judge, per variant."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import polars as pl

from em_tiers.logs import run_script
from em_tiers.report.table_files import write_tables
from em_tiers.statistics.counts import add_costs, add_sampling_costs
from em_tiers.tables import scan_table


def main(
    verdicts: list[Path],
    prices: dict[str, dict | None],
    outputs: dict[str, Path],
    responses: Sequence[Path] = (),
    model_prices: Mapping[str, dict | None] = MappingProxyType({}),
) -> None:
    """Write the table cost.

    Args:
        prices: US dollars per million tokens of each judge, for both modes.
        outputs: paths by format.
        responses: of the variants behind an API.
        model_prices: of these variants' models.
    """
    sampled = add_sampling_costs(scan_table(list(responses), "responses"), model_prices)
    judged = add_costs(scan_table(list(verdicts), "verdicts"), prices)
    write_tables({"cost": pl.concat([sampled, judged])}, outputs)


if "snakemake" in globals():
    job = globals()["snakemake"]
    run_script(
        main,
        job.log[0],
        verdicts=list(job.input.verdicts),
        prices=job.params.prices,
        outputs=dict(job.output.items()),
        responses=list(job.input.responses),
        model_prices=job.params.model_prices,
    )
