"""How far the judges agree with each other."""

from pathlib import Path

from em_tiers.agreement import summarize_agreement
from em_tiers.logs import run_script
from em_tiers.summary import scan_outcomes
from em_tiers.tables_out import write_tables


def main(
    outcomes: list[Path],
    outputs: dict[str, Path],
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> None:
    """Write the table agreement; outputs are paths by format. It is empty with one judge."""
    found = summarize_agreement(scan_outcomes(outcomes), confidence, resamples, seed)
    write_tables({"agreement": found}, outputs)


if "snakemake" in globals():
    job = globals()["snakemake"]
    run_script(
        main,
        job.log[0],
        outcomes=list(job.input.outcomes),
        outputs=dict(job.output.items()),
        confidence=job.params.confidence,
        resamples=job.params.resamples,
        seed=job.params.seed,
    )
