"""Agreement of the judges with each other."""

from pathlib import Path

from em_tiers.logs import run_script
from em_tiers.report.table_files import write_tables
from em_tiers.statistics.agreement import (
    count_pairs,
    summarize_agreement,
    summarize_confusion,
    summarize_flips,
)
from em_tiers.statistics.calibration import summarize_calibration
from em_tiers.statistics.judged_answers import judged_answers
from em_tiers.statistics.rates import scan_outcomes


def main(
    outcomes: list[Path],
    outputs: dict[str, Path],
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> None:
    """Write the tables agreement, confusion, flips and calibration; they are empty with one judge.

    `outputs` are paths by TABLE_FORMAT.
    """
    answers = judged_answers(scan_outcomes(outcomes))
    pairs = count_pairs(answers)
    tables = {
        "agreement": summarize_agreement(answers, confidence, resamples, seed, pairs),
        "confusion": summarize_confusion(pairs),
        "flips": summarize_flips(pairs, confidence),
        "calibration": summarize_calibration(answers),
    }
    write_tables(tables, outputs)


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
