"""The style of every figure: sizes, colours, second cues, row labels, and reproducible files.

An outcome has the colour, hatch and marker that `em_tiers.terms` gives it; a metric has one colour
everywhere, with a hatch or marker beside it for readers who see no colour.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib as mpl
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text

from em_tiers.files import atomic_path
from em_tiers.report.table_files import formula_safe
from em_tiers.terms import (
    BLACK,
    BLUE,
    GREEN,
    LEVEL_TERMS,
    ORANGE,
    OUTCOME_TERMS,
    PURPLE,
    ROLE_TERMS,
    SKY,
    VERMILLION,
    by_rank,
)

COLUMN_WIDTH = 3.35  # inches: one column of a two-column paper
PAGE_WIDTH = 6.9  # inches: both columns
MOST_ROWS = 40  # variants in one figure; the CSV beside it has them all

SEED_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION, BLACK)
LINE_STYLES = ("-", "--", "-.", ":")
HEAT = "cividis"
SHADES = ("#E3E3E3", "#BDBDBD", "#8C8C8C", "#5A5A5A")  # light to dark: few to many

STYLE = {
    "font.family": "DejaVu Sans",  # matplotlib brings it: the same glyphs on every machine
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.0,
    "hatch.linewidth": 0.5,
    "patch.linewidth": 0.4,
    "text.parse_math": False,  # a $ in a variant's label is a dollar
    "figure.constrained_layout.use": True,
    "pdf.fonttype": 42,  # TrueType, embedded; journals refuse Type 3
    "svg.fonttype": "path",  # an SVG cannot embed a font: outlines look the same everywhere
    "svg.hashsalt": "em-tiers",
    "savefig.dpi": 200,
}


@dataclass(frozen=True)
class Appearance:
    """How one outcome or metric is drawn: `hatch` fills areas, `marker` marks points."""

    label: str
    colour: str
    hatch: str = ""
    marker: str = "o"


OUTCOME_APPEARANCES = {
    id: Appearance(term.label, term.colour, term.sign.hatch, term.sign.marker)
    for id, term in by_rank(OUTCOME_TERMS).items()
}
METRIC_APPEARANCES = {
    "standard": Appearance("standard rate", BLACK, "", "o"),
    "attributable": Appearance("attributable rate (excess removed)", VERMILLION, "xxxx", "^"),
    "strict": Appearance("strict rate (excluded tiers removed)", BLUE, "////", "D"),
    "soft": Appearance("soft strict rate (tier probabilities)", GREEN, "....", "s"),
}
# The strict rate of a model of whose flagged answers none could be excluded, for lack of evidence.
OPEN_STRICT = "strict rate where nothing could be excluded"
LEVEL_LABELS = {id: term.label for id, term in by_rank(LEVEL_TERMS).items()}
POOLED_LEVELS = {"headline": "headline questions", "all": "all questions"}
ROLE_LABELS = {id: term.label for id, term in by_rank(ROLE_TERMS).items()}
ROLE_BANDS = {term.id: term.colour for term in ROLE_TERMS if term.colour}


@contextmanager
def house_style() -> Iterator[None]:
    """Draw or save within the house style, whatever matplotlibrc the user has."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of `width` x `height` inches with constrained layout."""
    return Figure(figsize=(width, height), layout="constrained")


def empty_figure(text: str = "no answers", width: float = COLUMN_WIDTH) -> Figure:
    """A figure that says why it is empty."""
    figure = new_figure(width, 0.8)
    figure.text(0.5, 0.5, wrap_label(text, int(width * 14)), ha="center", va="center")
    return figure


def save_figure(figure: Figure, paths: dict[str, Path | str]) -> None:
    """Write `figure` as {"pdf": ..., "svg": ..., "png": ...}: the same data give the same bytes.

    For that reason the files hold no dates, versions or random ids. The layout is computed once,
    for the PNG where there is one, and is the same in all files.
    """
    metadata = {
        "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
        "svg": {"Date": None, "Creator": None},
        "png": {"Software": None},
    }
    # Off, so that a figure whose engine has been taken away does not get another.
    with house_style(), mpl.rc_context({"figure.constrained_layout.use": False}):
        # A PDF would hold one more font for each ligature, such as the fi of "definition".
        for text in figure.findobj(Text):
            text.set_fontfeatures(("-liga",))
        for kind in sorted(paths, key=lambda kind: kind != "png"):
            with atomic_path(paths[kind]) as temporary:
                figure.savefig(temporary, format=kind, metadata=metadata[kind])
            figure.set_layout_engine(None)


