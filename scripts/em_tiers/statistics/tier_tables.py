"""Effects of the exclusions: waterfall, ablation, disagreement and overestimation.

All over the headline definition, on the headline probe levels, by variant and judge. The rules are
evaluated once on the flagged answers; which of them hold together is counted, and everything else
works on these counts.
"""

from collections.abc import Sequence

import polars as pl

from em_tiers.statistics.cells import CellArrays, CellTable, cells_of, counts_beside
from em_tiers.statistics.exact_sum import exact_sum
from em_tiers.statistics.intervals import Interval, QuestionCounts, intervals
from em_tiers.statistics.probe_levels import pool_headline
from em_tiers.statistics.rates import Settings, group_variants, pool_seeds, with_several_seeds
from em_tiers.statistics.rounding import fractions
from em_tiers.tables import QUESTION, Frame
from em_tiers.terms import NO_EVIDENCE, UNDECIDED
from em_tiers.tiers.definitions import definition_named
from em_tiers.tiers.rules import (
    NO_RULE,
    NO_RULE_REASON,
    TIER_VERDICT,
    Rule,
    with_first_match_without,
    with_tier_probabilities,
)

OF_WHICH_UNDECIDED = f"of which {UNDECIDED}"
LEVELS = ("flagged", "strict", OF_WHICH_UNDECIDED)  # the other steps remove answers
WATERFALL_COLUMNS = {
    "variant": pl.String,
    "label": pl.String,
    "judge": pl.String,
    "step": pl.String,
    "order": pl.Int64,
    "count": pl.Int64,
    "rate": pl.Float64,
    "tier": pl.String,
    "reason": pl.String,
}
ABLATION_COLUMNS = {
    "variant": pl.String,
    "judge": pl.String,
    "rule": pl.String,
    "mode": pl.String,
    "rate": pl.Float64,
}
OVERESTIMATION_COLUMNS = {
    "variant": pl.String,
    "judge": pl.String,
    "standard": pl.Float64,
    "strict": pl.Float64,
    "difference": pl.Float64,
    "diff_low": pl.Float64,
    "diff_high": pl.Float64,
    "ratio": pl.Float64,
    "ratio_low": pl.Float64,
    "ratio_high": pl.Float64,
    "n": pl.Int64,
    "n_flagged": pl.Int64,
    "n_undecided": pl.Int64,
    "n_evidence": pl.Int64,
    "without_evidence": pl.Int64,
}


def count_patterns(
    outcomes: pl.LazyFrame, cells: pl.DataFrame, rules: Sequence[Rule], settings: Settings
) -> pl.DataFrame:
    """Flagged answers of the headline levels by judge, variant, human label and rules that hold.

    Columns: judge, variant, human (the outcome that a person gave, or null), rule_0, rule_1, ...
    (booleans in the order of `rules`), count, and share: the part of the headline rate that these
    answers make up. It is count / n where the definition pools; where it averages over questions,
    an answer adds one over its question's answers and over the questions. `cells` are those of the
    same outcomes.
    """
    held = [rule.condition.alias(f"rule_{i}") for i, rule in enumerate(rules)]
    keys = ["judge", "variant", "human", *(f"rule_{i}" for i in range(len(rules)))]
    flagged = _on_headline_levels(outcomes, settings).filter("flagged").with_columns(QUESTION)
    return (
        with_tier_probabilities(flagged)
        .join(_headline_weights(cells, settings).lazy(), on=["judge", "variant", "question"])
        .with_columns(
            *held, human=pl.when(pl.col("assigned_by") == "human").then("outcome").otherwise(None)
        )
        .group_by(keys)
        .agg(count=pl.len().cast(pl.Int64), share=exact_sum(pl.col("weight"), bits=56))
        .sort(keys)
        .collect(engine="streaming")
    )


