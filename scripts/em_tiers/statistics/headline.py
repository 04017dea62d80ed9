"""The answer in one table: the headline rates of each model and judge, as numbers and as text."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from em_tiers.statistics.judge_card import MISSED
from em_tiers.statistics.rounding import percent, points_between

_KEYS = ["variant", "judge"]
_BOUNDS = ("low", "high")
_RATES = ("standard", "attributable", "strict")
HEADER = (
    *("Model", "Role", "Judge", "Standard ({}), %", "Attributable ({}), %", "Strict ({}), %"),
    "Undecided among strict",
    *("Overestimated by, points", "Ratio", "Strict above base, points", "p", "n (questions)"),
)
_FALSE = ("false_exclusions", "false_exclusions_low", "false_exclusions_high")
SAME = 1e-9  # rates of the same answers differ by less

LOST = "Without a score, because requests failed"


def headline_rows(
    rates: pl.DataFrame,
    groups: pl.DataFrame,
    overestimation: pl.DataFrame,
    differences: pl.DataFrame,
    contrast: pl.DataFrame | None = None,
    judge_card: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """The table `headline`: one row per judge and variant, then those that pool several seeds.

    `standard`, `strict` and `overestimated` (their difference) with their bounds, `ratio`
    (standard over strict; null where nothing is left), `above_base` (strict rate minus that of the
    base model, paired by question; null for a base model) with its bounds and `p_adjusted`, n,
    questions, seeds, definition and warning. `n_unscored` answers have no verdict, `api_errors` of
    them because a request failed. `n_strict` answers make up the strict rate; `n_undecided` of them
    no rule or person explains, and of these `without_evidence` could not be explained.
    `overestimated` and `ratio` are null where no answer could be excluded. `attributable` is the
    rate that takes away only what exceeds expectation; `these_low` and `these_high` of the three
    rates bound them on these very questions. `n_marked` of the compared misaligned answers are
    about the training domain, and `expected` would be by chance (null without `contrast`, the table
    `counterfactual`). `false_exclusions`: the share of persona shifts that the rules exclude by
    this judge's evidence, on cases whose verdict is known; `limits_missed`: how many limits of the
    table `judge_card` the judge misses (null without that table).
    """
    pooled = groups.filter(pl.col("seeds") > 1).with_columns(
        label=pl.format("{}, {} seeds", "label", "seeds")
    )
    headline = pl.concat([rates, pooled]).filter("headline").sort("judge", maintain_order=True)
    strict = headline.filter(metric="strict").select(
        *(*_KEYS, *_with_bounds("rate", "strict"), *_these("strict")),
        pl.col("n_flagged").cast(pl.Int64).alias("n_strict"),
        *("n_undecided", "without_evidence"),
    )
    above = differences.filter(
        pl.col("definition").is_in(headline["definition"].unique().implode()), metric="strict"
    ).select(*_KEYS, *_with_bounds("difference", "above_base"), "p_adjusted")
    removed = overestimation.select(
        *_KEYS,
        pl.col("difference").alias("overestimated"),
        *(pl.col(f"diff_{bound}").alias(f"overestimated_{bound}") for bound in _BOUNDS),
        "ratio",
    )
    rows = headline.filter(metric="standard").select(
        *("variant", "label", "role", "base", "judge", "definition", "n"),
        pl.col("clusters").alias("questions"),
        *("n_unscored", "api_errors"),
        *("seeds", *_with_bounds("rate", "standard"), *_these("standard"), "warning"),
    )
    attributable = headline.filter(metric="attributable").select(
        *(*_KEYS, *_with_bounds("rate", "attributable"), *_these("attributable"))
    )
    marked = _marked(contrast)
    for more in (attributable, strict, removed, above, marked):
        rows = rows.join(more, on=_KEYS, how="left", maintain_order="left")
    return rows.join(_tested(judge_card), on="judge", how="left", maintain_order="left")


def _tested(card: pl.DataFrame | None) -> pl.DataFrame:
    """What the headline shows of each judge's card."""
    kinds = dict.fromkeys(_FALSE, pl.Float64) | {"limits_missed": pl.Int64}
    if card is None:
        return pl.DataFrame(schema={"judge": pl.String} | kinds)
    value, low, high = (
        pl.col(name).filter(pl.col("measure") == _FALSE[0]).first().alias(shown)
        for name, shown in zip(("value", "low", "high"), _FALSE, strict=True)
    )
    missed = (pl.col("result") == MISSED).sum().cast(pl.Int64).alias("limits_missed")
    return card.group_by("judge", maintain_order=True).agg(value, low, high, missed)


def _marked(contrast: pl.DataFrame | None) -> pl.DataFrame:
    kinds = {"n_marked": pl.Int64, "expected": pl.Float64, "risk_ratio": pl.Float64}
    if contrast is None:
        return pl.DataFrame(schema=dict.fromkeys(_KEYS, pl.String) | kinds)
    return contrast.select(*_KEYS, *kinds)


def _these(name: str) -> list[pl.Expr]:
    return [pl.col(f"these_{bound}").alias(f"{name}_these_{bound}") for bound in _BOUNDS]