def save_all(figure: Figure, data: pl.DataFrame, figures: dict[str, Path | str]) -> None:
    """Write the figure as pdf, svg and png, and its data as csv, as far as `figures` lists them."""
    save_figure(figure, {kind: path for kind, path in figures.items() if kind != "csv"})
    if "csv" in figures:
        with atomic_path(figures["csv"]) as temporary:
            formula_safe(data).write_csv(temporary)


def wrap_label(text: str, width: int) -> str:
    """Break `text` into lines of at most `width` characters, best after a space or one of ./_-.

    A number stays with the word before it: "seed 3" is not split.
    """
    return "\n".join(_wrap_line(line, width) for line in text.splitlines())


def _wrap_line(text: str, width: int) -> str:
    lines = [""]
    for piece in re.split(r"(?<=[\s./_\-])(?!\d)", text):
        while piece:
            if len(lines[-1]) + len(piece.rstrip()) <= width:
                lines[-1] += piece
                break
            if lines[-1]:
                lines.append("")
            else:
                lines[-1], piece = piece[:width], piece[width:]
    return "\n".join(line.strip() for line in lines if line.strip())


def name_variants(
    frame: pl.DataFrame, labels: dict[str, str] | None, roles: dict[str, str] | None
) -> pl.DataFrame:
    """Add the columns label (where there is none) and role to a table of variants' ids."""
    variant = pl.col("variant")
    label = pl.col("label") if "label" in frame.columns else variant.replace(labels or {})
    role = variant.replace_strict(roles or {}, default="benign", return_dtype=pl.String)
    return frame.with_columns(label=label, role=role)


def order_variants(frame: pl.DataFrame, weight: pl.Expr, most: int = MOST_ROWS) -> pl.DataFrame:
    """The variants to show and their order: base, negative controls, benign, positive, imported.

    Args:
        frame: has `variant`; `label` and `role` where known.
        weight: aggregation over a variant's rows; the largest stay when there are more than
            `most` variants. Base models and controls stay in any case.

    Returns:
        variant, label, role, row (0 at the top), in this order.
    """
    label = pl.col("label") if "label" in frame.columns else pl.lit(None, dtype=pl.String)
    role = pl.col("role") if "role" in frame.columns else pl.lit("benign")
    variants = frame.group_by("variant").agg(
        pl.coalesce(label, "variant").first().alias("label"),
        role.first().alias("role"),
        weight.fill_null(-1.0).alias("weight"),
    )
    keeps = pl.col("role").is_in(["base", "positive_control", "negative_control"])
    kept = variants.sort(~keeps, -pl.col("weight"), "variant").head(most)
    ranks = {name: rank for rank, name in enumerate(ROLE_LABELS)}
    rank = pl.col("role").replace_strict(ranks, default=len(ranks), return_dtype=pl.Int32)
    kept = kept.sort(rank, natural_key("label"), "variant")
    return kept.select("variant", "label", "role").with_row_index("row")


def level_words(level: str, headline_levels: Sequence[str] | None = None) -> str:
    """A probe level in words for an axis label; `headline` by the levels that it pools."""
    if level == "headline" and headline_levels:
        names = [LEVEL_LABELS[name] for name in headline_levels]
        return " + ".join(names) + " questions"
    return POOLED_LEVELS.get(level) or LEVEL_LABELS[level] + " questions"


def natural_key(column: str) -> pl.Expr:
    """Sort key under which "seed 10" follows "seed 9": digits are padded with zeros."""
    padded = pl.col(column).str.replace_all(r"(\d+)", "0000000000$1")
    return padded.str.replace_all(r"0*(\d{10})(\D|$)", "$1$2")


def left_out_note(frame: pl.DataFrame, shown: pl.DataFrame) -> str:
    """A line that says how many variants are not drawn; empty when all are."""
    total = frame.get_column("variant").n_unique()
    if total == len(shown):
        return ""
    return f"{len(shown)} of {total} variants shown; the CSV file has them all"


def row_label(label: str, role: str, width: int) -> str:
    """A variant's label with its role in brackets where the role matters, in lines."""
    if role == "benign":
        return wrap_label(label, width)
    named = f"{label} [{ROLE_LABELS.get(role, role)}]"
    if len(named) <= width:
        return named
    return "\n".join((wrap_label(label, width), f"[{ROLE_LABELS.get(role, role)}]"))


def label_rows(
    axis: Axes, shown: pl.DataFrame, width: int, with_text: bool, header: str = ""
) -> None:
    """Put one row per variant on the y axis, first at the top, base and controls on a band.

    A `header` takes a row of its own above them.
    """
    labels = [row_label(r["label"], r["role"], width) for r in shown.iter_rows(named=True)]
    places = list(range(len(shown)))
    if header:
        labels, places = [wrap_label(header, width), *labels], [-1, *places]
    axis.set_ylim(len(shown) - 0.5, places[0] - 0.5)
    axis.set_yticks(places, labels if with_text else [""] * len(labels))
    axis.tick_params(axis="y", length=0, labelsize=label_size(len(shown)))
    if header:
        axis.get_yticklabels()[0].set_fontweight("bold")
    for row, role in shown.select("row", "role").iter_rows():
        if role in ROLE_BANDS:
            axis.axhspan(row - 0.5, row + 0.5, color=ROLE_BANDS[role], zorder=0, linewidth=0)


