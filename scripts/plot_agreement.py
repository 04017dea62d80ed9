"""Heatmap: agreement of each pair of judges."""

from pathlib import Path

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from em_tiers.logs import run_script
from em_tiers.report.figure_style import (
    BLACK,
    COLUMN_WIDTH,
    HEAT,
    PAGE_WIDTH,
    empty_figure,
    house_style,
    new_figure,
    save_all,
    wrap_label,
)
from em_tiers.statistics.agreement import ALL

PANELS = {  # each quantity with the statistic that is a degree of agreement, 1 at best
    ("flagged", "cohen_kappa"): "flagged: Cohen's kappa",
    ("tier", "cohen_kappa"): "tier: Cohen's kappa",
    ("alignment", "weighted_kappa"): "alignment: weighted kappa",
    ("coherence", "weighted_kappa"): "coherence: weighted kappa",
}


def agreement_matrix(rows: pl.DataFrame, judges: list[str], column: str) -> np.ndarray:
    """Symmetric judges x judges matrix of `column`; NaN on the diagonal and where it is null."""
    matrix = np.full((len(judges), len(judges)), np.nan)
    known = rows.filter(pl.col(column).is_not_null())
    for a, b, value in known.select("judge_a", "judge_b", column).iter_rows():
        if a != b:
            matrix[judges.index(a), judges.index(b)] = value
            matrix[judges.index(b), judges.index(a)] = value
    return matrix


def draw_agreement(axis: Axes, rows: pl.DataFrame, judges: list[str]) -> None:
    """Coloured cells with the value, its interval and n; grey where there is none."""
    values, low, high, n = (
        agreement_matrix(rows, judges, name) for name in ("value", "low", "high", "n")
    )
    axis.imshow(values, vmin=0, vmax=1, cmap=HEAT)
    axis.set_facecolor("#EDEDED")  # the diagonal and the pairs without a value
    size = 6 if len(judges) <= 5 else 5
    for (row, column), value in np.ndenumerate(values):
        if row == column:
            continue
        text = f"{value:.2f}"
        if len(judges) <= 5 and not np.isnan(low[row, column] + high[row, column]):
            text += f"\n[{low[row, column]:.2f}, {high[row, column]:.2f}]"
        if len(judges) <= 5 and not np.isnan(n[row, column]):
            text += f"\nn {n[row, column]:,.0f}"
        if np.isnan(value):
            text = "no\nvalue"
        colour = "white" if value < 0.5 else BLACK
        axis.text(column, row, text, ha="center", va="center", color=colour, fontsize=size)


def plot_agreement(frame: pl.DataFrame) -> Figure:
    """Draw one matrix per quantity that the table has (see PANELS), over all variants together."""
    frame = frame.filter(pl.col("variant") == ALL)
    found = set(frame.select("quantity", "statistic").iter_rows())
    panels = [panel for panel in PANELS if panel in found]
    pairs = frame.filter(pl.col("judge_a") != pl.col("judge_b"))  # not the rows over all judges
    judges = sorted(set(pairs.get_column("judge_a")) | set(pairs.get_column("judge_b")))
    if len(judges) < 2 or not panels:
        return empty_figure("one judge: no agreement to show")
    columns = 1 if len(panels) == 1 else 2
    rows = -(-len(panels) // columns)
    width = COLUMN_WIDTH if columns == 1 else PAGE_WIDTH
    labels = [wrap_label(judge, 18) for judge in judges]
    # The matrices are square: height follows from the width that the judges' names leave.
    side = min(width / columns - 0.85, 0.75 * len(judges))
    figure = new_figure(width, rows * (side + (0.95 if len(judges) > 3 else 0.45)))
    grid = figure.add_gridspec(rows, columns)
    for number, (quantity, statistic) in enumerate(panels):
        axis = figure.add_subplot(grid[number // columns, number % columns])
        here = (pl.col("quantity") == quantity) & (pl.col("statistic") == statistic)
        draw_agreement(axis, frame.filter(here), judges)
        upright = len(judges) > 3
        axis.set_xticks(range(len(judges)), labels, rotation=90 if upright else 0, fontsize=5.5)
        axis.set_yticks(range(len(judges)), labels, fontsize=5.5)
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
        axis.set_title(PANELS[quantity, statistic])
    return figure


def main(table: Path | str, figures: dict[str, Path | str]) -> None:
    """Read the agreement table, draw it, write the figure and its data."""
    frame = pl.read_parquet(table)
    with house_style():
        save_all(plot_agreement(frame), frame, figures)


if "snakemake" in globals():
    run_script(
        main,
        snakemake.log[0],  # noqa: F821
        table=snakemake.input.table,  # noqa: F821
        figures=dict(snakemake.output.items()),  # noqa: F821
        **dict(snakemake.params.items()),  # noqa: F821
    )
