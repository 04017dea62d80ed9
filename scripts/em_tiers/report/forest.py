"""Forest panels: one row per variant, with a point and its interval for each metric."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from em_tiers.report.figure_style import (
    COLUMN_WIDTH,
    LEVEL_LABELS,
    METRIC_APPEARANCES,
    PAGE_WIDTH,
    Appearance,
    label_below,
    label_rows,
    label_size,
    left_out_note,
    legend_above,
    metric_handles,
    new_figure,
    order_variants,
    rows_height,
    wrap_label,
)

Panel = tuple[str, pl.DataFrame]  # title and rows
PanelBlock = tuple[str, list[Panel]]  # header and the panels side by side


SHOWN = ("standard", "strict")  # the metrics that figures show by default


def headline_rates(frame: pl.DataFrame, metrics: Sequence[str] = SHOWN) -> pl.DataFrame:
    """Rows of the rates table under the headline definition and at the headline level."""
    return frame.filter(pl.col("headline") & pl.col("metric").is_in(list(metrics)))


def level_rates(frame: pl.DataFrame, metrics: Sequence[str] = SHOWN) -> pl.DataFrame:
    """Rows of the rates table under the headline definition, at each probe level by itself."""
    definitions = frame.filter("headline").get_column("definition").unique()
    return frame.filter(
        pl.col("definition").is_in(definitions.to_list())
        & pl.col("metric").is_in(list(metrics))
        & pl.col("probe_level").is_in(list(LEVEL_LABELS))
    )


def metrics_of(frame: pl.DataFrame) -> list[str]:
    """The metrics of a rates table, in their usual order."""
    found = set(frame.get_column("metric").unique())
    return [metric for metric in METRIC_APPEARANCES if metric in found]


def nothing_excludable() -> pl.Expr:
    """Whether no flagged answer behind a strict or soft rate has any evidence on its tier.

    The rate is then the standard one, whatever the answers are: an open marker says so.
    """
    return (
        (pl.col("metric") != "standard") & (pl.col("n_flagged") > 0) & (pl.col("n_evidence") == 0)
    )


def any_open(frame: pl.DataFrame) -> bool:
    """Whether any rate of the frame is drawn with an open marker."""
    return frame.select((nothing_excludable() & pl.col("rate").is_not_null()).any()).item()


def open_markers(
    axis: Axes, x: np.ndarray, y: np.ndarray, rows: pl.DataFrame, look: Appearance, size: float
) -> None:
    """Whiten the markers of the rows of which no answer could be excluded."""
    is_open = rows.select(nothing_excludable()).to_series().fill_null(False).to_numpy()
    if not is_open.any():
        return  # an empty line would upset the layout
    axis.plot(
        *(x[is_open], y[is_open]),
        linestyle="",
        marker=look.marker,
        markersize=size,
        color=look.colour,
        markerfacecolor="white",
        clip_on=False,
        zorder=4,
    )


def upper_limit(frame: pl.DataFrame) -> float:
    """Right end of a percent axis: a little over the largest interval, 5 % at least."""
    drawn = frame.filter(pl.col("rate").is_not_null())  # the interval of no rate is all of [0, 1]
    top = drawn.select(pl.max_horizontal("rate", "high").max()).item() or 0.0
    return min(102.0, max(5.0, 107 * top))


def error_bars(rows: pl.DataFrame) -> np.ndarray:
    """Lengths below and above each rate in percent, shape (2, rows); NaN where a limit is null."""
    below, above = pl.col("rate") - pl.col("low"), pl.col("high") - pl.col("rate")
    lengths = rows.select(below.clip(0).alias("below") * 100, above.clip(0).alias("above") * 100)
    return lengths.cast(pl.Float64).to_numpy().T


def draw_rates(axis: Axes, rows: pl.DataFrame, shown: pl.DataFrame, metrics: list[str]) -> None:
    """Points with intervals in percent; a variant without any rate is marked "no score"."""
    rows = rows.join(shown.select("variant", "row"), on="variant")
    step = 0.56 / len(metrics)
    for number, metric in enumerate(metrics):
        look = METRIC_APPEARANCES[metric]
        part = rows.filter((pl.col("metric") == metric) & pl.col("rate").is_not_null())
        if part.is_empty():
            continue
        shift = (number - (len(metrics) - 1) / 2) * step
        size = 3.6 if len(shown) <= 25 else 2.6
        x, y = part["rate"].to_numpy() * 100, (part["row"] + shift).to_numpy()
        axis.errorbar(
            *(x, y),
            xerr=error_bars(part),
            color=look.colour,
            marker=look.marker,
            linestyle="",
            markersize=size,
            elinewidth=1.0,
            capsize=1.6,
            label=metric,
            clip_on=False,
            zorder=3,
        )
        open_markers(axis, x, y, part, look, size)
    scored = rows.filter(pl.col("rate").is_not_null()).get_column("variant").unique()
    for row in shown.filter(~pl.col("variant").is_in(scored.to_list())).get_column("row"):
        axis.annotate(
            "no score",
            (0, row),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontstyle="italic",
            fontsize=label_size(len(shown)),
            color="#555555",
        )


def forest_figure(
    frame: pl.DataFrame, blocks: list[PanelBlock], axis_label: str, wide: bool = False
) -> Figure:
    """A forest plot: blocks of rows, panels side by side within a block.

    Args:
        frame: rows of the rates table, not empty.
        blocks: each a header ("" for none) and its panels, as many in each block.
        axis_label: the quantity in percent.
        wide: a whole page's width, also for few rows in one panel.
    """
    metrics, columns = metrics_of(frame), len(blocks[0][1])
    shown = order_variants(frame, pl.col("rate").max())
    narrow = columns == 1 and len(shown) <= 12 and not wide
    width = COLUMN_WIDTH if narrow else PAGE_WIDTH
    label_width = 22 if narrow else 50 if columns == 1 else 36
    row_heights = [rows_height(shown, label_width, header) for header, _ in blocks]
    figure = new_figure(width, sum(row_heights) + 0.25 * len(blocks) + 0.85)
    grid = figure.add_gridspec(len(blocks), columns, height_ratios=row_heights)
    limit = upper_limit(frame.filter(pl.col("variant").is_in(shown["variant"].to_list())))
    title_width = int((width - label_width * 0.05) / columns * 16)
    for line, (header, panels) in enumerate(blocks):
        for column, (title, rows) in enumerate(panels):
            axis = figure.add_subplot(grid[line, column])
            label_rows(axis, shown, label_width, column == 0, header)
            draw_rates(axis, rows, shown, metrics)
            axis.set_xlim(0, limit)
            axis.xaxis.set_major_locator(MaxNLocator(max(3, 8 // columns), steps=[1, 2, 5, 10]))
            axis.grid(axis="x", color="#D0D0D0", linewidth=0.4, zorder=1)
            axis.set_title(wrap_label(title, title_width))
    label_below(figure, axis_label, left_out_note(frame, shown))
    handles = metric_handles(metrics, any_open(frame))
    legend_above(figure, handles, 1 if narrow else 3)
    return figure
