"""Training loss by optimiser step: one panel per data set and recipe, one line per seed."""

from pathlib import Path

import polars as pl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from em_tiers.logs import run_script
from em_tiers.report.figure_style import (
    MOST_ROWS,
    empty_figure,
    house_style,
    label_below,
    legend_above,
    panel_grid,
    save_all,
    seed_style,
)


def group_seeds(frame: pl.DataFrame) -> pl.DataFrame:
    """Add `group`: the variant without its seed, so that the seeds of one run share a panel."""
    return frame.with_columns(group=pl.col("variant").str.replace(r"\.s\d+$", ""))


def titles_of(frame: pl.DataFrame) -> dict[str, str]:
    """Group to panel title: the data set; the recipe or the whole id too where it is needed."""
    groups = frame.select("group", "dataset", "recipe").unique("group").sort("group")
    titles = dict(groups.select("group", "dataset").iter_rows())
    if len(set(titles.values())) < len(titles):
        titles = {g: f"{dataset}, {recipe}" for g, dataset, recipe in groups.iter_rows()}
    if len(set(titles.values())) < len(titles):
        titles = {group: group for group in titles}
    return titles


def plot_losses(frame: pl.DataFrame) -> Figure:
    """Draw the loss curves of the training table."""
    frame = group_seeds(frame.filter(pl.col("loss").is_not_null()))
    if frame.is_empty():
        return empty_figure("no training: no losses to show")
    titles = titles_of(frame)
    groups = list(titles)[:MOST_ROWS]
    seeds = sorted(frame.get_column("training_seed").unique())
    figure, axes = panel_grid([titles[group] for group in groups], aspect=0.75, extra=0.85)
    for axis, group in zip(axes, groups, strict=True):
        for seed in seeds:
            here = (pl.col("group") == group) & (pl.col("training_seed") == seed)
            line = frame.filter(here).sort("step")
            marker = "o" if len(line) <= 3 else ""
            look = seed_style(seeds.index(seed))
            axis.plot(line["step"], line["loss"], marker=marker, markersize=2.5, **look)
        axis.xaxis.set_major_locator(MaxNLocator(3, integer=True))
        axis.grid(axis="y", color="#D0D0D0", linewidth=0.4)
    note = "" if len(groups) == len(titles) else f"{len(groups)} of {len(titles)} trainings shown"
    label_below(figure, "optimiser step", note)
    figure.supylabel("training loss", fontsize=7)
    handles = [Line2D([], [], label=f"seed {s}", **seed_style(k)) for k, s in enumerate(seeds)]
    legend_above(figure, handles, 7 if figure.get_figwidth() > 5 else 4)
    return figure


def main(table: Path | str, figures: dict[str, Path | str]) -> None:
    """Read the training table, draw the losses, write the figure and its data."""
    frame = pl.read_parquet(table)
    with house_style():
        save_all(plot_losses(frame), frame, figures)


if "snakemake" in globals():
    run_script(
        main,
        snakemake.log[0],  # noqa: F821
        table=snakemake.input.table,  # noqa: F821
        figures=dict(snakemake.output.items()),  # noqa: F821
        **dict(snakemake.params.items()),  # noqa: F821
    )
