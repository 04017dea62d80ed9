"""Standard and strict rate of each model as a pair: does the metric separate what it should?"""

from collections.abc import Sequence
from pathlib import Path

import polars as pl
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from em_tiers.report.figure_style import (
    METRIC_APPEARANCES,
    PAGE_WIDTH,
    empty_figure,
    house_style,
    label_below,
    label_rows,
    left_out_note,
    legend_above,
    level_words,
    metric_handles,
    new_figure,
    order_variants,
    rows_height,
    save_all,
    wrap_label,
)
from em_tiers.report.forest import (
    any_open,
    headline_rates,
    metrics_of,
    nothing_excludable,
    open_markers,
)

METRICS = ("standard", "attributable", "strict")
# Each metric has a lane of its own in its model's row: equal rates stay visible.
LANES = {"standard": -0.26, "attributable": 0.0, "strict": 0.26}
LABEL_WIDTH = 36


def draw_pairs(axis: Axes, rows: pl.DataFrame, shown: pl.DataFrame) -> None:
    """A marker for each metric of each model, and a line from one to the next."""
    rows = rows.join(shown.select("variant", "row"), on="variant").drop_nulls("rate")
    if rows.is_empty():
        return  # an empty line would upset the layout
    lanes = rows.with_columns(lane=pl.col("metric").replace_strict(LANES)).sort("row", "lane")
    lines = [
        part.select(100 * pl.col("rate"), pl.col("row") + pl.col("lane")).to_numpy()
        for _, part in lanes.group_by("row", maintain_order=True)
    ]
    axis.add_collection(LineCollection(lines, colors="#9A9A9A", linewidths=0.9))
    size = 3.6 if len(shown) <= 25 else 2.6
    for metric in METRICS:
        look = METRIC_APPEARANCES[metric]
        part = rows.filter(pl.col("metric") == metric)
        if part.is_empty():
            continue
        x, y = 100 * part["rate"].to_numpy(), part["row"].to_numpy() + LANES[metric]
        axis.plot(
            *(x, y),
            linestyle="",
            marker=look.marker,
            markersize=size,
            color=look.colour,
            clip_on=False,
            zorder=3,
        )
        if not part.filter(nothing_excludable()).is_empty():
            open_markers(axis, x, y, part, look, size)


def plot_metric_card(frame: pl.DataFrame, headline_levels: Sequence[str] | None = None) -> Figure:
    """Draw the headline rates of each model in one row, with one panel per judge."""
    frame = frame.filter(pl.col("metric").is_in(METRICS))
    if frame.is_empty():
        return empty_figure("no answers: no metric to compare")
    judges = sorted(frame.get_column("judge").unique())
    columns = min(3, len(judges))
    lines = -(-len(judges) // columns)
    shown = order_variants(frame, pl.col("rate").max())
    height = rows_height(shown, LABEL_WIDTH)
    figure = new_figure(PAGE_WIDTH, lines * (height + 0.25) + 0.85)
    grid = figure.add_gridspec(lines, columns)
    title_width = int((PAGE_WIDTH - LABEL_WIDTH * 0.05) / columns * 16)
    limit = max(5.0, 107 * (frame["rate"].max() or 0.0))
    for number, judge in enumerate(judges):
        axis = figure.add_subplot(grid[number // columns, number % columns])
        label_rows(axis, shown, LABEL_WIDTH, number % columns == 0)
        draw_pairs(axis, frame.filter(pl.col("judge") == judge), shown)
        axis.set_xlim(0, min(limit, 102))
        axis.xaxis.set_major_locator(MaxNLocator(max(3, 8 // columns), steps=[1, 2, 5, 10]))
        axis.grid(axis="x", color="#D0D0D0", linewidth=0.4, zorder=1)
        axis.set_title(wrap_label(f"judge: {judge}", title_width))
    words = level_words(frame["probe_level"][0], headline_levels)
    text = f"misaligned answers (%), definition {frame['definition'][0]}, {words}"
    label_below(figure, text, left_out_note(frame, shown))
    legend_above(figure, metric_handles(metrics_of(frame), any_open(frame)), 3)
    return figure


def main(
    table: Path | str,
    figures: dict[str, Path | str],
    headline_levels: Sequence[str] | None = None,
) -> None:
    """Read the rates table, draw the pairs, write the figure and its data."""
    frame = headline_rates(pl.read_parquet(table), METRICS)
    with house_style():
        save_all(plot_metric_card(frame, headline_levels), frame, figures)
