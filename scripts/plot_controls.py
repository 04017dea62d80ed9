"""Benign against misaligned fine-tunes: does the strict metric keep what it should keep?"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from em_tiers.report.figure_style import (
    COLUMN_WIDTH,
    METRIC_APPEARANCES,
    PAGE_WIDTH,
    ROLE_LABELS,
    empty_figure,
    house_style,
    label_below,
    legend_above,
    level_words,
    metric_handles,
    new_figure,
    save_all,
    wrap_label,
)
from em_tiers.report.forest import (
    SHOWN,
    any_open,
    error_bars,
    headline_rates,
    metrics_of,
    open_markers,
    upper_limit,
)

GROUPS = ("base", "negative_control", "benign", "positive_control")


def spread_offsets(count: int, width: float) -> list[float]:
    """Even offsets around 0 for `count` points, so that none hides another."""
    return [((k + 0.5) / count - 0.5) * width for k in range(count)]


def draw_group(axis: Axes, rows: pl.DataFrame, place: float, metric: str, width: float) -> None:
    """The variants of one role under one metric: points, intervals and their mean as a bar.

    Where nothing could be excluded of a variant, its point is open and the group has no mean.
    """
    look = METRIC_APPEARANCES[metric]
    rows = rows.filter(pl.col("rate").is_not_null()).sort("label", "variant")
    if rows.is_empty():
        return
    rate, size = rows["rate"].to_numpy() * 100, 3 if len(rows) <= 12 else 2
    across = place + np.array(spread_offsets(len(rows), width))
    axis.errorbar(
        *(across, rate),
        yerr=error_bars(rows),
        color=look.colour,
        marker=look.marker,
        linestyle="",
        markersize=size,
        elinewidth=0.5,
        zorder=3,
        clip_on=False,
    )
    open_markers(axis, across, rate, rows, look, size)
    if any_open(rows):
        return
    axis.hlines(
        rate.mean(),
        place - width / 2,
        place + width / 2,
        colors=look.colour,
        linewidth=2,
        alpha=0.5,
    )


def draw_controls(axis: Axes, rows: pl.DataFrame, groups: list[str], metrics: list[str]) -> None:
    """All groups of one judge, side by side."""
    width = 0.8 / len(metrics)
    for number, role in enumerate(groups):
        part = rows.filter(pl.col("role") == role)
        for metric, shift in zip(metrics, spread_offsets(len(metrics), 0.8), strict=True):
            here = part.filter(pl.col("metric") == metric)
            draw_group(axis, here, number + shift, metric, width * 0.8)
        if part.get_column("rate").is_null().all():
            text = "none in\nthis run" if part.is_empty() else "no score"
            axis.annotate(
                text,
                (number, 0),
                xytext=(0, 6),
                textcoords="offset points",
                ha="center",
                style="italic",
                fontsize=6,
                color="#555555",
            )
    axis.set_xticks(range(len(groups)), [wrap_label(ROLE_LABELS[role], 9) for role in groups])
    axis.set_xlim(-0.5, len(groups) - 0.5)


def plot_controls(frame: pl.DataFrame, headline_levels: Sequence[str] | None = None) -> Figure:
    """Draw the headline rates by role, one panel per judge; checkpoints are left out.

    `headline_levels`, the probe levels that the headline rate pools, are named on the axis.
    """
    frame = frame.filter(pl.col("checkpoint_step").is_null())
    if frame.is_empty():
        return empty_figure("no answers: no controls to compare with")
    judges, metrics = sorted(frame.get_column("judge").unique()), metrics_of(frame)
    groups = [r for r in ROLE_LABELS if r in GROUPS or r in frame.get_column("role")]
    columns = min(2, len(judges))
    rows = -(-len(judges) // columns)
    figure = new_figure(COLUMN_WIDTH if columns == 1 else PAGE_WIDTH, 2.2 * rows + 0.5)
    grid = figure.add_gridspec(rows, columns)
    for number, judge in enumerate(judges):
        axis = figure.add_subplot(grid[number // columns, number % columns])
        draw_controls(axis, frame.filter(pl.col("judge") == judge), groups, metrics)
        axis.set_ylim(0, upper_limit(frame))
        axis.grid(axis="y", color="#D0D0D0", linewidth=0.4)
        axis.set_title(wrap_label(f"judge: {judge}", 48))
    figure.supylabel("misaligned answers (%)", fontsize=7)
    words = level_words(frame["probe_level"][0], headline_levels)
    label_below(figure, f"definition {frame['definition'][0]}, {words}; bar: mean of the variants")
    handles = metric_handles(metrics, any_open(frame))
    legend_above(figure, handles, 1 if columns == 1 else 3)
    return figure


def main(
    table: Path | str,
    figures: dict[str, Path | str],
    metrics: Sequence[str] = SHOWN,
    headline_levels: Sequence[str] | None = None,
) -> None:
    """Read the rates table, draw the headline rates by role, write the figure and its data."""
    frame = headline_rates(pl.read_parquet(table), metrics)
    with house_style():
        save_all(plot_controls(frame, headline_levels), frame, figures)
