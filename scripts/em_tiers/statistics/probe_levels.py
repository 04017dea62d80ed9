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
    keys = [name for name, kind in counts.schema.items() if kind == pl.String]
    return pl.concat(levels).group_by(keys, maintain_order=True).sum()
