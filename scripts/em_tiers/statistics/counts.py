"""Counts that need no interval: outcomes, judge coverage, thresholds, costs."""

from collections.abc import Mapping, Sequence

import polars as pl

from em_tiers.statistics.exact_sum import exact_sum
from em_tiers.statistics.probe_levels import LEVEL_ORDER, pool_levels
from em_tiers.tables import Frame
from em_tiers.terms import OUTCOMES_ALL

COST_COLUMNS = (
    "judge",
    "variant",
    "requests",
    "prompt_tokens",
    "completion_tokens",
    "usd",
    "attempts",
)
_TOKENS = ("prompt_tokens", "completion_tokens")
_SUMMED = ("requests", "uncounted", *_TOKENS, "batch_prompt", "batch_completion", "attempts")


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
    """Rows of the table `cost`: requests, tokens, attempts and US dollars by judge and variant.

    A row counts each request once, however many verdicts its reply gave (a structured reply
    answers several rubrics) and however many equal answers of the variant share it. The row with
    variant `all` is the total for a judge: variants that gave equal answers share requests.

    Args:
        verdicts: all judges' verdicts.
        prices: US dollars per million prompt and completion tokens (input_per_million and
            output_per_million) of the judges that have them, and batch_share, the share of them
            that batched requests cost; usd is null for the others.
    """
    of_price = ("input_per_million", "output_per_million", "batch_share")
    listed = pl.LazyFrame(
        [
            (judge, *(({"batch_share": 1.0} | dict(p))[name] for name in of_price))
            for judge, p in prices.items()
            if p
        ],
        schema={"judge": pl.String} | dict.fromkeys(of_price, pl.Float64),
        orient="row",
    )
    saved = 1.0 - pl.col("batch_share")
    usd = (
        (pl.col("prompt_tokens") - saved * pl.col("batch_prompt")) * pl.col("input_per_million")
        + (pl.col("completion_tokens") - saved * pl.col("batch_completion"))
        * pl.col("output_per_million")
    ) / 1e6
    # Without token counts the sums are unknown: none is better than one that is too low.
    known = pl.when(pl.col("uncounted") == 0)
    tokens = pl.col(_TOKENS)
    in_batch = pl.when(pl.col("mode") == "batch")
    prompt, completion = (pl.col(name).cast(pl.Int64) for name in _TOKENS)
    # Imported scores and prompts that were too long to send are not requests.
    sent = pl.col("attempts") > 0
    asked = verdicts.select(
        *("judge", "variant", "verdict_key", prompt, completion),
        pl.col("attempts").cast(pl.Int64),
        requests=sent.cast(pl.Int64),
        uncounted=(pl.any_horizontal(tokens.is_null()) & sent).cast(pl.Int64),
        batch_prompt=in_batch.then(prompt),
        batch_completion=in_batch.then(completion),
    )
    found = [_sums_of_judge(asked.filter(judge=judge)) for judge in _judges(asked)]
    return (
        (pl.concat(found) if found else _sums(asked, "variant").collect())
        .lazy()
        .join(listed, on="judge", how="left")
        .with_columns(known.then(tokens).name.keep(), usd=known.then(usd))
        .select(pl.lit("judge").alias("stage"), *COST_COLUMNS)
        .sort(pl.col("judge"), pl.col("variant") == "all", pl.col("variant"))
        .collect(engine="streaming")
    )


def _judges(asked: pl.LazyFrame) -> list[str]:
    return asked.select(pl.col("judge").unique()).collect(engine="streaming")["judge"].to_list()


def _sums_of_judge(own: pl.LazyFrame) -> pl.DataFrame:
    """The sums over the requests of each variant, and those over all requests of the judge."""
    # Hashes of 64 bits in place of the texts: the set of all keys has to be in memory.
    keys = own.select(pl.col("verdict_key").hash()).collect(engine="streaming").to_series()
    if keys.n_unique() == len(keys):
        of_variants = _sums(own, "variant").collect(engine="streaming")
        of_all = _sums(of_variants)
    else:  # requests that gave several verdicts
        request = pl.col("verdict_key").hash()
        every = (
            own.with_columns(of_judge=request, of_variant=request ^ pl.col("variant").hash())
            .drop("verdict_key")
            .collect(engine="streaming")
            .with_columns(pl.col("of_judge", "of_variant").is_first_distinct())
        )
        of_variants = _sums(every.filter("of_variant"), "variant")
        of_all = _sums(every.filter("of_judge"))
    whole = of_all.with_columns(variant=pl.lit("all")).select(of_variants.columns)
    return pl.concat([of_variants, whole])


def _sums(requests: Frame, *by: str) -> Frame:
    return requests.group_by("judge", *by).agg(pl.col(_SUMMED).sum())


def add_sampling_costs(
    responses: pl.LazyFrame, prices: Mapping[str, Mapping[str, float] | None]
) -> pl.DataFrame:
    """Rows of the table `cost` for answers of models behind an API, by variant and for all.

    Args:
        responses: RESPONSES of these variants.
        prices: of each variant's model, as for `add_costs`. How many attempts an answer took is in
            the journal only.
    """
    listed = [
        (variant, p["input_per_million"] if p else None, p["output_per_million"] if p else None)
        for variant, p in prices.items()
    ]
    schema = {"variant": pl.String, "input": pl.Float64, "output": pl.Float64}
    # A withheld answer has no counts and costs nothing; others without counts have a cost.
    counts = {
        name: pl.when(finish_reason="content_filter").then(0).otherwise(pl.col(name))
        for name in _TOKENS
    }
    usd = pl.col("prompt_tokens") * pl.col("input") + pl.col("completion_tokens") * pl.col("output")
    answers = (
        responses.with_columns(**counts)
        .join(pl.LazyFrame(listed, schema=schema, orient="row"), on="variant")
        .select("variant", *_TOKENS, usd=usd / 1e6)
    )
    every = pl.concat([answers, answers.with_columns(variant=pl.lit("all"))])
    sums = {n: pl.col(n).sum() for n in _TOKENS}
    sums["usd"] = exact_sum(pl.col("usd"))
    return (
        every.group_by("variant")
        .agg(
            pl.len().cast(pl.Int64).alias("requests"),
            *(pl.when(pl.col(n).is_not_null().all()).then(s).alias(n) for n, s in sums.items()),
        )
        .with_columns(
            pl.col(_TOKENS).cast(pl.Int64),
            stage=pl.lit("sample"),
            judge=pl.lit(None, pl.String),
            attempts=pl.lit(None, pl.Int64),
        )
        .select("stage", *COST_COLUMNS)
        .sort(pl.col("variant") == "all", "variant")
        .collect(engine="streaming")
    )
