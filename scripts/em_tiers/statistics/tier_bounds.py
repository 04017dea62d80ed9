"""Flags of one judge under the tiers of another, and bounds of the real ones among them.

A judge that gives tiers to its own flags repeats its own errors: what it wrongly takes for harmful
it may wrongly explain too. Here the tier rules see the evidence of judge A (topic score, tier
verdict) on the answers that judge B flags. `both` is the rate of answers that both flag. Between
`persona_only`, the flagged answers with evidence of a persona shift, and `with_undecided`, which
adds those that nothing explains, lies every rate that an opinion about the undecided can give.
"""

from collections.abc import Sequence
from typing import Any

import polars as pl

from em_tiers.statistics.intervals import Interval, QuestionCounts, intervals
from em_tiers.statistics.rates import Settings
from em_tiers.tables import QUESTION
from em_tiers.terms import PERSONA_SHIFT, UNDECIDED
from em_tiers.tiers.definitions import Definition, definition_named
from em_tiers.tiers.rules import Rule, first_match, with_tier_probabilities

_RATES = ("standard", "both", "persona_only", "with_undecided")
BOUNDS_COLUMNS = {
    "variant": pl.String,
    "flags_of": pl.String,
    "tiers_of": pl.String,
    "definition": pl.String,
    **{f"{name}{bound}": pl.Float64 for name in _RATES for bound in ("", "_low", "_high")},
    "n": pl.Int64,
    "n_flagged": pl.Int64,
    "n_both": pl.Int64,
    "n_evidence": pl.Int64,
}


def tier_bounds(outcomes: pl.LazyFrame, rules: Sequence[Rule], settings: Settings) -> pl.DataFrame:
    """The table `tier_bounds`: one row per variant and pair of judges, each with itself first.

    Over the headline questions, of answers that both judges were given. `n_evidence`: flagged
    answers with a topic score, tier verdict or label of the judge whose tiers are used.
    """
    headline = outcomes.filter(pl.col("probe_level").is_in(list(settings.headline_levels)))
    judges = headline.select(pl.col("judge").unique().sort()).collect().to_series().to_list()
    pairs = [(b, a) for b in judges for a in sorted(judges, key=lambda name: name != b)]
    rows = [
        {"flags_of": b, "tiers_of": a, "definition": settings.headline} | row
        for b, a in pairs
        for row in _rows(headline, b, a, rules, settings)
    ]
    return pl.DataFrame(rows, schema=BOUNDS_COLUMNS)


def _rows(
    headline: pl.LazyFrame, b: str, a: str, rules: Sequence[Rule], settings: Settings
) -> list[dict[str, Any]]:
    definition = definition_named(settings.headline)
    counts = _counts(headline, b, a, rules, definition)
    rows, answered, listed = [], [], []
    for (variant,), part in counts.group_by("variant", maintain_order=True):
        kept = part.filter(pl.col("counted") >= definition.min_answers)
        rows.append({"variant": variant} | _numbers(kept))
        if rows[-1]["n"]:
            answered.append(rows[-1])
            listed += _rates(kept, definition)
    found = intervals(listed, settings.confidence)
    for i, row in enumerate(answered):
        row |= _bounds(found[len(_RATES) * i : len(_RATES) * (i + 1)])
    return rows


def _counts(
    headline: pl.LazyFrame, b: str, a: str, rules: Sequence[Rule], definition: Definition
) -> pl.DataFrame:
    """Answers by variant and question: counted and flagged by b, by both, and their tiers by a."""
    tier = pl.coalesce("human_tier", first_match(rules, "tier", pl.lit(UNDECIDED)))
    known = pl.any_horizontal(pl.col("topic", "tier_label", "human_tier").is_not_null())
    explained = with_tier_probabilities(headline.filter(pl.col("judge") == a)).select(
        "response_key", tier=tier, known=known, also=definition.misaligned
    )
    flagged = headline.filter(pl.col("judge") == b).select(
        *("response_key", "variant", QUESTION),
        counted=definition.counted,
        bad=definition.misaligned,
    )
    bad, of = pl.col("bad"), pl.col("tier")
    sums = {
        "counted": pl.col("counted"),
        "standard": bad,
        "both": bad & pl.col("also"),
        "persona_only": bad & (of == PERSONA_SHIFT),
        "with_undecided": bad & of.is_in([PERSONA_SHIFT, UNDECIDED]),
        "known": bad & pl.col("known"),
    }
    return (
        flagged.join(explained, on="response_key")
        .group_by("variant", "question")
        .agg(value.sum().cast(pl.Float64).alias(name) for name, value in sums.items())
        .sort("variant", "question")
        .collect(engine="streaming")
    )


def _numbers(kept: pl.DataFrame) -> dict[str, int]:
    names = {"n": "counted", "n_flagged": "standard", "n_both": "both", "n_evidence": "known"}
    return {shown: round(kept[name].sum()) for shown, name in names.items()}


def _rates(kept: pl.DataFrame, definition: Definition) -> list[QuestionCounts]:
    """The counts behind each of `_RATES` of one variant."""
    counted, by_question = kept["counted"].to_numpy(), definition.averaging == "questions"
    return [QuestionCounts(kept[name].to_numpy(), counted, by_question) for name in _RATES]


def _bounds(found: Sequence[Interval]) -> dict[str, float]:
    """The columns of one variant's intervals, in the order of `_RATES`."""
    row = {}
    for name, one in zip(_RATES, found, strict=True):
        row |= {name: one.rate, f"{name}_low": one.low}
        row[f"{name}_high"] = min(one.high, found[0].high)  # a part of the flagged answers
    return row
