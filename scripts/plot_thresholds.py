"""Heatmap: how the rate moves with the two thresholds that flag an answer."""

from pathlib import Path

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from em_tiers.logs import run_script
from em_tiers.report.figure_style import (
    BLACK,
    HEAT,
    MOST_ROWS,
    empty_figure,
    house_style,
    label_below,
    left_out_note,
    name_variants,
    order_variants,
    panel_grid,
    save_all,
)
from em_tiers.statistics.rounding import percent
from em_tiers.tiers.definitions import Definition, definition_named


def rate_matrix(rows: pl.DataFrame, alignments: list, coherences: list) -> np.ndarray:
    """Rates in percent, one row per coherence threshold, one column per alignment threshold.

    A pair without a rate is NaN.
    """
    matrix = np.full((len(coherences), len(alignments)), np.nan)
    known = rows.filter(pl.col("rate").is_not_null())
    for alignment, coherence, rate in known.select(
        "alignment_below", "coherence_above", "rate"
    ).iter_rows():
        matrix[coherences.index(coherence), alignments.index(alignment)] = 100 * rate
    return matrix


def draw_matrix(
    axis: Axes, matrix: np.ndarray, most: float, headline: tuple[int, int] | None, words: bool
) -> QuadMesh | None:
    """Colour the cells and frame the headline pair; `words` writes the rates into the cells."""
    if np.isnan(matrix).all():
        middle = (matrix.shape[1] / 2, matrix.shape[0] / 2)
        axis.text(*middle, "no scores", ha="center", va="center", fontstyle="italic")
        return None
    mesh = axis.pcolormesh(matrix, vmin=0, vmax=most, cmap=HEAT, edgecolors="white", linewidth=0.2)
    if headline:
        axis.add_patch(Rectangle(headline, 1, 1, fill=False, edgecolor="white", linewidth=2.2))
        axis.add_patch(Rectangle(headline, 1, 1, fill=False, edgecolor=BLACK, linewidth=1.0))
    if words:
        for (row, column), rate in np.ndenumerate(matrix):
            if not np.isnan(rate):
                colour = BLACK if rate > most / 2 else "white"
                place = (column + 0.5, row + 0.5)
                axis.text(
                    *place, percent(rate / 100), ha="center", va="center", color=colour, fontsize=5
                )
    return mesh


def place_of(
    definition: Definition, alignments: list[float], coherences: list[float]
) -> tuple[int, int] | None:
    """Column and row of the definition's thresholds; None where the grid lacks one of them."""
    pair = definition.alignment_below, definition.coherence_above
    if pair[0] not in alignments or pair[1] not in coherences:
        return None
    return alignments.index(pair[0]), coherences.index(pair[1])


def plot_thresholds(frame: pl.DataFrame, definition: Definition) -> Figure:
    """Draw one panel per variant (and per judge, where there are several), on one colour scale.

    Args:
        frame: the thresholds table with label and role.
        definition: the one whose pair of thresholds is framed, where the grid has it.
    """
    if frame.is_empty():
        return empty_figure("no answers: no thresholds to vary")
    judges = sorted(frame.get_column("judge").unique())
    shown = order_variants(frame, pl.col("rate").max(), max(1, MOST_ROWS // len(judges)))
    panels = [(v, judge) for v in shown.iter_rows(named=True) for judge in judges]
    titles = [v["label"] if len(judges) == 1 else f"{v['label']}\n{j}" for v, j in panels]
    alignments = sorted(frame.get_column("alignment_below").unique())
    coherences = sorted(frame.get_column("coherence_above").unique())
    headline = place_of(definition, alignments, coherences)
    most = max(1.0, 100 * (frame.get_column("rate").max() or 0.0))
    figure, axes = panel_grid(titles, aspect=0.85, extra=0.55)
    words = len(panels) <= 2 and len(alignments) <= 12
    meshes = []
    for axis, (variant, judge) in zip(axes, panels, strict=True):
        here = (pl.col("variant") == variant["variant"]) & (pl.col("judge") == judge)
        matrix = rate_matrix(frame.filter(here), alignments, coherences)
        meshes.append(draw_matrix(axis, matrix, most, headline, words))
        _label_ticks(axis, alignments, coherences)
    pair = f"{definition.alignment_below:g} and {definition.coherence_above:g} ({definition.name})"
    framed = f"framed: {pair}" if headline else f"not in the grid: {pair}"
    label = f"flagged below this alignment; {framed}"
    label_below(figure, label, left_out_note(frame, shown))
    figure.supylabel("and above this coherence", fontsize=7)
    drawn = [mesh for mesh in meshes if mesh is not None]
    if drawn:
        shrink = min(1.0, 1.6 / figure.get_figheight())
        bar = figure.colorbar(drawn[0], ax=axes, shrink=shrink, aspect=15, pad=0.02)
        bar.locator = MaxNLocator(5)
        bar.set_label("misaligned answers (%)", fontsize=7)
    return figure


def _label_ticks(axis: Axes, alignments: list, coherences: list) -> None:
    across, up = -(-len(alignments) // 5), -(-len(coherences) // 5)
    axis.set_xlim(0, len(alignments))
    axis.set_ylim(0, len(coherences))
    axis.set_xticks(
        np.arange(len(alignments))[::across] + 0.5, [f"{v:g}" for v in alignments[::across]]
    )
    axis.set_yticks(np.arange(len(coherences))[::up] + 0.5, [f"{v:g}" for v in coherences[::up]])


def main(
    table: Path | str,
    figures: dict[str, Path | str],
    definition: str,
    labels: dict[str, str] | None = None,
    roles: dict[str, str] | None = None,
) -> None:
    """Read the thresholds table, draw the grid of rates, write the figure and its data.

    Args:
        definition: the name of the headline definition.
    """
    frame = name_variants(pl.read_parquet(table), labels, roles)
    with house_style():
        save_all(plot_thresholds(frame, definition_named(definition)), frame, figures)


if "snakemake" in globals():
    run_script(
        main,
        snakemake.log[0],  # noqa: F821
        table=snakemake.input.table,  # noqa: F821
        figures=dict(snakemake.output.items()),  # noqa: F821
        **dict(snakemake.params.items()),  # noqa: F821
    )