def label_size(rows: int) -> float:
    """Font size of row labels in points."""
    return 6.5 if rows <= 25 else 5.5


def rows_height(shown: pl.DataFrame, width: int, header: str = "") -> float:
    """Inches that the rows of `shown` need when labels are wrapped at `width` characters."""
    labels = [row_label(r["label"], r["role"], width) for r in shown.iter_rows(named=True)]
    labels += [wrap_label(header, width)] if header else []
    lines = max(label.count("\n") + 1 for label in labels)
    size = label_size(len(shown)) / 72
    if len(shown) <= 25:
        return len(labels) * max(0.2, size * (1.2 * lines + 0.5))
    # Denser, so that forty rows of two lines fit on a printed page.
    return len(labels) * max(0.16, size * (1.2 * lines + 0.2))


def patch_handles(looks: dict[str, Appearance]) -> list[Patch]:
    """Legend entries of areas."""
    return [
        Patch(facecolor=k.colour, edgecolor=BLACK, hatch=k.hatch, label=k.label)
        for k in looks.values()
    ]


def marker_handles(looks: dict[str, Appearance]) -> list[Line2D]:
    """Legend entries of points."""
    return [
        Line2D([], [], color=k.colour, marker=k.marker, linestyle="", markersize=4, label=k.label)
        for k in looks.values()
    ]


def metric_handles(metrics: Sequence[str], any_open: bool) -> list[Line2D]:
    """Legend entries of metrics; with `any_open`, also of the open markers of `OPEN_STRICT`."""
    looks = {metric: METRIC_APPEARANCES[metric] for metric in metrics}
    if any_open:
        looks["open"] = replace(METRIC_APPEARANCES["strict"], label=OPEN_STRICT)
    handles = marker_handles(looks)
    if any_open:
        handles[-1].set_markerfacecolor("white")
    return handles


def seed_style(number: int) -> dict[str, str]:
    """Line colour and line style of the seed at place `number` of the sorted seeds."""
    return {
        "color": SEED_COLOURS[number % len(SEED_COLOURS)],
        "linestyle": LINE_STYLES[number % len(LINE_STYLES)],
    }


def legend_above(figure: Figure, handles: list, columns: int) -> None:
    """One legend above all panels; the axis label and the note are below them."""
    figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=max(1, min(columns, len(handles))),
        handlelength=1.6,
        columnspacing=1.2,
    )


def label_below(figure: Figure, text: str, note: str = "") -> None:
    """One x label for all panels, and below it a note, if any."""
    words = wrap_label(text, int(figure.get_figwidth() * 17.5))
    figure.supxlabel(f"{words}\n{note}" if note else words, fontsize=7)


def panel_grid(
    titles: list[str], aspect: float, extra: float, most_columns: int = 6
) -> tuple[Figure, list[Axes]]:
    """Small multiples that share their axes: one panel per title, row by row.

    Args:
        aspect: height of a panel over its width.
        extra: inches of height for the axis label, legend and note.
        most_columns: panels side by side; four at most while a dozen panels are enough.

    Only the leftmost panels and the lowest panel of each column have tick labels.
    """
    count = len(titles)
    columns = min(count, most_columns, 4 if count <= 12 else 6)
    rows = -(-count // columns)
    columns = -(-count // rows)
    pitch = min(2.6, (PAGE_WIDTH - 0.6) / columns)
    size = 7 if columns <= 4 else 5.5
    words = [wrap_label(title, int(pitch * 110 / size) - 2) for title in titles]
    lines = max(title.count("\n") + 1 for title in words)
    height = pitch * 0.88 * aspect + 0.1 + lines * size * 1.25 / 72
    figure = new_figure(max(COLUMN_WIDTH, columns * pitch + 0.6), rows * height + extra)
    grid = figure.add_gridspec(rows, columns)
    axes: list[Axes] = []
    for number, title in enumerate(words):
        first = axes[0] if axes else None
        place = grid[number // columns, number % columns]
        axis = figure.add_subplot(place, sharex=first, sharey=first)
        lowest = number + columns >= count  # no panel is below this one
        axis.tick_params(labelleft=number % columns == 0, labelbottom=lowest)
        axis.set_title(title, fontsize=size)
        axes.append(axis)
    return figure, axes
