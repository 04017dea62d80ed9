"""What a filled label sheet says about the judges, and the rates that it corrects."""

from pathlib import Path

import polars as pl

from em_tiers.human_labels import correct_rates, judge_quality, label_agreement
from em_tiers.label_sheet import read_sheet
from em_tiers.logs import run_script
from em_tiers.summary import Settings, scan_outcomes
from em_tiers.tables_out import write_tables


def main(outcomes: list[Path], sheet: Path, settings: dict, outputs: dict[str, Path]) -> None:
    """Write the tables label_agreement, judge_quality and corrected.

    Args:
        outcomes: one outcomes table a judge.
        sheet: the filled label sheet.
        settings: the fields of `em_tiers.summary.Settings`.
        outputs: paths by `<table>_<format>`.
    """
    chosen, scanned = Settings(**settings), scan_outcomes(outcomes)
    keys = scanned.select(pl.col("response_key").unique()).collect().to_series()
    labels = read_sheet(sheet, keys)
    frames = {
        "label_agreement": label_agreement(scanned, labels),
        "judge_quality": judge_quality(scanned, labels, chosen),
        "corrected": correct_rates(scanned, labels, chosen),
    }
    write_tables(frames, outputs)


if "snakemake" in globals():
    job = globals()["snakemake"]
    run_script(
        main,
        job.log[0],
        outcomes=list(job.input.outcomes),
        sheet=job.input.sheet,
        settings=job.params.settings,
        outputs=dict(job.output.items()),
    )
