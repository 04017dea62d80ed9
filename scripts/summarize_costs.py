"""Requests, tokens and cost of each judge for each variant."""

from pathlib import Path

from em_tiers.logs import run_script
from em_tiers.report.table_files import write_tables
from em_tiers.statistics.counts import add_costs
from em_tiers.tables import scan_table


def main(verdicts: list[Path], prices: dict[str, dict | None], outputs: dict[str, Path]) -> None:
    """Write the table cost; outputs are paths by format, prices US dollars per million tokens."""
    write_tables({"cost": add_costs(scan_table(list(verdicts), "verdicts"), prices)}, outputs)


if "snakemake" in globals():
    job = globals()["snakemake"]
    run_script(
        main,
        job.log[0],
        verdicts=list(job.input.verdicts),
        prices=job.params.prices,
        outputs=dict(job.output.items()),
    )
