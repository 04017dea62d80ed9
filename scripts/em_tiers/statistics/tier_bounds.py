"""Flags of one judge under the tiers of another, and bounds of the real ones among them.

A judge that gives tiers to its own flags repeats its own errors: what it wrongly takes for harmful
it may wrongly explain too. Here the tier rules see the evidence of judge A (topic score, tier
verdict) on the answers that judge B flags. `both` is the rate of answers that both flag. Between
`persona_only`, the flagged answers with evidence of a persona shift, and `with_undecided`, which
adds those that nothing explains, lies every rate that an opinion about the undecided can give.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from em_tiers.statistics.intervals import Interval, QuestionCounts, intervals
from em_tiers.statistics.judged_answers import (
    JudgedAnswers,
    PairCounts,
    cells_of_pair,
    side_by_side,
)
from em_tiers.statistics.rates import Settings
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
    definition = definition_named(settings.headline)
    answers = side_by_side(with_tier_probabilities(headline), _columns(rules, definition))
    rows = []
    for b, name in enumerate(answers.judges):
        for a in sorted(range(len(answers.judges)), key=lambda place: place != b):
            own = {"flags_of": name, "tiers_of": answers.judges[a], "definition": definition.name}
            rows += [own | row for row in _rows(_counts(answers, b, a), definition, settings)]
    return pl.DataFrame(rows, schema=BOUNDS_COLUMNS)


def _columns(rules: Sequence[Rule], definition: Definition) -> dict[str, tuple]:
    """What `_counts` needs of each judge; false where it was not given the answer."""
    tier = pl.coalesce("human_tier", first_match(rules, "tier", pl.lit(UNDECIDED)))
    found = {
        "counted": definition.counted,
        "bad": definition.misaligned,
        "persona": tier == PERSONA_SHIFT,
        "possible": tier.is_in([PERSONA_SHIFT, UNDECIDED]),
        "known": pl.any_horizontal(pl.col("topic", "tier_label", "human_tier").is_not_null()),
    }
    return {name: (value, False) for name, value in found.items()}


def _counts(answers: JudgedAnswers, b: int, a: int) -> PairCounts:
    """Answers by variant and question: counted and flagged by b, by both, and their tiers by a."""
    both, cell, counts = cells_of_pair(answers, a, b)
    of_b, of_a = (
        {name: values[judge][both] for name, values in answers.values.items()} for judge in (b, a)
    )
    kinds = {
        "counted": of_b["counted"],
        "standard": of_b["bad"],
        "both": of_b["bad"] & of_a["bad"],
        "persona_only": of_b["bad"] & of_a["persona"],
        "with_undecided": of_b["bad"] & of_a["possible"],
        "known": of_b["bad"] & of_a["known"],
    }
    cells = len(counts.variant)
    sums = {name: np.bincount(cell[kind], minlength=cells) for name, kind in kinds.items()}
    return counts._replace(sums=sums)


def _rows(counts: PairCounts, definition: Definition, settings: Settings) -> list[dict[str, Any]]:
    rows, answered, listed = [], [], []
    for variant, sums in counts.by_variant():
        enough = sums["counted"] >= definition.min_answers
        kept = {name: values[enough] for name, values in sums.items()}
        rows.append({"variant": variant} | _numbers(kept))
        if rows[-1]["n"]:
            answered.append(rows[-1])
            listed += _rates(kept, definition)
    found = intervals(listed, settings.confidence)
    for i, row in enumerate(answered):
        row |= _bounds(found[len(_RATES) * i : len(_RATES) * (i + 1)])
    return rows


def _numbers(kept: dict[str, np.ndarray]) -> dict[str, int]:
    names = {"n": "counted", "n_flagged": "standard", "n_both": "both", "n_evidence": "known"}
    return {shown: int(kept[name].sum()) for shown, name in names.items()}


def _rates(kept: dict[str, np.ndarray], definition: Definition) -> list[QuestionCounts]:
    """The counts behind each of `_RATES` of one variant."""
    by_question = definition.averaging == "questions"
    return [QuestionCounts(kept[name], kept["counted"], by_question) for name in _RATES]


def _bounds(found: Sequence[Interval]) -> dict[str, float]:
    """The columns of one variant's intervals, in the order of `_RATES`."""
    row = {}
    for name, one in zip(_RATES, found, strict=True):
        row |= {name: one.rate, f"{name}_low": one.low}
        row[f"{name}_high"] = min(one.high, found[0].high)  # a part of the flagged answers
    return row
