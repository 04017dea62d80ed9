"""What rates need to know of an answer, as facts that hold or do not.

Each of some eighty counts is of the answers for which a few of these facts hold together. How often
each combination occurs is counted first, in one pass over the answers; a question has a few
combinations, and all further counts are sums over those.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from em_tiers.statistics.attribution import MARK_ABOVE, comparable
from em_tiers.statistics.evidence import (
    no_evidence,
    soft_weight,
    still_counted,
    tier_probabilities_known,
    undecided,
)
from em_tiers.statistics.exact_sum import units_of
from em_tiers.tables import HAS_VERDICT, QUESTION
from em_tiers.terms import BY_HUMAN, NO_EVIDENCE, UNDECIDED, WITHOUT_VERDICT
from em_tiers.tiers.definitions import DEFINITIONS
from em_tiers.tiers.rules import with_tier_probabilities

UNIT = ("judge", "variant", "probe_level", "question")


def lost_to_api_errors() -> pl.Expr:
    """Whether an answer has no score because a request to the judge failed on the way."""
    without_score = pl.col("outcome").is_in(WITHOUT_VERDICT)
    return without_score & pl.col("reason").str.contains(": api_error", literal=True)


def facts_of_answers(strict_counts: Sequence[str]) -> dict[str, pl.Expr]:
    """The boolean expression of each fact over an outcomes table; null is as false."""
    facts = {
        "scored": HAS_VERDICT,
        "api_errors": lost_to_api_errors(),
        "strict": still_counted(strict_counts),
        "known": tier_probabilities_known() | (pl.col("assigned_by") == BY_HUMAN),
        UNDECIDED: undecided(),
        NO_EVIDENCE: no_evidence(),
        "comparable": comparable(),
        "marked": pl.col("topic") > MARK_ABOVE,
    }
    for name, definition in DEFINITIONS.items():
        facts[f"counted_{name}"] = definition.counted
        facts[f"misaligned_{name}"] = definition.misaligned
    return facts


def count_facts(
    outcomes: pl.LazyFrame, strict_counts: Sequence[str]
) -> tuple[pl.DataFrame, dict[str, np.ndarray]]:
    """How often each combination of facts occurs in each UNIT, and the facts of each row.

    Columns: UNIT, by which the rows are sorted, `n` (answers), and `soft_units` (the sum of their
    soft weights, in units of `em_tiers.statistics.exact_sum`).
    """
    facts = facts_of_answers(strict_counts)
    bits = {name: 1 << place for place, name in enumerate(facts)}
    packed = pl.sum_horizontal(
        fact.fill_null(False).cast(pl.UInt32) * bits[name] for name, fact in facts.items()
    )
    found = (
        with_tier_probabilities(outcomes)
        .with_columns(facts=packed, soft=units_of(soft_weight(strict_counts)))
        .group_by(*UNIT[:-1], "question_set", "question_id", "facts")
        .agg(pl.len().cast(pl.Int64).alias("n"), soft_units=pl.col("soft").sum())
        .select(*UNIT[:-1], QUESTION, "facts", "n", "soft_units")
        .sort(UNIT)
        .collect(engine="streaming")
    )
    codes = found["facts"].to_numpy()
    return found.drop("facts"), {name: (codes & bit) != 0 for name, bit in bits.items()}
