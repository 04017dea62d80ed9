"""Alignment against coherence of the answers, with the thresholds that flag them."""

from pathlib import Path

import polars as pl
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from em_tiers.logs import run_script
from em_tiers.report.figure_style import (
    BLACK,
    MOST_ROWS,
    OUTCOME_APPEARANCES,
    SHADES,
    Appearance,
    empty_figure,
    house_style,
    label_below,
    left_out_note,
    legend_above,
    marker_handles,
    name_variants,
    order_variants,
    panel_grid,
    patch_handles,
    save_all,
)
from em_tiers.tables import scan_table
from em_tiers.terms import TIERS
from em_tiers.tiers.definitions import Definition, definition_named

BIN = 5  # side of a square in score points: the usual thresholds are on edges of squares
HALF = BIN / 2
CLASSES = (  # legend, smallest and largest count of a square
    ("1 answer", 1, 1),
    ("2 to 9", 2, 9),
    ("10 to 99", 10, 99),
    ("100 or more", 100, 2**62),
)


def bin_scores(
    outcomes: pl.LazyFrame,
    labels: dict[str, str] | None = None,
    roles: dict[str, str] | None = None,
) -> pl.DataFrame:
    """Count answers in squares of the two scores: millions of answers become thousands of rows.

    Args:
        outcomes: the outcomes table.
        labels: variant to the name shown; roles: variant to its role. Either may lack a variant.

    Returns:
        variant, judge, alignment and coherence (centre of the square; null where an answer has no
        such score), tier (null: not flagged), count, label, role.
    """
    centre = [
        ((pl.col(name).clip(0, 99.999) / BIN).floor() * BIN + BIN / 2).alias(name)
        for name in ("alignment", "coherence")
    ]
    counts = (
        outcomes.with_columns(centre)
        .group_by("variant", "judge", "alignment", "coherence", "tier")
        .agg(pl.len().cast(pl.Int64).alias("count"))
        .collect(engine="streaming")
    )
    order = ["judge", "variant", "alignment", "coherence", "tier"]
    return name_variants(counts, labels, roles).sort(order)


def draw_scores(axis: Axes, rows: pl.DataFrame) -> None:
    """Squares shaded by the count, and on them a marker for each tier of flagged answers."""
    scored = rows.drop_nulls(["alignment", "coherence"])
    if scored.is_empty():
        axis.text(50, 20, "no scores", ha="center", va="center", fontstyle="italic")
        return
    squares = scored.group_by("alignment", "coherence").agg(pl.col("count").sum())
    for shade, (_, low, high) in zip(SHADES, CLASSES, strict=True):
        part = squares.filter(pl.col("count").is_between(low, high)).sort("alignment", "coherence")
        corners = [
            [(x - HALF, y - HALF), (x - HALF, y + HALF), (x + HALF, y + HALF), (x + HALF, y - HALF)]
            for x, y in part.select("alignment", "coherence").iter_rows()
        ]
        axis.add_collection(
            PolyCollection(corners, facecolors=shade, linewidths=0, zorder=2), autolim=False
        )
    for tier in (name for name in OUTCOME_APPEARANCES if name in TIERS):
        part = scored.filter(pl.col("tier") == tier)
        look = OUTCOME_APPEARANCES[tier]
        axis.scatter(
            part["alignment"],
            part["coherence"],
            s=(5 + 3 * part["count"].log(2.0)).to_list(),
            color=look.colour,
            edgecolors=BLACK,
            linewidths=0.3,
            marker=look.marker,
            label=tier,
            zorder=3,
        )


def draw_thresholds(axis: Axes, definition: Definition) -> None:
    """Dashed lines around the corner in which an answer is flagged."""
    axis.plot(
        [definition.alignment_below, definition.alignment_below, 0],
        [100, definition.coherence_above, definition.coherence_above],
        color=BLACK,
        linestyle="--",
        linewidth=0.8,
        zorder=4,
    )


def plot_scores(frame: pl.DataFrame, definition: Definition) -> Figure:
    """Draw one panel per variant (and per judge, where there are several).

    Args:
        frame: the result of `bin_scores`.
        definition: the one whose thresholds are drawn and named.
    """
    if frame.is_empty():
        return empty_figure("no answers: no scores to show")
    judges = sorted(frame.get_column("judge").unique())
    flagged = pl.col("count").filter(pl.col("tier").is_not_null()).sum()
    shown = order_variants(frame, flagged, max(1, MOST_ROWS // len(judges)))
    panels = [(v, judge) for v in shown.iter_rows(named=True) for judge in judges]
    titles = [v["label"] if len(judges) == 1 else f"{v['label']}\n{j}" for v, j in panels]
    figure, axes = panel_grid(titles, aspect=1.0, extra=0.95)
    for axis, (variant, judge) in zip(axes, panels, strict=True):
        here = (pl.col("variant") == variant["variant"]) & (pl.col("judge") == judge)
        draw_scores(axis, frame.filter(here))
        draw_thresholds(axis, definition)
        axis.set(xlim=(0, 100), ylim=(0, 100), xticks=(0, 50, 100), yticks=(0, 50, 100))
        axis.set_box_aspect(1)
    label = f"alignment; dashed lines: {definition.thresholds} ({definition.name})"
    label_below(figure, label, left_out_note(frame, shown))
    figure.supylabel("coherence", fontsize=7)
    tiers = {name: look for name, look in OUTCOME_APPEARANCES.items() if name in TIERS}
    shades = {name: Appearance(name, s) for s, (name, _, _) in zip(SHADES, CLASSES, strict=True)}
    handles = [*marker_handles(tiers), *patch_handles(shades)]
    legend_above(figure, handles, 4 if figure.get_figwidth() > 5 else 2)
    return figure


def main(
    table: Path | str | list[Path | str],
    figures: dict[str, Path | str],
    definition: str,
    labels: dict[str, str] | None = None,
    roles: dict[str, str] | None = None,
) -> None:
    """Read one or several outcomes tables, draw the scores, write the figure and its data.

    Args:
        definition: the name of the headline definition.
    """
    paths = table if isinstance(table, str | Path) else list(table)
    frame = bin_scores(scan_table(paths, "outcomes"), labels, roles)
    with house_style():
        save_all(plot_scores(frame, definition_named(definition)), frame, figures)


if "snakemake" in globals():
    run_script(
        main,
        snakemake.log[0],  # noqa: F821
        table=snakemake.input.table,  # noqa: F821
        figures=dict(snakemake.output.items()),  # noqa: F821
        **dict(snakemake.params.items()),  # noqa: F821
    )
