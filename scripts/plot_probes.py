"""Generalisation profile: rates by distance of the question from the training set."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl
from matplotlib.figure import Figure

from em_tiers.report.figure_style import LEVEL_LABELS, empty_figure, house_style, save_all
from em_tiers.report.forest import SHOWN, PanelBlock, forest_figure, level_rates


def blocks_of_levels(frame: pl.DataFrame) -> list[PanelBlock]:
    """One block per judge, in it one panel per probe level, nearest to the training set first."""
    judges = sorted(frame.get_column("judge").unique())
    found = set(frame.get_column("probe_level").unique())
    levels = [level for level in LEVEL_LABELS if level in found]
    blocks = []
    for judge in judges:
        rows = frame.filter(pl.col("judge") == judge)
        panels = [
            (LEVEL_LABELS[name], rows.filter(pl.col("probe_level") == name)) for name in levels
        ]
        blocks.append((f"judge: {judge}" if len(judges) > 1 else "", panels))
    return blocks


def plot_probes(frame: pl.DataFrame) -> Figure:
    """Draw the rates of one definition at every probe level of the study (see `level_rates`)."""
    if frame.is_empty():
        return empty_figure("no answers: no probe levels to compare")
    label = f"misaligned answers (%), definition {frame['definition'][0]}"
    return forest_figure(frame, blocks_of_levels(frame), label)


def main(table: Path | str, figures: dict[str, Path | str], metrics: Sequence[str] = SHOWN) -> None:
    """Read the rates table, draw the rates by probe level, write the figure and its data."""
    frame = level_rates(pl.read_parquet(table), metrics)
    with house_style():
        save_all(plot_probes(frame), frame, figures)
