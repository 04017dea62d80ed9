"""Probe levels pooled for the headline: the one place that forms `headline` and `all`."""

from collections.abc import Sequence

import polars as pl

from em_tiers.terms import PROBE_LEVELS

LEVEL_ORDER = pl.Enum(["headline", "all", *PROBE_LEVELS])


def pool_levels(counts: pl.DataFrame, headline_levels: Sequence[str]) -> pl.DataFrame:
    """Counts of each probe level, of the headline levels together (`headline`) and of `all`.

    Args:
        counts: `probe_level` and other text columns, which are keys; numbers, which are added up.
    """
    levels = [
        counts,
        counts.filter(pl.col("probe_level").is_in(list(headline_levels))).with_columns(
            probe_level=pl.lit("headline")
        ),
        counts.with_columns(probe_level=pl.lit("all")),
    ]
    return _added_up(pl.concat(levels))


def pool_headline(counts: pl.DataFrame, headline_levels: Sequence[str]) -> pl.DataFrame:
    """The rows of `pool_levels` that are of the level `headline`."""
    asked = counts.filter(pl.col("probe_level").is_in(list(headline_levels)))
    return _added_up(asked.with_columns(probe_level=pl.lit("headline")))


def _added_up(counts: pl.DataFrame) -> pl.DataFrame:
    keys = [name for name, kind in counts.schema.items() if kind == pl.String]
    return counts.group_by(keys, maintain_order=True).sum()
