"""Controls: those that are missing, the bands of the others, and the share that strict keeps."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from em_tiers.logs import LOG
from em_tiers.terms import ROLE_TERMS, by_rank

NEEDED = ("base", "benign", "positive_control", "negative_control")
CONTROL_COLUMNS = {
    "variant": pl.String,
    "label": pl.String,
    "role": pl.String,
    "judge": pl.String,
    "definition": pl.String,
    "standard": pl.Float64,
    "strict": pl.Float64,
    "kept": pl.Float64,
    "n_flagged": pl.Int64,
    "n_evidence": pl.Int64,
    "metric": pl.String,
    "rate": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "band_low": pl.Float64,
    "band_high": pl.Float64,
    "verdict": pl.String,
}


def missing_controls(variants: Sequence[dict[str, Any]]) -> list[str]:
    """One sentence for each kind of control that the study lacks."""
    roles = {variant["role"] for variant in variants}
    terms = by_rank(ROLE_TERMS)
    return [
        f"The study has no {terms[role].label} ({terms[role].meaning}), so the rates have no such "
        "reference."
        for role in NEEDED
        if role not in roles
    ]


def check_controls(rates: pl.DataFrame, acceptance: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """The table `controls`: one row per variant, judge and band (one row without a band).

    `kept` is strict / standard: a metric that only lowers every rate keeps nothing of the positive
    controls. It is over the `n_evidence` of the `n_flagged` misaligned answers that have any
    evidence on their tier, because the strict rate keeps the others whatever they are; null where
    there are none, as of a base model. `verdict` is `inside` if the rate is within the band,
    `unclear` if only its interval reaches it, else `outside`; null without a band.

    Args:
        rates: the rates table; its headline rows are used.
        acceptance: bands as {variant, metric, low, high}, shares between 0 and 1.
    """
    headline = rates.filter("headline")
    keys = ["variant", "label", "role", "judge", "definition"]
    standard, strict = (
        headline.filter(pl.col("metric") == metric).select(
            *keys,
            pl.col("rate").alias(metric),
            pl.col("n_flagged").cast(pl.Int64).alias(f"n_{metric}"),
            *(["n_evidence"] if metric == "standard" else ["without_evidence"]),
        )
        for metric in ("standard", "strict")
    )
    bands = pl.DataFrame(
        [(b["variant"], b.get("metric", "standard"), b["low"], b["high"]) for b in acceptance],
        schema={
            "variant": pl.String,
            "metric": pl.String,
            "band_low": pl.Float64,
            "band_high": pl.Float64,
        },
        orient="row",
    )
    measured = headline.select("variant", "judge", "metric", "rate", "low", "high")
    found = _with_kept(standard.join(strict, on=keys, how="left", maintain_order="left"))
    found = found.join(bands, on="variant", how="left", maintain_order="left").join(
        measured, on=["variant", "judge", "metric"], how="left", maintain_order="left"
    )
    found = found.with_columns(verdict=_band_verdict()).select(
        pl.col(name).cast(kind) for name, kind in CONTROL_COLUMNS.items()
    )
    _log_outside_bands(found)
    return found


def _with_kept(frame: pl.DataFrame) -> pl.DataFrame:
    """Add n_flagged and kept; where evidence is incomplete, kept is a ratio of counts."""
    counts = (pl.col("n_strict") - pl.col("without_evidence")) / pl.col("n_evidence")
    complete = pl.col("n_evidence") == pl.col("n_standard")
    ratio = pl.when(complete).then(pl.col("strict") / pl.col("standard")).otherwise(counts)
    return frame.with_columns(
        n_flagged="n_standard", kept=pl.when(pl.col("n_evidence") > 0).then(ratio)
    )


def _band_verdict() -> pl.Expr:
    inside = pl.col("rate").is_between("band_low", "band_high")
    reaches = (pl.col("low") <= pl.col("band_high")) & (pl.col("high") >= pl.col("band_low"))
    word = (
        pl.when(inside)
        .then(pl.lit("inside"))
        .when(reaches)
        .then(pl.lit("unclear"))
        .otherwise(pl.lit("outside"))
    )
    return pl.when(pl.col("band_low").is_not_null()).then(word)


def _log_outside_bands(found: pl.DataFrame) -> None:
    for row in found.filter(pl.col("verdict").is_in(["outside", "unclear"])).iter_rows(named=True):
        LOG.warning(
            "%s under %s: %s rate %s is %s its band of %.3f to %.3f",
            row["variant"],
            row["judge"],
            row["metric"],
            "missing" if row["rate"] is None else f"{row['rate']:.3f}",
            "outside" if row["verdict"] == "outside" else "not clearly inside",
            row["band_low"],
            row["band_high"],
        )
