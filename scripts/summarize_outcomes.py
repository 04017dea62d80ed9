"""Count the outcomes of every variant, and the statuses of every judge's verdicts."""

from pathlib import Path

from em_tiers.logs import run_script
from em_tiers.report.table_files import write_tables
from em_tiers.statistics.counts import count_outcomes, count_statuses
from em_tiers.statistics.rates import scan_outcomes, variant_table
from em_tiers.tables import scan_table


def main(
    outcomes: list[Path],
    verdicts: list[Path],
    variants: list[dict],
    headline_levels: list[str],
    outputs: dict[str, Path],
) -> None:
    """Write the tables outcomes and coverage; outputs are paths by `<table>_<format>`."""
    frames = {
        "outcomes": count_outcomes(
            scan_outcomes(outcomes), variant_table(variants), headline_levels
        ),
        "coverage": count_statuses(scan_table(list(verdicts), "verdicts")),
    }
    write_tables(frames, outputs)


if "snakemake" in globals():
    job = globals()["snakemake"]
    run_script(
        main,
        job.log[0],
        outcomes=list(job.input.outcomes),
        verdicts=list(job.input.verdicts),
        variants=job.params.variants,
        headline_levels=job.params.headline_levels,
        outputs=dict(job.output.items()),
    )