def _headline_weights(cells: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """The weight of one flagged answer of each counted question in the headline rate."""
    definition = definition_named(settings.headline)
    unit = ["judge", "variant"]
    of_all = pl.col("counted").sum().over(unit)
    by_question = pl.col("counted") * pl.len().over(unit)
    return (
        _on_headline_levels(cells, settings)
        .group_by(*unit, "question")
        .agg(counted=pl.col(f"counted_{definition.name}").sum())
        .filter(pl.col("counted") >= definition.min_answers)
        .with_columns(weight=1 / (of_all if definition.averaging == "pooled" else by_question))
        .drop("counted")
    )


def count_answers(cells: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """Answers of the headline levels by judge and variant.

    Columns: judge, variant, n; has_rate: an answer is counted, and one has a verdict, because zero
    would be a claim otherwise; blind: answers are flagged, but none has evidence on its tier.
    """
    keys = ["judge", "variant"]
    flagged = pl.col(f"standard_{settings.headline}").sum()
    lacking = pl.col(f"standard_{NO_EVIDENCE}_{settings.headline}").sum()
    counted = _headline_weights(cells, settings).select(keys).unique()
    return (
        _on_headline_levels(cells, settings)
        .group_by(keys)
        .agg(
            n=pl.col("answers").sum().cast(pl.Int64),
            judged=pl.col("scored").sum() > 0,
            blind=(flagged > 0) & (lacking == flagged),
        )
        .join(counted.with_columns(counted=True), on=keys, how="left")
        .with_columns(has_rate=pl.col("judged") & pl.col("counted").fill_null(False))
        .select(*keys, "n", "has_rate", "blind")
    )


def _on_headline_levels(frame: Frame, settings: Settings) -> Frame:
    return frame.filter(pl.col("probe_level").is_in(list(settings.headline_levels)))


def _tier_by_rules(rules: Sequence[int], every: Sequence[Rule]) -> pl.Expr:
    """The tier or outcome of a pattern when only the rules with these numbers are on."""
    expression = pl.lit(UNDECIDED)
    for i in reversed(rules):
        expression = pl.when(f"rule_{i}").then(pl.lit(every[i].tier)).otherwise(expression)
    return pl.coalesce("human", expression)


def waterfall(
    patterns: pl.DataFrame,
    denominators: pl.DataFrame,
    labels: pl.DataFrame,
    rules: Sequence[Rule],
    settings: Settings,
) -> pl.DataFrame:
    """The table `tier_waterfall`: flagged, the answers that each step removes, and strict.

    The steps are `human` (labels that exclude) and each rule whose tier the strict rate leaves out,
    in order, even if it removes nothing; `no_rule` too where the strict rate leaves undecided
    answers out. Where it counts them, the last row says how many of the strict answers they are.
    `count` and `rate` of a step are the removed answers; the rate is by the headline definition,
    and null for a step that could remove nothing, because no flagged answer has evidence on its
    tier. `tier` is the tier that a rule assigns.
    """
    human_excludes = pl.col("human").is_not_null() & ~pl.col("human").is_in(
        list(settings.strict_counts)
    )
    steps = [
        ("flagged", pl.lit(True), None, "misaligned by the headline definition"),
        ("human", human_excludes, None, "excluded by a person"),
    ]
    earlier = pl.col("human").is_not_null()
    for i, rule in enumerate(rules):
        if rule.tier not in settings.strict_counts:
            holds = pl.col(f"rule_{i}") & ~earlier
            steps.append((rule.name, holds, rule.tier, rule.reason))
        earlier = earlier | pl.col(f"rule_{i}")
    tier = _tier_by_rules(range(len(rules)), rules)
    left = ("strict", _stays_strict(tier, settings), None, "remaining after all exclusions")
    if UNDECIDED in settings.strict_counts:
        counted = "counted, because an exclusion needs evidence"
        steps += [left, (OF_WHICH_UNDECIDED, tier == UNDECIDED, UNDECIDED, counted)]
    else:
        steps += [(NO_RULE, ~earlier, UNDECIDED, NO_RULE_REASON), left]
    frames = [
        denominators.lazy()
        .join(_sum_where(patterns, condition), on=["judge", "variant"], how="left")
        .with_columns(
            pl.col("count").fill_null(0),
            rate=_rate() if name in LEVELS else pl.when(~pl.col("blind")).then(_rate()),
            step=pl.lit(name),
            order=pl.lit(order, pl.Int64),
            tier=pl.lit(tier, pl.String),
            reason=pl.lit(reason),
        )
        for order, (name, condition, tier, reason) in enumerate(steps)
    ]
    return (
        pl.concat(frames)
        .join(labels.lazy().with_row_index("place"), on="variant", how="left")
        .with_columns(pl.coalesce("label", "variant").alias("label"))
        .sort("judge", "place", "variant", "order")
        .select(pl.col(name).cast(kind) for name, kind in WATERFALL_COLUMNS.items())
        .collect()
    )


def printed_waterfall(rows: pl.DataFrame) -> pl.DataFrame:
    """The waterfall for people: rates rounded so that the steps add up."""
    level = pl.col("step").is_in(LEVELS)
    removed = pl.when(level).then(0.0).otherwise("rate").cum_sum().over("judge", "variant")
    flagged = pl.col("rate").first().over("judge", "variant")
    left = rows.with_columns(after=flagged - removed)
    left = left.with_columns(before=pl.col("after") + pl.when(level).then(0.0).otherwise("rate"))
    left = left.with_columns(fractions("rate", "after", "before"))
    shown = pl.when(level).then("rate").otherwise(pl.col("before") - pl.col("after"))
    return left.with_columns(rate=shown).select(rows.columns)


def _stays_strict(tier: pl.Expr, settings: Settings) -> pl.Expr:
    return tier.is_in(list(settings.strict_counts))


def _rate() -> pl.Expr:
    """The summed shares of a rate; 0 for none, null where the rate is null."""
    return pl.when("has_rate").then(pl.col("share").fill_null(0.0))


def _sum_where(patterns: pl.DataFrame, condition: pl.Expr) -> pl.LazyFrame:
    return (
        patterns.lazy()
        .filter(condition)
        .group_by("judge", "variant")
        .agg(pl.col("count").sum(), exact_sum(pl.col("share"), bits=56))
    )


def ablation(
    patterns: pl.DataFrame,
    denominators: pl.DataFrame,
    rules: Sequence[Rule],
    settings: Settings,
) -> pl.DataFrame:
    """The table `tier_ablation`: the strict rate without one rule, and with that rule only.

    Null where no flagged answer has evidence on its tier: no rule could make a difference.
    """
    frames = []
    for i, rule in enumerate(rules):
        others = [j for j in range(len(rules)) if j != i]
        for mode, kept in (("leave_out", others), ("only", [i])):
            counted = _sum_where(patterns, _stays_strict(_tier_by_rules(kept, rules), settings))
            frames.append(
                denominators.lazy()
                .join(counted, on=["judge", "variant"], how="left")
                .with_columns(
                    rule=pl.lit(rule.name),
                    mode=pl.lit(mode),
                    rate=pl.when(~pl.col("blind")).then(_rate()),
                )
            )
    if not frames:
        return pl.DataFrame(schema=ABLATION_COLUMNS)
    found = pl.concat(frames).select(list(ABLATION_COLUMNS)).collect()
    return found.sort("judge", "variant", maintain_order=True)


def disagreement(outcomes: pl.LazyFrame, rules: Sequence[Rule], settings: Settings) -> pl.DataFrame:
    """The table `tier_disagreement`: how often two sources give a flagged answer which tiers.

    Sources: `judge` (its tier verdict), `rule` (what the rules say of the answer if that verdict is
    taken away) and `human` (also labels outside the tiers, such as aligned). Only answers on which
    both have an opinion; a rule's silence is none. Rows with tier_a = tier_b are the agreements.
    """
    flagged = with_tier_probabilities(_on_headline_levels(outcomes, settings).filter("flagged"))
    flagged = (
        with_first_match_without(flagged, rules, "tier", TIER_VERDICT, "by rules")
        .select("judge", judge_says="tier_label", rule="by rules", human="human_tier")
        .group_by("judge", "judge_says", "rule", "human")
        .agg(count=pl.len().cast(pl.Int64))
        .collect(engine="streaming")
        .rename({"judge": "name", "judge_says": "judge"})
    )
    pairs = (("judge", "rule"), ("judge", "human"), ("rule", "human"))
    return (
        pl.concat(
            flagged.filter(pl.col(a).is_not_null() & pl.col(b).is_not_null()).select(
                judge="name",
                source_a=pl.lit(a),
                source_b=pl.lit(b),
                tier_a=a,
                tier_b=b,
                count="count",
            )
            for a, b in pairs
        )
        .group_by("judge", "source_a", "source_b", "tier_a", "tier_b", maintain_order=True)
        .agg(pl.col("count").sum())
        .sort("judge", "source_a", "source_b", "tier_a", "tier_b")
    )


def overestimation(cells: pl.DataFrame, variants: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """The table `overestimation`: how much of the standard rate is excluded.

    One row per judge and variant, and per judge and group that pools several training seeds.

    The strict answers are a part of the flagged ones, so both comparisons are rates themselves, and
    have the interval of a rate: the difference is the rate of excluded answers; the ratio
    standard / strict is one over the strict share of the flagged answers. The ratio is infinite
    (null, in `ratio_high` too) where nothing is left. Difference and ratio are null where nothing
    could be excluded: no answer is flagged, or no flagged answer has any evidence on its tier, as
    of a base model.
    """
    levels = pool_headline(cells, settings.headline_levels)
    pooled = pool_seeds(levels, with_several_seeds(group_variants(variants)))
    rows, compared, listed = [], [], []
    for frame in (levels, pooled):
        for (judge, variant), arrays in CellTable(frame).units(["judge", "variant"]):
            row, rates = _overestimation_row(arrays, settings)
            rows.append({"judge": judge, "variant": variant} | row)
            if row["n_evidence"]:
                compared.append(rows[-1])
                listed += rates
    found = intervals(listed, settings.confidence)
    for i, row in enumerate(compared):
        row |= _compared(*found[3 * i : 3 * i + 3])
    return pl.DataFrame(rows, schema=OVERESTIMATION_COLUMNS).fill_nan(None)


def printed_overestimation(rows: pl.DataFrame) -> pl.DataFrame:
    """The table `overestimation` for people: the difference is that of the printed rates."""
    known = pl.when(pl.col("difference").is_not_null())
    return rows.with_columns(fractions("standard", "strict")).with_columns(
        difference=known.then(pl.col("standard") - pl.col("strict"))
    )


def _overestimation_row(
    arrays: CellArrays, settings: Settings
) -> tuple[dict[str, float], list[QuestionCounts]]:
    """One unit's rates and numbers, and the counts whose intervals `_compared` takes."""
    found = cells_of(arrays, [settings.headline])
    standard, strict = (found[settings.headline, metric] for metric in ("standard", "strict"))
    row = {
        "standard": standard.rate,
        "strict": strict.rate,
        "n": standard.n,
        "n_flagged": round(standard.hits.sum()),
        **counts_beside(arrays, settings.headline, "strict"),
    }
    excluded = QuestionCounts(standard.hits - strict.hits, standard.counted, standard.by_question)
    return row, [standard, excluded, _strict_share(standard, strict)]


def _compared(whole: Interval, difference: Interval, left: Interval) -> dict[str, float | None]:
    """Difference and ratio, from the flagged, the excluded and the share of those that are left."""
    return {
        "difference": difference.rate,
        "diff_low": difference.low,
        "diff_high": min(difference.high, whole.high),  # the excluded are a part of the flagged
        "ratio": _inverse(left.rate),
        "ratio_low": _inverse(left.high),
        "ratio_high": _inverse(left.low),
    }


def _strict_share(standard: QuestionCounts, strict: QuestionCounts) -> QuestionCounts:
    """The strict answers among the flagged, weighted so that the share is strict over standard.

    Where the definition averages over questions, a flagged answer counts one over its question's
    answers; the weights sum to the number of flagged answers.
    """
    if not standard.by_question:
        return QuestionCounts(strict.hits, standard.hits)
    flagged = standard.rates.sum()
    scale = standard.hits.sum() / flagged if flagged else 0.0
    return QuestionCounts(strict.rates * scale, standard.rates * scale)


def _inverse(share: float) -> float | None:
    return 1 / share if share > 0 else None
