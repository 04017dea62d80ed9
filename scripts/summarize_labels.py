"""Human labels against the judges, and the rates that a completed label sheet corrects."""

from pathlib import Path

import polars as pl

from em_tiers.errors import UserError
from em_tiers.logs import LOG, run_script
from em_tiers.report.table_files import write_tables
from em_tiers.statistics.label_tables import (
    CORRECTED_COLUMNS,
    JUDGE_QUALITY_COLUMNS,
    correct_rates,
    judge_quality,
    label_agreement,
    weigh_labels,
)
from em_tiers.statistics.rates import Settings, scan_outcomes
from em_tiers.tiers.label_sheet import is_sheet, read_sheet
from em_tiers.tiers.outcomes import read_human_labels
from em_tiers.tiers.rules import read_rules


def main(
    outcomes: list[Path],
    sheet: Path,
    rules: list[dict],
    settings: dict,
    outputs: dict[str, Path],
) -> None:
    """Write the tables label_agreement, judge_quality and corrected.

    Args:
        outcomes: one outcomes table per judge; the first judge's verdicts made the sheet's strata.
        sheet: the completed label sheet. Labels in another form are not a sample: they give
            agreement, and the other two tables stay empty.
        rules: the tier rules that assigned the outcomes.
        settings: the fields of `em_tiers.statistics.rates.Settings`.
        outputs: paths by `<table>_<format>`.
    """
    chosen, scanned = Settings(**settings), scan_outcomes(outcomes)
    labels = _read_all_labels(sheet, scanned)
    frames = {
        "label_agreement": label_agreement(scanned, labels),
        "judge_quality": pl.DataFrame(schema=JUDGE_QUALITY_COLUMNS),
        "corrected": pl.DataFrame(schema=CORRECTED_COLUMNS),
    }
    if is_sheet(sheet):
        judge = scan_outcomes(outcomes[:1]).select(pl.col("judge").first()).collect().item()
        weighed = weigh_labels(scanned, labels, judge, chosen.headline_levels)
        frames["judge_quality"] = judge_quality(scanned, weighed, chosen)
        frames["corrected"] = correct_rates(scanned, weighed, read_rules(rules), chosen)
    else:
        LOG.warning(
            "%s: these answers were chosen, not sampled, so they correct no rate; "
            "`snakemake write_label_sheet` draws a sample",
            sheet,
        )
    write_tables(frames, outputs)


def _read_all_labels(path: Path, outcomes: pl.LazyFrame) -> pl.DataFrame:
    """response_key, copy, labeller and tier, from a sheet or from a table of keys and tiers."""
    keys = outcomes.select(pl.col("response_key").unique()).collect().to_series()
    if is_sheet(path):
        return read_sheet(path, keys)
    labels = read_human_labels(path)
    unknown = labels.filter(~pl.col("response_key").is_in(keys.implode()))
    if not unknown.is_empty():
        raise UserError(
            f"{path}: unknown response_key {unknown['response_key'][0]!r}; "
            "remove the row, or export the labels again"
        )
    return labels.with_columns(copy=pl.lit(0, pl.Int8), labeller=pl.lit(""))


if "snakemake" in globals():
    job = globals()["snakemake"]
    run_script(
        main,
        job.log[0],
        outcomes=list(job.input.outcomes),
        sheet=job.input.sheet,
        rules=job.params.rules,
        settings=job.params.settings,
        outputs=dict(job.output.items()),
    )
