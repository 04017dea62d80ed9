"""The answer in one table: the headline rates of each model and judge, as numbers and as text."""

from collections.abc import Mapping
from typing import Any

import polars as pl

_KEYS = ["variant", "judge"]
_BOUNDS = ("low", "high")
HEADER = (
    *("Model", "Role", "Judge", "Standard ({}), %", "Strict ({}), %", "Overestimated by, points"),
    *("Ratio", "Strict above base, points", "p", "n (questions)"),
)


def headline_rows(
    rates: pl.DataFrame,
    groups: pl.DataFrame,
    overestimation: pl.DataFrame,
    differences: pl.DataFrame,
) -> pl.DataFrame:
    """The table `headline`: one row per judge and variant, then those that pool several seeds.

    `standard`, `strict` and `overestimated` (their difference) with their bounds, `ratio`
    (standard over strict; null where nothing is left), `above_base` (strict rate minus that of the
    base model, paired by question; null for a base model) with its bounds and `p_adjusted`, n,
    questions, seeds, definition and warning.
    """
    pooled = groups.filter(pl.col("seeds") > 1).with_columns(
        label=pl.format("{}, {} seeds", "label", "seeds")
    )
    headline = pl.concat([rates, pooled]).filter("headline").sort("judge", maintain_order=True)
    strict = headline.filter(metric="strict").select(*_KEYS, *_with_bounds("rate", "strict"))
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
        *("variant", "label", "role", "judge", "definition", "n"),
        pl.col("clusters").alias("questions"),
        *("seeds", *_with_bounds("rate", "standard")),
        *("without_evidence", "warning"),
    )
    for more in (strict, removed, above):
        rows = rows.join(more, on=_KEYS, how="left", maintain_order="left")
    return rows


def answer_table(rows: pl.DataFrame) -> tuple[list[str], list[list[Any]]]:
    """Header and rows of `headline_rows` for people: percent and points, intervals in brackets.

    The header names the definition, which all rows share.
    """
    definition = rows["definition"].first() or "no answers"
    return [name.format(definition) for name in HEADER], [
        [
            row["label"],
            format_label(row["role"]),
            row["judge"],
            *(with_interval(row, name) for name in ("standard", "strict", "overestimated")),
            _format_ratio(row),
            with_interval(row, "above_base"),
            _format_p_value(row["p_adjusted"]),
            f"{row['n']:,} ({row['questions']})",
        ]
        for row in rows.iter_rows(named=True)
    ]


def percent(value: float | None) -> str:
    """A share in percent; a dash for None, where no answer counts."""
    return "–" if value is None else f"{100 * value:.1f}"


def with_interval(row: Mapping[str, Any], name: str) -> str:
    """The share `name` of a row in percent, with its interval."""
    if row[name] is None:
        return "–"
    low, high = (percent(row[f"{name}_{bound}"]) for bound in _BOUNDS)
    # No-break spaces: an interval that breaks over two lines is hard to read.
    return f"{percent(row[name])}\u00a0[{low},\u00a0{high}]"


def format_label(name: str | None) -> str:
    """An id as words, such as "positive control"; "no role" for none."""
    return (name or "no role").replace("_", " ")


def _with_bounds(value: str, name: str) -> list[pl.Expr]:
    return [pl.col(value).alias(name), *(pl.col(b).alias(f"{name}_{b}") for b in _BOUNDS)]


def _format_ratio(row: Mapping[str, Any]) -> str:
    """Standard over strict; "nothing is left" where the strict rate is zero."""
    if row["ratio"] is not None:
        return f"{row['ratio']:.1f}"
    return "nothing is left" if row["standard"] and not row["strict"] else "–"


def _format_p_value(value: float | None) -> str:
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
