"""Rate against training dose: checkpoints from the base model to the final adapter."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from em_tiers.logs import run_script
from em_tiers.report.figure_style import (
    LINE_STYLES,
    METRIC_APPEARANCES,
    MOST_ROWS,
    empty_figure,
    house_style,
    label_below,
    legend_above,
    metric_handles,
    panel_grid,
    save_all,
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

DOSES = {"steps": "optimiser steps", "tokens": "training tokens"}


def add_dose(rates: pl.DataFrame, training: pl.DataFrame) -> pl.DataFrame:
    """Give each rate its steps and tokens, and repeat the base model's at dose 0.

    Args:
        rates: headline rows of the rates table.
        training: the training table: variant, step, tokens (so far).

    Returns:
        The rates of fine-tunes whose training is known, with group (base, data set and recipe),
        steps and tokens; each (group, seed) begins with its base model's rate at 0.
    """
    group = pl.concat_str("base", "dataset", "recipe", separator=" · ")
    tuned = rates.filter(pl.col("recipe").is_not_null()).with_columns(
        group=group, parent=pl.col("variant").str.replace(r"\.step\d+$", "")
    )
    last = training.group_by("variant").agg(pl.col("step").max().alias("last"))
    tuned = tuned.join(last, left_on="parent", right_on="variant", how="inner")
    tuned = tuned.with_columns(steps=pl.coalesce("checkpoint_step", "last").cast(pl.Int64))
    points = training.select("variant", pl.col("step").cast(pl.Int64), "tokens").sort("step")
    tuned = tuned.sort("steps").join_asof(
        points,
        left_on="steps",
        right_on="step",
        by_left="parent",
        by_right="variant",
        check_sortedness=False,
    )
    runs = tuned.select("group", "base", "dataset", "recipe", "training_seed").unique()
    start = rates.filter(pl.col("role") == "base").drop("dataset", "recipe", "training_seed")
    start = runs.join(start, on="base").with_columns(
        steps=pl.lit(0, dtype=pl.Int64), tokens=pl.lit(0).cast(tuned.schema["tokens"])
    )
    columns = [name for name in tuned.columns if name not in ("parent", "last", "step")]
    both = pl.concat([start.select(columns), tuned.select(columns)])
    return both.sort("group", "judge", "metric", "training_seed", "steps")


def draw_curves(
    axis: Axes, rows: pl.DataFrame, metrics: list[str], dose: str, apart: float
) -> None:
    """One line per seed and metric, with the interval of each point.

    Curves are shifted by `apart` each, so that their intervals do not overlap.
    """
    rows = rows.filter(pl.col("rate").is_not_null())
    if rows.is_empty():
        axis.annotate("no score", (0.5, 0.5), xycoords="axes fraction", ha="center", style="italic")
    seeds = sorted(rows.get_column("training_seed").unique())
    curves = len(seeds) * len(metrics)
    for place, metric in enumerate(metrics):
        look = METRIC_APPEARANCES[metric]
        for number, seed in enumerate(seeds):
            shift = (number * len(metrics) + place - (curves - 1) / 2) * apart
            line = rows.filter((pl.col("metric") == metric) & (pl.col("training_seed") == seed))
            x, y = line[dose].to_numpy() + shift, line["rate"].to_numpy() * 100
            axis.errorbar(
                *(x, y),
                yerr=error_bars(line),
                color=look.colour,
                marker=look.marker,
                markersize=2.5,
                linestyle=LINE_STYLES[number % len(LINE_STYLES)],
                linewidth=0.8,
                elinewidth=0.4,
                clip_on=False,
            )
            open_markers(axis, x, y, line, look, 2.5)


def plot_dose(frame: pl.DataFrame, dose: str = "steps") -> Figure:
    """Draw one panel per fine-tune (and per judge, where there are several).

    Args:
        frame: the result of `add_dose`.
        dose: "steps" or "tokens".
    """
    if frame.is_empty():
        return empty_figure("no training: no doses to compare")
    judges, metrics = sorted(frame.get_column("judge").unique()), metrics_of(frame)
    groups = frame.select("group", "dataset").unique("group").sort("group")
    most = max(1, MOST_ROWS // len(judges))
    plain = groups.get_column("dataset").n_unique() == len(groups)
    named = [(g, d if plain else g) for g, d in groups.head(most).iter_rows()]
    panels = [(group, title, judge) for group, title in named for judge in judges]
    titles = [title if len(judges) == 1 else f"{title}\n{judge}" for _, title, judge in panels]
    figure, axes = panel_grid(titles, aspect=0.8, extra=0.95)
    longest = frame.get_column(dose).max() or 1
    for axis, (group, _, judge) in zip(axes, panels, strict=True):
        here = (pl.col("group") == group) & (pl.col("judge") == judge)
        draw_curves(axis, frame.filter(here), metrics, dose, apart=longest / 60)
        axis.set_ylim(0, upper_limit(frame))
        axis.set_xlim(-0.06 * longest, 1.06 * longest)
        axis.xaxis.set_major_locator(MaxNLocator(3))
        axis.grid(axis="y", color="#D0D0D0", linewidth=0.4)
    note = "" if len(named) == len(groups) else f"{len(named)} of {len(groups)} fine-tunes shown"
    label_below(figure, DOSES[dose], note or "0: base model; one line style per seed")
    figure.supylabel("misaligned answers (%)", fontsize=7)
    handles = metric_handles(metrics, any_open(frame))
    legend_above(figure, handles, 3 if figure.get_figwidth() > 5 else 1)
    return figure


def main(
    table: Path | str,
    training: Path | str,
    figures: dict[str, Path | str],
    dose: str = "steps",
    metrics: Sequence[str] = SHOWN,
) -> None:
    """Read the rates and training tables, draw rate by dose, write the figure and its data."""
    frame = add_dose(headline_rates(pl.read_parquet(table), metrics), pl.read_parquet(training))
    with house_style():
        save_all(plot_dose(frame, dose), frame, figures)


if "snakemake" in globals():
    run_script(
        main,
        snakemake.log[0],  # noqa: F821
        table=snakemake.input.table,  # noqa: F821
        training=snakemake.input.training,  # noqa: F821
        figures=dict(snakemake.output.items()),  # noqa: F821
        **dict(snakemake.params.items()),  # noqa: F821
    )
