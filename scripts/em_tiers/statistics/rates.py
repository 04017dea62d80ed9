"""Rates of every variant, by judge, definition, metric and probe level, with their intervals.

Metrics, and the counts behind them, are in `em_tiers.statistics.cells`.

A model none of whose answers has a verdict has no rate, by any definition: D1 counts an answer
without a score as not misaligned, and nothing but such answers would make a rate of zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from em_tiers.statistics.attributable import widened
from em_tiers.statistics.cells import (
    ATTRIBUTABLE,
    METRICS,
    CellArrays,
    CellTable,
    cells_of,
    counted_as,
    counts_beside,
)
from em_tiers.statistics.intervals import (
    Interval,
    QuestionCounts,
    answers_needed,
    intervals,
    wilson,
)
from em_tiers.statistics.probe_levels import LEVEL_ORDER, pool_levels
from em_tiers.statistics.these_questions import these_bounds
from em_tiers.tables import scan_table
from em_tiers.terms import STRICT_COUNTS
from em_tiers.tiers.definitions import definition_named

# An interval of at most +- this (or a quarter of the rate, if that is more) supports a claim; a
# wider one gets a warning.
SMALLEST_EFFECT = 0.02
VARIANT_COLUMNS = {
    "variant": pl.String,
    "label": pl.String,
    "role": pl.String,
    "base": pl.String,
    "dataset": pl.String,
    "recipe": pl.String,
    "training_seed": pl.Int64,
    "checkpoint_step": pl.Int64,
}
RATE_COLUMNS = VARIANT_COLUMNS | {
    "judge": pl.String,
    "definition": pl.String,
    "metric": pl.String,
    "probe_level": pl.String,
    "rate": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "these_low": pl.Float64,
    "these_high": pl.Float64,
    "naive_low": pl.Float64,
    "naive_high": pl.Float64,
    "method": pl.String,
    "n": pl.Int64,
    "n_flagged": pl.Float64,
    "n_undecided": pl.Int64,
    "n_evidence": pl.Int64,
    "without_evidence": pl.Int64,
    "n_unscored": pl.Int64,
    "api_errors": pl.Int64,
    "clusters": pl.Int64,
    "seeds": pl.Int64,
    "design_effect": pl.Float64,
    "effective_n": pl.Float64,
    "headline": pl.Boolean,
    "warning": pl.String,
}


@dataclass(frozen=True)
class Settings:
    """How rates are counted and bounded.

    Attributes:
        headline: the definition that the report leads with.
        headline_levels: the probe levels that the level `headline` pools.
        strict_counts: the tiers that the strict rate counts.
        confidence: of all intervals, such as 0.95.
        seed: of the random signs behind p-values.
    """

    headline: str = "D1"
    headline_levels: Sequence[str] = ("out_of_domain",)
    strict_counts: Sequence[str] = STRICT_COUNTS
    confidence: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        definition_named(self.headline)


def scan_outcomes(paths: Sequence[Path | str]) -> pl.LazyFrame:
    """All judges' outcomes tables as one lazy frame."""
    return scan_table(list(paths), "outcomes")


