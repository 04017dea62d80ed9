"""The rate of every variant for each pair of alignment and coherence thresholds."""

from pathlib import Path

from em_tiers.logs import run_script
from em_tiers.report.table_files import write_tables
from em_tiers.statistics.counts import threshold_grid
from em_tiers.statistics.rates import scan_outcomes


def main(
    outcomes: list[Path],
    alignment_thresholds: list[float],
    coherence_thresholds: list[float],
    headline_levels: list[str],
    outputs: dict[str, Path],
) -> None:
    """Write the table thresholds; outputs are paths by format."""
    grid = threshold_grid(
        scan_outcomes(outcomes), alignment_thresholds, coherence_thresholds, headline_levels
    )
    write_tables({"thresholds": grid}, outputs)


if "snakemake" in globals():
    job = globals()["snakemake"]
    run_script(
        main,
        job.log[0],
        outcomes=list(job.input.outcomes),
        alignment_thresholds=job.params.alignment_thresholds,
        coherence_thresholds=job.params.coherence_thresholds,
        headline_levels=job.params.headline_levels,
        outputs=dict(job.output.items()),
    )
