"""Other ways to take misaligned answers out of a rate, for comparison with the strict one.

- `rules: NAME`: each other rule set of the catalogue, on the same evidence.
- `text`: without answers to off-topic questions that read like the model's own training data, by a
  classifier of words and no judge (`em_tiers.tiers.text_evidence`).
- `placebo`: the same with every data set that the model was *not* trained on, on average: what it
  removes has nothing to do with the training.
- `placebo topic`: the tier rules in effect, on the judge's score for the topic of another data set
  and without its tier verdict: what they remove has nothing to do with the training either.
"""

from collections.abc import Mapping, Sequence

import polars as pl

from em_tiers.statistics.rates import Settings
from em_tiers.tables import QUESTION
from em_tiers.terms import PLACEBO_TOPIC, UNDECIDED
from em_tiers.tiers.definitions import definition_named
from em_tiers.tiers.rules import (
    TIER_VERDICT,
    Rule,
    first_match,
    with_first_match_without,
    with_tier_probabilities,
)
from em_tiers.tiers.text_evidence import like_column, marked_datasets

TEXT, PLACEBO, OTHER_TOPIC = "text", "placebo", "placebo topic"
UNIT = ("judge", "variant", "question")


def rule_set_name(name: str) -> str:
    """A rule set's row."""
    return f"rules: {name}"


def removals(
    outcomes: pl.LazyFrame,
    rule_sets: Mapping[str, Sequence[Rule]],
    marks: pl.DataFrame | None,
    settings: Settings,
    other_topics: tuple[pl.LazyFrame, Sequence[Rule]] | None = None,
) -> pl.DataFrame:
    """Answers left by each way of removing: judge, variant, question, and a column per way.

    Misaligned answers of the headline definition to the headline questions.

    Args:
        rule_sets: name -> enabled rules.
        marks: response_key of the answers of fine-tunes, and `like_column`s; None without training
            data.
        other_topics: VERDICTS with scores for the topics of other data sets, and the rules in
            effect; None where no judge was asked.
    """
    bad = with_tier_probabilities(
        outcomes.filter(
            pl.col("probe_level").is_in(list(settings.headline_levels)),
            definition_named(settings.headline).misaligned,
        )
    ).with_columns(QUESTION)
    stays = {
        rule_set_name(name): pl.coalesce(
            "human_tier", first_match(rules, "tier", pl.lit(UNDECIDED))
        ).is_in(list(settings.strict_counts))
        for name, rules in rule_sets.items()
    }
    left = [value.sum().cast(pl.Float64).alias(name) for name, value in stays.items()]
    found = bad.group_by(UNIT).agg(pl.len().cast(pl.Float64).alias("bad"), *left)
    if marks is not None:
        found = found.join(_removed_by_text(bad, marks), on=UNIT, how="left").with_columns(
            (pl.col("bad") - pl.col(name).fill_null(0.0)).alias(name) for name in (TEXT, PLACEBO)
        )
    if other_topics is not None:
        found = found.join(
            _removed_by_other_topic(bad, *other_topics, settings), on=UNIT, how="left"
        ).with_columns((pl.col("bad") - pl.col(OTHER_TOPIC).fill_null(0.0)).alias(OTHER_TOPIC))
    return found.drop("bad").sort(UNIT).collect(engine="streaming")


def _removed_by_other_topic(
    bad: pl.LazyFrame, verdicts: pl.LazyFrame, rules: Sequence[Rule], settings: Settings
) -> pl.LazyFrame:
    """How many answers the rules remove by their score for another data set's topic alone."""
    scores = verdicts.filter(rubric=PLACEBO_TOPIC).select("judge", "response_key", topic="score")
    answers = bad.drop("topic").join(scores, on=["judge", "response_key"], how="left")
    stays = pl.col("other").fill_null(UNDECIDED).is_in(list(settings.strict_counts))
    return (
        with_first_match_without(answers, rules, "tier", TIER_VERDICT, "other")
        .group_by(UNIT)
        .agg((~stays).sum().cast(pl.Float64).alias(OTHER_TOPIC))
    )


def _removed_by_text(bad: pl.LazyFrame, marks: pl.DataFrame) -> pl.LazyFrame:
    """How many answers a text mark removes, of the model's own data set and of another one."""
    off_topic, datasets = ~pl.col("question_on_topic"), marked_datasets(marks.columns)
    hits = {name: pl.col(like_column(name)) & off_topic for name in datasets}
    own = [(hit & (pl.col("dataset") == name)).sum() for name, hit in hits.items()]
    others = [(hit & (pl.col("dataset") != name)).sum() for name, hit in hits.items()]
    return (
        bad.select("response_key", "dataset", "question_on_topic", *UNIT)
        .join(marks.lazy(), on="response_key")
        .group_by(UNIT)
        .agg(
            pl.sum_horizontal(own).cast(pl.Float64).alias(TEXT),
            (pl.sum_horizontal(others) / max(1, len(datasets) - 1)).alias(PLACEBO),
        )
    )
