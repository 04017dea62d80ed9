"""The flagged answers that each tier rule removes, and the effect on the rate."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from em_tiers.logs import run_script
from em_tiers.report.table_files import write_tables
from em_tiers.statistics.cells import count_cells
from em_tiers.statistics.counterfactual import counterfactual
from em_tiers.statistics.metric_card import metric_card
from em_tiers.statistics.rates import Settings, scan_outcomes, variant_table
from em_tiers.statistics.removals import removals
from em_tiers.statistics.tier_bounds import tier_bounds
from em_tiers.statistics.tier_tables import (
    ablation,
    count_answers,
    count_patterns,
    disagreement,
    overestimation,
    printed_overestimation,
    printed_waterfall,
    waterfall,
)
from em_tiers.tables import scan_table
from em_tiers.tiers.rules import read_rules


def main(
    outcomes: list[Path],
    variants: list[dict],
    rules: list[dict],
    settings: dict,
    outputs: dict[str, Path],
    other_rules: dict[str, list[dict]] | None = None,
    marks: Path | None = None,
    placebo_verdicts: Sequence[Path] = (),
) -> None:
    """Write the tables of tiers, of their exclusions and of what these are compared with.

    Args:
        outcomes: one outcomes table per judge.
        variants: label and the other columns of each variant, in the order to show.
        rules: the tier rules that assigned the outcomes.
        settings: the fields of `em_tiers.statistics.rates.Settings`.
        outputs: paths by `<table>_<format>`.
        other_rules: further rule sets, for the metric card.
        marks: the table of text marks; None without training data.
        placebo_verdicts: VERDICTS with scores for the topics of other data sets; none by default.
    """
    chosen, read = Settings(**settings), read_rules(rules)
    scanned = scan_outcomes(outcomes)
    table = variant_table(variants)
    labels = table.select("variant", "label")
    cells = count_cells(scanned, chosen.strict_counts)
    patterns = count_patterns(scanned, cells, read, chosen)
    denominators = count_answers(cells, chosen)
    others = {name: read_rules(listed) for name, listed in (other_rules or {}).items()}
    read_marks = pl.read_parquet(marks) if marks else None
    # No answer to mark, or no column of marks: no text could be learnt from.
    if read_marks is not None and (read_marks.is_empty() or read_marks.width == 1):
        read_marks = None
    asked = (scan_table(list(placebo_verdicts), "verdicts"), read) if placebo_verdicts else None
    removed = removals(scanned, others, read_marks, chosen, asked)
    contrast, by_question = counterfactual(cells, table, chosen)
    frames = {
        "tier_waterfall": waterfall(patterns, denominators, labels, read, chosen),
        "tier_ablation": ablation(patterns, denominators, read, chosen),
        "tier_disagreement": disagreement(scanned, read, chosen),
        "overestimation": overestimation(cells, table, chosen),
        "counterfactual": contrast,
        "counterfactual_questions": by_question,
        "metric_card": metric_card(cells, table, chosen, removed),
        "tier_bounds": tier_bounds(scanned, read, chosen),
    }
    shown = {
        "tier_waterfall": printed_waterfall(frames["tier_waterfall"]),
        "overestimation": printed_overestimation(frames["overestimation"]),
    }
    write_tables(frames, outputs, shown)


if "snakemake" in globals():
    job = globals()["snakemake"]
    run_script(
        main,
        job.log[0],
        outcomes=list(job.input.outcomes),
        variants=job.params.variants,
        rules=job.params.rules,
        settings=job.params.settings,
        outputs=dict(job.output.items()),
        other_rules=job.params.other_rules,
        marks=Path(str(job.input.marks)) if job.input.get("marks") else None,
        placebo_verdicts=[Path(path) for path in job.input.get("placebo_verdicts", [])],
    )
