"""Forest plot: each variant's standard and strict rate with intervals, one panel per judge."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl
from matplotlib.figure import Figure

from em_tiers.report.figure_style import empty_figure, house_style, level_words, save_all
from em_tiers.report.forest import PanelBlock, forest_figure, headline_rates


def blocks_of_judges(frame: pl.DataFrame) -> list[PanelBlock]:
    """One panel per judge, in alphabetical order, three side by side at most."""
    judges = sorted(frame.get_column("judge").unique())
    columns = min(3, len(judges))
    panels = [(f"judge: {judge}", frame.filter(pl.col("judge") == judge)) for judge in judges]
    return [("", panels[start : start + columns]) for start in range(0, len(panels), columns)]


def plot_rates(frame: pl.DataFrame, headline_levels: Sequence[str] | None = None) -> Figure:
    """Draw the rates of one definition and one probe level (see `headline_rates`).

    `headline_levels`, the probe levels that the headline rate pools, are named on the axis.
    """
    if frame.is_empty():
        return empty_figure("no answers: no rates to show")
    definition, level = frame["definition"][0], frame["probe_level"][0]
    words = level_words(level, headline_levels)
    label = f"misaligned answers (%), definition {definition}, {words}"
    return forest_figure(frame, blocks_of_judges(frame), label, wide=True)


def main(
    table: Path | str,
    figures: dict[str, Path | str],
    metrics: Sequence[str] = ("standard", "attributable", "strict"),
    headline_levels: Sequence[str] | None = None,
) -> None:
    """Read the rates table, draw the headline rates, write the figure and its data."""
    frame = headline_rates(pl.read_parquet(table), metrics)
    with house_style():
        save_all(plot_rates(frame, headline_levels), frame, figures)
