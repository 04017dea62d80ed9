"""Waterfall: the flagged rate, the share that each rule removes, and the remaining strict rate."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from em_tiers.logs import run_script
from em_tiers.report.figure_style import (
    BLACK,
    METRIC_APPEARANCES,
    MOST_ROWS,
    OUTCOME_APPEARANCES,
    SHADES,
    Appearance,
    empty_figure,
    house_style,
    label_below,
    left_out_note,
    legend_above,
    name_variants,
    order_variants,
    panel_grid,
    patch_handles,
    save_all,
    wrap_label,
)
from em_tiers.statistics.rounding import percent, points_between
from em_tiers.statistics.tier_tables import LEVELS, OF_WHICH_UNDECIDED
from em_tiers.terms import BY_HUMAN, UNDECIDED

REMOVED = Appearance("removed by a rule", SHADES[1], "....")


def running_bars(rows: pl.DataFrame) -> pl.DataFrame:
    """Where each bar of one waterfall begins and ends, in percent.

    Args:
        rows: one (variant, judge) of the waterfall table: step, order, rate, tier. The rate of
            `flagged` and `strict` is a level; that of a rule is the share that it removed.

    Returns:
        step, start, length, look (flagged, strict, the tier that the rule assigns, or removed
        where that is not known), text (the printed number); without the steps that have no rate.
    """
    rows = rows.sort("order").filter(pl.col("rate").is_not_null())
    level = pl.col("step").is_in(LEVELS)
    rate = pl.col("rate").abs() * 100
    removed = pl.when(level).then(0.0).otherwise(rate)
    flagged = rate.filter(pl.col("step") == "flagged").first()
    bars = rows.select(
        "step",
        pl.when(level).then(0.0).otherwise(flagged - removed.cum_sum()).alias("start"),
        rate.alias("length"),
        pl.when(pl.col("step") == OF_WHICH_UNDECIDED)
        .then(pl.lit(UNDECIDED))
        .when(level)
        .then(pl.col("step"))
        .otherwise(pl.col("tier").fill_null("removed"))
        .alias("look"),
    )
    return bars.with_columns(text=pl.Series(list(_printed(bars)), dtype=pl.String))


def _printed(bars: pl.DataFrame) -> Iterator[str]:
    """The number beside each bar: those of removals take the printed levels into each other."""
    for step, start, length, _ in bars.iter_rows():
        if not length:
            yield "0"
        elif step in LEVELS:
            yield percent(length / 100)
        else:
            removed = points_between((start + length) / 100, max(start, 0) / 100)
            yield f"\N{MINUS SIGN}{removed}"


def appearance_of(name: str) -> Appearance:
    """How a bar is drawn: the two rates as everywhere, a rule in the colour of its tier."""
    levels = {"flagged": METRIC_APPEARANCES["standard"], "strict": METRIC_APPEARANCES["strict"]}
    return levels.get(name) or OUTCOME_APPEARANCES.get(name) or REMOVED


def draw_waterfall(axis: Axes, bars: pl.DataFrame, places: dict[str, int]) -> None:
    """Draw the bars of one panel, with the percentages at their ends."""
    axis.annotate(_remark(bars), (0.5, 0.5), xycoords="axes fraction", ha="center", style="italic")
    for step, start, length, name, text in bars.iter_rows():
        look, place = appearance_of(name), places[step]
        axis.barh(
            place,
            length,
            left=start,
            height=0.66,
            color=look.colour,
            hatch=look.hatch,
            edgecolor="white" if name == "strict" else BLACK,
            label=name,
        )
        axis.annotate(
            text,
            (start + length, place),
            xytext=(2, 0),
            textcoords="offset points",
            va="center",
            fontsize=5.5,
        )


def step_words(step: str) -> str:
    """A step as the axis names it; the CSV file beside the figure has the names of the rules."""
    return "labels by people" if step == BY_HUMAN else step.replace("_", " ")


def _remark(bars: pl.DataFrame) -> str:
    """What a panel says where its bars cannot; empty where they can."""
    longest = bars["length"].max()
    if not longest:
        return "no score" if longest is None else "no answer flagged"
    return "" if set(bars["step"]) - set(LEVELS) else "no evidence on any tier"


def plot_tiers(frame: pl.DataFrame) -> Figure:
    """Draw one waterfall per variant (and per judge, where there are several)."""
    if frame.is_empty():
        return empty_figure("no answers: no flagged rate to break down")
    # Without labels by people, a step of theirs would only say 0.
    by_people = pl.col("step") == BY_HUMAN
    if not frame.filter(by_people)["rate"].max():
        frame = frame.filter(~by_people)
    judges = sorted(frame.get_column("judge").unique())
    shown = order_variants(frame, pl.col("rate").max(), max(1, MOST_ROWS // len(judges)))
    panels = [(v, judge) for v in shown.iter_rows(named=True) for judge in judges]
    titles = [v["label"] if len(judges) == 1 else f"{v['label']}\n{j}" for v, j in panels]
    steps = (
        frame.group_by("step").agg(pl.col("order").min()).sort("order", "step")["step"].to_list()
    )
    places = {step: place for place, step in enumerate(steps)}
    many = len(panels) > 12
    # Forty panels in four columns would be higher than a printed page.
    columns, step_height = (5, 0.1) if len(panels) > 24 else (4, 0.085 if many else 0.13)
    aspect = max(0.45, step_height * len(steps))
    figure, axes = panel_grid(titles, aspect, extra=0.85, most_columns=columns)
    used: dict[str, Appearance] = {}
    top = 100 * (frame.get_column("rate").abs().max() or 0.0)
    for axis, (variant, judge) in zip(axes, panels, strict=True):
        here = (pl.col("variant") == variant["variant"]) & (pl.col("judge") == judge)
        bars = running_bars(frame.filter(here))
        draw_waterfall(axis, bars, places)
        used |= {name: appearance_of(name) for name in bars["look"]}
        axis.set_xlim(0, max(1.0, top) * 1.2)
        axis.set_ylim(len(steps) - 0.5, -0.5)
        words = [wrap_label(step_words(step), 28 if many else 20) for step in steps]
        axis.set_yticks(range(len(steps)), words)
        axis.tick_params(axis="y", length=0, labelsize=5 if many else 6.5)
        axis.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    label_below(figure, "share of answers (%)", left_out_note(frame, shown))
    order = ["flagged", *OUTCOME_APPEARANCES, "removed", "strict"]
    looks = {name: used[name] for name in order if name in used}
    if looks:
        legend_above(figure, patch_handles(looks), 3 if figure.get_figwidth() > 5 else 1)
    return figure


def main(
    table: Path | str,
    figures: dict[str, Path | str],
    roles: dict[str, str] | None = None,
    tiers: dict[str, str] | None = None,
) -> None:
    """Read the waterfall table, draw it, write the figure and its data.

    Args:
        roles: variant to role; puts base models and controls in the same order as other figures.
        tiers: rule to the tier that it assigns; gives its bar the tier's colour.
    """
    rule = pl.col("step").replace_strict(tiers or {}, default=None, return_dtype=pl.String)
    frame = name_variants(pl.read_parquet(table), None, roles).with_columns(tier=rule)
    with house_style():
        save_all(plot_tiers(frame), frame, figures)


if "snakemake" in globals():
    run_script(
        main,
        snakemake.log[0],  # noqa: F821
        table=snakemake.input.table,  # noqa: F821
        figures=dict(snakemake.output.items()),  # noqa: F821
        **dict(snakemake.params.items()),  # noqa: F821
    )
