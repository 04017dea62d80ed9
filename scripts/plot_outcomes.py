"""Stacked bars: the outcomes of each variant's answers, with the flagged ones enlarged."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from em_tiers.logs import run_script
from em_tiers.report.figure_style import (
    BLACK,
    OUTCOME_APPEARANCES,
    PAGE_WIDTH,
    empty_figure,
    house_style,
    label_below,
    label_rows,
    left_out_note,
    legend_above,
    level_words,
    new_figure,
    order_variants,
    patch_handles,
    rows_height,
    save_all,
)
from em_tiers.terms import TIERS, WITHOUT_VERDICT

LABEL_WIDTH = 36


def draw_stack(axis: Axes, rows: pl.DataFrame, shown: pl.DataFrame, outcomes: list[str]) -> float:
    """Stack the shares (percent) of `outcomes` on each variant's row; return the longest bar."""
    wide = shown.select("variant", "row")
    for outcome in outcomes:
        part = rows.filter(pl.col("outcome") == outcome).select(
            "variant", (pl.col("share") * 100).alias(outcome)
        )
        wide = wide.join(part, on="variant", how="left", maintain_order="left")
    wide = wide.with_columns(pl.col(outcomes).fill_null(0.0))
    left = pl.Series([0.0] * len(wide))
    for outcome in outcomes:
        look = OUTCOME_APPEARANCES[outcome]
        axis.barh(
            wide["row"],
            wide[outcome],
            left=left,
            height=0.72,
            color=look.colour,
            hatch=look.hatch,
            edgecolor=BLACK,
            label=outcome,
            zorder=3,
        )
        left = left + wide[outcome]
    return float(left.max() or 0.0)


def enlarged_title(rows: pl.DataFrame, longest: float) -> str:
    """Title of the right panel; a judge without scores has not found that no answer is flagged."""
    if longest:
        return "flagged answers, enlarged"
    scored = rows.filter(~pl.col("outcome").is_in(WITHOUT_VERDICT)).get_column("count").sum()
    return "no answer flagged" if scored else "no answer has a score"


def plot_outcomes(frame: pl.DataFrame, headline_levels: Sequence[str] | None = None) -> Figure:
    """Draw one block of rows per judge: all answers on the left, the flagged ones on the right.

    Args:
        frame: the outcomes table of counts, one probe level of it.
        headline_levels: the probe levels that `headline` pools, to be named on the axis.
    """
    if frame.is_empty():
        return empty_figure("no answers: no outcomes to show")
    flagged = pl.col("share").filter(pl.col("outcome").is_in(TIERS)).sum()
    shown = order_variants(frame, flagged)
    judges = sorted(frame.get_column("judge").unique())
    headers = [f"judge: {judge}" if len(judges) > 1 else "" for judge in judges]
    heights = [rows_height(shown, LABEL_WIDTH, header) for header in headers]
    figure = new_figure(PAGE_WIDTH, sum(heights) + 0.25 * len(judges) + 1.0)
    grid = figure.add_gridspec(len(judges), 2, height_ratios=heights, width_ratios=(3, 2))
    tiers = [name for name in OUTCOME_APPEARANCES if name in TIERS]
    enlarged = []
    for line, (judge, header) in enumerate(zip(judges, headers, strict=True)):
        rows = frame.filter(pl.col("judge") == judge)
        axes = [figure.add_subplot(grid[line, column]) for column in (0, 1)]
        for column, axis in enumerate(axes):
            label_rows(axis, shown, LABEL_WIDTH, column == 0, header)
        draw_stack(axes[0], rows, shown, list(OUTCOME_APPEARANCES))
        axes[0].set_xlim(0, 100.4)
        axes[0].set_title("all answers")
        enlarged.append((axes[1], draw_stack(axes[1], rows, shown, tiers)))
        axes[1].set_title(enlarged_title(rows, enlarged[-1][1]))
    limit = min(100.0, max(5.0, 1.07 * max(longest for _, longest in enlarged)))
    for axis, _ in enlarged:
        axis.set_xlim(0, limit)
        axis.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    words = level_words(frame["probe_level"][0], headline_levels)
    label_below(figure, f"share of all answers (%), {words}", left_out_note(frame, shown))
    legend_above(figure, patch_handles(OUTCOME_APPEARANCES), 4)
    return figure


def main(
    table: Path | str,
    figures: dict[str, Path | str],
    probe_level: str = "headline",
    headline_levels: Sequence[str] | None = None,
) -> None:
    """Read the table of counts, draw one probe level, write the figure and its data."""
    frame = pl.read_parquet(table).filter(pl.col("probe_level") == probe_level)
    with house_style():
        save_all(plot_outcomes(frame, headline_levels), frame, figures)


if "snakemake" in globals():
    run_script(
        main,
        snakemake.log[0],  # noqa: F821
        table=snakemake.input.table,  # noqa: F821
        figures=dict(snakemake.output.items()),  # noqa: F821
        **dict(snakemake.params.items()),  # noqa: F821
    )