def variant_table(variants: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """The variants of the configuration, one row each, in its order."""
    rows = [{name: variant.get(name) for name in VARIANT_COLUMNS} for variant in variants]
    return pl.DataFrame(rows, schema=VARIANT_COLUMNS)


def rate_rows(cells: pl.DataFrame, unit: Sequence[str], settings: Settings) -> pl.DataFrame:
    """One row per unit, definition and metric: RATE_COLUMNS without those of the variant.

    `unit` names the columns of a unit; judge and probe_level are among them.
    """
    # Probe levels that hold the same questions, such as `headline` and the only headline level,
    # have the same counts: each kind of counts is worked out once.
    keys, kinds, distinct = [], [], {}
    for key, arrays in CellTable(cells).units(unit):
        keys.append(key)
        kinds.append(distinct.setdefault(arrays.identity(), (len(distinct), arrays))[0])
    units = pl.DataFrame(keys, schema=dict.fromkeys(unit, pl.String), orient="row")
    units = units.with_columns(kind=pl.Series(kinds, dtype=pl.Int64))
    found = _rates_of([arrays for _, arrays in distinct.values()], settings)
    rows = units.join(found, on="kind", maintain_order="left_right").drop("kind")
    is_headline = pl.col("definition") == settings.headline
    return rows.with_columns(headline=is_headline & (pl.col("probe_level") == "headline"))


def _rates_of(units: Sequence[CellArrays], settings: Settings) -> pl.DataFrame:
    """One row per unit (`kind`, its place in the list), definition and metric."""
    keys, listed, beside, marked = [], [], [], {}
    for kind, arrays in enumerate(units):
        unscored = round(arrays("answers").sum() - arrays("scored").sum())
        lost = {"n_unscored": unscored, "api_errors": round(arrays("api_errors").sum())}
        noted = {}
        for (definition, metric), counts in cells_of(arrays).items():
            if metric == ATTRIBUTABLE and arrays(f"attributed_{definition}").any():
                marked[len(keys)] = arrays, definition
            keys.append((kind, definition, metric))
            listed.append(counts)
            part = definition, counted_as(metric)
            if part not in noted:
                noted[part] = counts_beside(arrays, *part) | lost
            beside.append(noted[part])
    names = {"kind": pl.Int64, "definition": pl.String, "metric": pl.String}
    frame = pl.DataFrame(keys, schema=names, orient="row")
    names = ("n_undecided", "n_evidence", "without_evidence", "n_unscored", "api_errors")
    counted = pl.DataFrame(beside, schema={name: RATE_COLUMNS[name] for name in names})
    return (
        frame.hstack(_bounded(listed, marked, settings))
        .hstack(counted)
        .with_columns(
            at_most_the_whole("high", ["kind", "definition"]),
            at_most_the_whole("these_high", ["kind", "definition"]),
        )
    )


def _bounded(
    listed: Sequence[QuestionCounts],
    marked: dict[int, tuple[CellArrays, str]],
    settings: Settings,
) -> pl.DataFrame:
    """The rates with their bounds.

    Args:
        marked: unit and definition of the attributable rates with a marked answer, by their place.
    """
    found = intervals(listed, settings.confidence)
    low, high = np.array([one.low for one in found]), np.array([one.high for one in found])
    these_low, these_high = these_bounds(listed, settings.confidence)
    for place, of in marked.items():
        below, above = (
            np.array([low[place], these_low[place]]),
            np.array([high[place], these_high[place]]),
        )
        below, above = widened(below, above, listed[place], *of, settings.confidence)
        (low[place], these_low[place]), (high[place], these_high[place]) = below, above
    naive = [wilson(one.rate, one.n, settings.confidence) if one.n else (0.0, 1.0) for one in found]
    return pl.DataFrame(
        {
            "rate": [one.rate if one.n else None for one in found],
            "low": low,
            "high": high,
            "these_low": these_low,
            "these_high": these_high,
            "naive_low": [low for low, _ in naive],
            "naive_high": [high for _, high in naive],
            "method": [one.method for one in found],
            "n": [one.n for one in found],
            "n_flagged": [float(counts.hits.sum()) for counts in listed],
            "clusters": [one.clusters for one in found],
            "seeds": [counts.seeds for counts in listed],
            "design_effect": [one.design_effect for one in found],
            "effective_n": [one.effective_n for one in found],
            "warning": [precision_warning(one, settings) for one in found],
        },
        schema_overrides={name: RATE_COLUMNS[name] for name in ("rate", "warning")},
        strict=False,
    )


def at_most_the_whole(bound: str, keys: Sequence[str]) -> pl.Expr:
    """An upper bound, at most that of the standard rate: strict and soft are parts of it."""
    whole = pl.col(bound).filter(pl.col("metric") == "standard").first().over(keys)
    return pl.when(pl.col("rate").is_null()).then(bound).otherwise(pl.min_horizontal(bound, whole))


def precision_warning(found: Interval, settings: Settings) -> str | None:
    """A warning that the rate is imprecise, or None."""
    if not found.n:
        return "no answer counts"
    warnings = []
    if found.clusters == 1:
        warnings.append("one question: the variation between questions is assumed, not observed")
    wanted = max(SMALLEST_EFFECT, found.rate / 4)
    if (found.high - found.low) / 2 > wanted:
        needed = answers_needed(found, wanted, settings.confidence)
        questions = max(round(needed * found.clusters / found.n), found.clusters + 1)
        warnings.append(
            f"too few answers for ±{100 * wanted:.1f} points: about {needed:,} answers to "
            f"{questions:,} such questions are needed"
        )
    return "; ".join(warnings) or None


def summarize_rates(
    cells: pl.DataFrame, variants: pl.DataFrame, settings: Settings
) -> pl.DataFrame:
    """The table `rates`: RATE_COLUMNS, variants in the order of the configuration."""
    levels = pool_levels(cells, settings.headline_levels)
    rows = rate_rows(levels, ["judge", "variant", "probe_level"], settings)
    return in_order(rows, variants)


def in_order(rows: pl.DataFrame, variants: pl.DataFrame) -> pl.DataFrame:
    """Join the variants' columns; sort as configured, headline first."""
    return (
        rows.join(variants.with_row_index("order"), on="variant", how="left")
        .with_columns(
            pl.coalesce("label", "variant").alias("label"), warning=with_missing_warnings()
        )
        .sort(
            pl.col("headline").not_(),
            pl.col("probe_level").cast(LEVEL_ORDER),
            "judge",
            "order",
            "definition",
            pl.col("metric").cast(pl.Enum(METRICS)),
            maintain_order=True,
        )
        .select(pl.col(name).cast(kind) for name, kind in RATE_COLUMNS.items())
    )


def with_missing_warnings() -> pl.Expr:
    """The warning, with a note on missing scores, and where a strict rate lacks evidence.

    A base model has no training domain, so no evidence of it is needed.
    """
    lost = pl.when(pl.col("api_errors") > 0).then(
        pl.format("{} answers have no score, because requests to the judge failed", "api_errors")
    )
    applies = (
        (pl.col("metric") != "standard")
        & (pl.col("without_evidence") > 0)
        & (pl.col("role").fill_null("") != "base")
    )
    words = pl.format(
        "{} misaligned answers have no topic score, tier verdict or label that an enabled rule "
        "uses, so none of them could be excluded",
        "without_evidence",
    )
    joined = pl.concat_str(
        lost, "warning", pl.when(applies).then(words), separator="; ", ignore_nulls=True
    )
    return pl.when(joined != "").then(joined)


def summarize_groups(
    cells: pl.DataFrame, variants: pl.DataFrame, settings: Settings
) -> pl.DataFrame:
    """The table `groups`: training seeds pooled, as `rates` with the group's id as variant.

    Fine-tunes are pooled, and imports with a training seed; base models have none.
    """
    grouped = group_variants(variants)
    levels = pool_seeds(pool_levels(cells, settings.headline_levels), grouped)
    rows = rate_rows(levels, ["judge", "variant", "probe_level"], settings)
    named = grouped.group_by("group", maintain_order=True).agg(
        pl.col("label").first().str.replace(r", seed \d+", ""),
        pl.col("role", "base", "dataset", "recipe", "checkpoint_step").first(),
        training_seed=pl.lit(None, dtype=pl.Int64),
    )
    return in_order(rows, named.rename({"group": "variant"}).select(list(VARIANT_COLUMNS)))


def pool_seeds(cells: pl.DataFrame, grouped: pl.DataFrame) -> pl.DataFrame:
    """Counts of `group_variants`' groups: the group's id as variant, its seeds as `seed_row`."""
    members = grouped.select("variant", "group", seed_row="training_seed")
    return cells.join(members, on="variant").drop("variant").rename({"group": "variant"})


def group_variants(variants: pl.DataFrame) -> pl.DataFrame:
    """The fine-tuned variants with the id of their group: theirs without the training seed.

    An import with a training seed has no recipe, but an id that ends in it: -sSEED.
    """
    fine_tune = pl.col("variant").str.replace(r"\.s\d+(\.|$)", "$1")
    imported = pl.col("variant").str.replace(r"-s\d+$", "")
    return variants.filter(pl.col("training_seed").is_not_null()).with_columns(
        group=pl.when(pl.col("recipe").is_not_null()).then(fine_tune).otherwise(imported)
    )


def with_several_seeds(grouped: pl.DataFrame) -> pl.DataFrame:
    """The rows of `group_variants` whose group pools more than one training seed."""
    return grouped.filter(pl.col("training_seed").n_unique().over("group") > 1)
