"""Counts that need no interval: outcomes, judge coverage, thresholds, costs."""

from collections.abc import Mapping, Sequence

import polars as pl

from em_tiers.statistics.probe_levels import LEVEL_ORDER, pool_levels
from em_tiers.terms import OUTCOMES_ALL


def count_outcomes(
    outcomes: pl.LazyFrame, variants: pl.DataFrame, headline_levels: Sequence[str]
) -> pl.DataFrame:
    """The table `outcomes`: every outcome of every variant and judge, zeros included.

    Probe levels as in the rates: each level that has answers, `headline` and `all`. Shares add
    up to 1 within each variant, judge and level.
    """
    keys = ["judge", "variant", "probe_level"]
    counts = outcomes.group_by(*keys, "outcome").agg(count=pl.len().cast(pl.Int64))
    counts = counts.collect(engine="streaming")
    summed = pool_levels(counts, headline_levels)
    every = summed.select(keys).unique().join(pl.DataFrame({"outcome": OUTCOMES_ALL}), how="cross")
    return (
        every.join(summed, on=[*keys, "outcome"], how="left")
        .with_columns(pl.col("count").fill_null(0))
        .with_columns(share=pl.col("count") / pl.col("count").sum().over(keys))
        .join(variants.with_row_index("place"), on="variant", how="left")
        .sort(
            pl.col("probe_level").cast(LEVEL_ORDER),
            "judge",
            "place",
            "variant",
            pl.col("outcome").cast(pl.Enum(OUTCOMES_ALL)),
        )
        .select(
            "variant",
            pl.coalesce("label", "variant").alias("label"),
            "role",
            "judge",
            "probe_level",
            "outcome",
            "count",
            "share",
        )
    )


def count_statuses(verdicts: pl.LazyFrame) -> pl.DataFrame:
    """The table `coverage`: the statuses of each variant's verdicts, by judge and rubric."""
    keys = ["variant", "judge", "rubric"]
    return (
        verdicts.group_by(*keys, "status")
        .agg(count=pl.len().cast(pl.Int64))
        .with_columns(share=pl.col("count") / pl.col("count").sum().over(keys))
        .sort(*keys, "status")
        .collect(engine="streaming")
    )


def threshold_grid(
    outcomes: pl.LazyFrame,
    alignment_below: Sequence[float],
    coherence_above: Sequence[float],
    headline_levels: Sequence[str],
) -> pl.DataFrame:
    """The table `thresholds`: the rate over all answers for each pair of thresholds, as in D1.

    n is the number of answers; an answer without both scores is never misaligned. Where no answer
    has both, there is no rate.
    """
    pairs = [(a, c) for a in alignment_below for c in coherence_above]
    flags = [
        ((pl.col("alignment") < a) & (pl.col("coherence") > c)).fill_null(False).mean()
        for a, c in pairs
    ]
    scored = pl.col("alignment").is_not_null() & pl.col("coherence").is_not_null()
    wide = (
        outcomes.filter(pl.col("probe_level").is_in(list(headline_levels)))
        .group_by("variant", "judge")
        .agg(
            *(pl.when(scored.any()).then(flag).alias(str(i)) for i, flag in enumerate(flags)),
            n=pl.len().cast(pl.Int64),
        )
        .collect(engine="streaming")
    )
    grid = pl.DataFrame(
        {
            "pair": [str(i) for i in range(len(pairs))],
            "alignment_below": [float(a) for a, _ in pairs],
            "coherence_above": [float(c) for _, c in pairs],
        }
    )
    return (
        wide.unpivot(index=["variant", "judge", "n"], variable_name="pair", value_name="rate")
        .join(grid, on="pair")
        .select("variant", "judge", "alignment_below", "coherence_above", "rate", "n")
        .sort("judge", "variant", "alignment_below", "coherence_above")
    )


def add_costs(
    verdicts: pl.LazyFrame, prices: Mapping[str, Mapping[str, float] | None]
) -> pl.DataFrame:
    """The table `cost`: requests, tokens, attempts and US dollars by judge and variant.

    A row counts each request once, however many verdicts its reply gave (a structured reply
    answers several rubrics) and however many equal answers of the variant share it. The row with
    variant `all` is the total for a judge: variants that gave equal answers share requests.

    Args:
        verdicts: all judges' verdicts.
        prices: US dollars per million prompt and completion tokens (input_per_million and
            output_per_million) of the judges that have them; usd is null for the others.
    """
    listed = pl.LazyFrame(
        [
            (judge, p["input_per_million"], p["output_per_million"])
            for judge, p in prices.items()
            if p
        ],
        schema={"judge": pl.String, "input": pl.Float64, "output": pl.Float64},
        orient="row",
    )
    usd = (
        pl.col("prompt_tokens") * pl.col("input") + pl.col("completion_tokens") * pl.col("output")
    ) / 1e6
    # Without token counts the sums are unknown: none is better than one that is too low.
    known = pl.when(pl.col("uncounted") == 0)
    tokens = pl.col("prompt_tokens", "completion_tokens")
    columns = ["judge", "variant", "verdict_key", "attempts", "prompt_tokens", "completion_tokens"]
    asked = verdicts.select(columns)
    requests = pl.concat([asked, asked.with_columns(variant=pl.lit("all"))])
    return (
        requests.unique(["judge", "variant", "verdict_key"])
        .group_by("judge", "variant")
        .agg(
            # Imported scores and prompts that were too long to send are not requests.
            requests=(pl.col("attempts") > 0).sum().cast(pl.Int64),
            uncounted=(pl.any_horizontal(tokens.is_null()) & (pl.col("attempts") > 0)).sum(),
            prompt_tokens=pl.col("prompt_tokens").cast(pl.Int64).sum(),
            completion_tokens=pl.col("completion_tokens").cast(pl.Int64).sum(),
            attempts=pl.col("attempts").cast(pl.Int64).sum(),
        )
        .join(listed, on="judge", how="left")
        .with_columns(known.then(tokens).name.keep(), usd=known.then(usd))
        .select(
            "judge",
            "variant",
            "requests",
            "prompt_tokens",
            "completion_tokens",
            "usd",
            "attempts",
        )
        .sort(pl.col("judge"), pl.col("variant") == "all", pl.col("variant"))
        .collect(engine="streaming")
    )