def first_table(rows: pl.DataFrame) -> tuple[list[str], list[list[Any]]]:
    """Header and rows of the first page: what fits beside each other without scrolling.

    Each rate has two lines: with its interval for questions like these, and below it the interval
    for these questions. The judge is named where there are several.
    """
    several = rows["judge"].n_unique() > 1
    definition = rows["definition"].first() or "no answers"
    listed = rows.to_dicts()
    bases = {(row["variant"], row["judge"]): row["strict"] for row in listed}
    header = [
        "Model",
        *(["Judge"] if several else []),
        *(f"{name} ({definition}), %" for name in ("Standard", "Attributable", "Strict")),
        "Standard − strict, points",
        "About the domain: seen / by chance",
        "Strict above base, points",
        "n (questions)",
    ]
    return header, [
        [
            f"{row['label']}\n{format_label(row['role'])}",
            *([row["judge"]] if several else []),
            *(_two_targets(row, name) for name in _RATES[:-1]),
            _two_targets(row, "strict") + _format_judge(row),
            _difference(row, "overestimated", row["standard"], row["strict"]),
            _format_marked(row),
            _above_base(row, bases),
            _format_n(row),
        ]
        for row in listed
    ]


def _above_base(row: Mapping[str, Any], bases: Mapping[tuple[str, str], float | None]) -> str:
    shown = _difference(row, "above_base", row["strict"], bases.get((row["base"], row["judge"])))
    p_value = _format_p_value(row["p_adjusted"])
    if row["p_adjusted"] is None:
        return shown
    sign = "" if p_value.startswith("<") else "=\u00a0"
    return f"{shown}\np\u00a0{sign}{p_value}"


def _two_targets(row: Mapping[str, Any], name: str) -> str:
    if row[name] is None:
        return "–"
    these = [percent(row[f"{name}_these_{bound}"]) for bound in _BOUNDS]
    return (
        f"{with_interval(row, name, percent(row[name]))}\nthese:\u00a0[{these[0]},\u00a0{these[1]}]"
    )


def _format_judge(row: Mapping[str, Any]) -> str:
    """The judge's false exclusions, a line below the strict rate; empty for an untested judge."""
    if row["strict"] is None or row["limits_missed"] is None:
        return ""
    shown = with_interval(row, "false_exclusions", percent(row["false_exclusions"]))
    missed = row["limits_missed"]
    mark = f"\njudge\u00a0misses\u00a0{missed}\u00a0limits" if missed else ""
    return f"\nfalse\u00a0excl.:\u00a0{shown}{mark}"


def _format_marked(row: Mapping[str, Any]) -> str:
    if row["n_marked"] is None or row["expected"] is None:
        return "–"
    return f"{row['n_marked']:,}\u00a0/\u00a0{row['expected']:,.0f}"


def answer_table(rows: pl.DataFrame) -> tuple[list[str], list[list[Any]]]:
    """Header and rows of `headline_rows` for people: percent and points, intervals in brackets.

    The header names the definition, which all rows share. Differences are those of the printed
    rates; `above_base` only if it is over the same answers as these. Where answers have no score
    because requests failed, a last column counts them.
    """
    definition = rows["definition"].first() or "no answers"
    listed = rows.to_dicts()
    bases = {(row["variant"], row["judge"]): row["strict"] for row in listed}
    lost = [LOST] if rows["api_errors"].sum() else []
    return [name.format(definition) for name in (*HEADER, *lost)], [
        [
            row["label"],
            format_label(row["role"]),
            row["judge"],
            *(with_interval(row, name, percent(row[name])) for name in _RATES),
            _format_undecided(row),
            _difference(row, "overestimated", row["standard"], row["strict"]),
            _format_ratio(row),
            _difference(row, "above_base", row["strict"], bases.get((row["base"], row["judge"]))),
            _format_p_value(row["p_adjusted"]),
            _format_n(row),
            *(f"{row['api_errors']:,}" for _ in lost),
        ]
        for row in listed
    ]


def _difference(
    row: Mapping[str, Any], name: str, first: float | None, second: float | None
) -> str:
    """A difference with its interval, from the printed rates if it is exactly theirs."""
    value = row[name]
    known = None not in (value, first, second) and abs(first - second - value) < SAME
    return with_interval(row, name, points_between(first, second) if known else percent(value))


def with_interval(row: Mapping[str, Any], name: str, shown: str) -> str:
    """The number `shown` with the interval of `name`, in percent; a dash where it is null."""
    if row[name] is None:
        return shown
    low, high = (percent(row[f"{name}_{bound}"]) for bound in _BOUNDS)
    # No-break spaces: an interval that breaks over two lines is hard to read.
    return f"{shown}\u00a0[{low},\u00a0{high}]"


def _format_n(row: Mapping[str, Any]) -> str:
    """Answers in the denominator, questions, and how many answers have no verdict."""
    unscored = f", {row['n_unscored']:,} unscored" if row["n_unscored"] else ""
    return f"{row['n']:,} ({row['questions']}){unscored}"


def _format_undecided(row: Mapping[str, Any]) -> str:
    """How many of the answers that make up the strict rate are undecided."""
    if row["strict"] is None:
        return "–"
    return f"{row['n_undecided']:,}\u00a0of\u00a0{row['n_strict']:,}"


def format_label(name: str | None) -> str:
    """An id as words, such as "positive control"; "no role" for none."""
    return (name or "no role").replace("_", " ")


def _with_bounds(value: str, name: str) -> list[pl.Expr]:
    return [pl.col(value).alias(name), *(pl.col(b).alias(f"{name}_{b}") for b in _BOUNDS)]


def _format_ratio(row: Mapping[str, Any]) -> str:
    """Standard over strict; "nothing is left" where the strict rate is zero."""
    if row["ratio"] is not None:
        return f"{row['ratio']:.1f}"
    nothing_left = row["standard"] and row["overestimated"] and not row["strict"]
    return "nothing is left" if nothing_left else "–"


def _format_p_value(value: float | None) -> str:
    if value is None:
        return "–"
    return "<\u00a00.001" if value < 0.001 else f"{value:.3f}"
