"""Human labels against the judges, and the rates that they correct.

The sheet is a stratified sample: within a stratum of the judge that it was drawn by, every answer
was as likely to be drawn as every other. So a label represents the answers of its stratum over the
labels there, whichever judge it is compared with. Labels of answers that people chose themselves
(an export of the sample browser) are not a sample: they decide tiers and give agreement, but no
rates.

`true_positive_rate` is the share of truly misaligned answers that the judge flags,
`false_positive_rate` that of the others. Both, and all agreement, are over the answers on which
both sides gave a verdict: an answer without a score is not a vote for "not misaligned". The others
are counted as `missing`.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import polars as pl

from em_tiers.statistics.agreement_measures import cohen_kappa, percent_agreement
from em_tiers.statistics.intervals import QuestionCounts, interval
from em_tiers.statistics.ppi import correct
from em_tiers.statistics.rates import Settings
from em_tiers.tables import HAS_VERDICT, QUESTION
from em_tiers.terms import TIERS, UNDECIDED, WITHOUT_VERDICT
from em_tiers.tiers.label_sheet import LABELS, STRATUM, settle, with_strata
from em_tiers.tiers.rules import Rule, first_match, with_tier_probabilities

LABEL_AGREEMENT_COLUMNS = {
    "source_a": pl.String,
    "source_b": pl.String,
    "quantity": pl.String,
    "percent": pl.Float64,
    "kappa": pl.Float64,
    "n": pl.Int64,
    "missing": pl.Int64,
}
JUDGE_QUALITY_COLUMNS = {
    "judge": pl.String,
    "statistic": pl.String,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "n": pl.Int64,
    "missing": pl.Int64,
}
CORRECTED_COLUMNS = {
    "variant": pl.String,
    "judge": pl.String,
    "metric": pl.String,
    "judge_rate": pl.Float64,
    "corrected": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "labels_only": pl.Float64,
    "labels_low": pl.Float64,
    "labels_high": pl.Float64,
    "weight": pl.Float64,
    "n": pl.Int64,
    "n_labelled": pl.Int64,
    "clusters": pl.Int64,
    "warning": pl.String,
}
FEW_LABELS = 30


def weigh_labels(
    outcomes: pl.LazyFrame, labels: pl.DataFrame, judge: str, levels: Sequence[str]
) -> pl.DataFrame:
    """The answers that the sheet was drawn from, with their labels and weights.

    Args:
        outcomes: all judges' outcomes.
        judge: the one whose verdicts made the strata.
        levels: the probe levels that the sheet was drawn from.

    Returns:
        response_key, stratum (a number within its variant), human (the settled label or null) and
        stands_for (answers of the stratum over its labels; null where it has none).
    """
    drawn_from = outcomes.filter(
        (pl.col("judge") == judge) & pl.col("probe_level").is_in(list(levels))
    )
    settled = settle(labels).lazy().rename({"tier": "human"})
    answers = pl.len().over(STRATUM)
    given = pl.col("human").count().over(STRATUM)
    return (
        with_strata(drawn_from)
        .join(settled, on="response_key", how="left")
        .select(
            "response_key",
            "human",
            stratum=pl.col("stratum").rank("dense").over("variant").cast(pl.Int64) - 1,
            stands_for=pl.when(given > 0).then(answers / given),
        )
        .collect(engine="streaming")
    )


def correct_rates(
    outcomes: pl.LazyFrame, weighed: pl.DataFrame, rules: Sequence[Rule], settings: Settings
) -> pl.DataFrame:
    """The table `corrected`: each variant and judge with at least two labelled answers.

    Over the headline levels, for the metrics standard (a person gave any tier) and strict (a person
    gave one of the tiers that the strict rate counts). Every answer counts, as in D1. The judge's
    side of the strict rate is what its verdicts and the rules say, also where a person decided: an
    answer must not be corrected by the label that it already has.

    Args:
        weighed: the result of `weigh_labels`.
    """
    excluded = [tier for tier in TIERS if tier not in settings.strict_counts]
    by_rules = first_match(rules, "tier", pl.lit(UNDECIDED))
    answers = (
        with_tier_probabilities(outcomes)
        .join(weighed.lazy(), on="response_key")
        .select(
            "judge",
            "variant",
            "human",
            "stratum",
            "stands_for",
            QUESTION,
            judged=HAS_VERDICT,
            standard=pl.col("flagged"),
            strict=pl.col("flagged") & ~by_rules.is_in(excluded),
        )
        .collect(engine="streaming")
    )
    truths = {"standard": TIERS, "strict": tuple(settings.strict_counts)}
    rows = []
    for (judge, variant), frame in answers.group_by("judge", "variant", maintain_order=True):
        if frame["human"].count() >= 2:
            rows += _corrected_rows(judge, variant, frame, truths, settings)
    found = pl.DataFrame(rows, schema=CORRECTED_COLUMNS)
    return found.sort("judge", "variant", "metric")


def _corrected_rows(
    judge: str, variant: str, frame: pl.DataFrame, truths: dict, settings: Settings
) -> list[dict]:
    question = frame["question"].rank("dense").to_numpy().astype(int) - 1
    rows = []
    for metric, tiers in truths.items():
        human = frame["human"].is_in(tiers).cast(pl.Float64).to_numpy().copy()
        human[frame["human"].is_null().to_numpy()] = np.nan
        judged = frame[metric].cast(pl.Float64).to_numpy()
        found = correct(
            judged,
            question,
            human,
            frame["stands_for"].fill_null(0).to_numpy(),
            frame["stratum"].to_numpy(),
            settings.confidence,
        )
        rows.append(
            {
                "variant": variant,
                "judge": judge,
                "metric": metric,
                "judge_rate": float(judged.mean()) if frame["judged"].any() else None,
                "corrected": found.rate,
                "low": found.low,
                "high": found.high,
                "labels_only": found.labels_only,
                "labels_low": found.labels_low,
                "labels_high": found.labels_high,
                "weight": found.tuning,
                "n": len(judged),
                "n_labelled": int(np.isfinite(human).sum()),
                "clusters": found.clusters,
                "warning": _label_warning(frame),
            }
        )
    return rows


def _label_warning(frame: pl.DataFrame) -> str | None:
    """A warning about a corrected rate: few labels, or strata without any."""
    labels, unseen = frame["human"].count(), frame["stands_for"].null_count()
    warnings = []
    if labels < FEW_LABELS:
        warnings.append(f"only {labels} labels")
    if unseen:
        warnings.append(
            f"{unseen} of {len(frame)} answers are in strata without a label and are assumed "
            "to be like the others; label more answers"
        )
    return "; ".join(warnings) or None


def judge_quality(
    outcomes: pl.LazyFrame, weighed: pl.DataFrame, settings: Settings
) -> pl.DataFrame:
    """The table `judge_quality`: true and false positive rate of each judge, by people.

    Weighted by the answers that each label represents; the interval clusters by question.

    Args:
        weighed: the result of `weigh_labels`.
    """
    frame = (
        outcomes.join(weighed.lazy().filter(pl.col("human").is_not_null()), on="response_key")
        .filter(~pl.col("human").is_in(WITHOUT_VERDICT))
        .select(
            "judge",
            "flagged",
            weight="stands_for",
            question=QUESTION,
            judged=HAS_VERDICT,
            bad=pl.col("human").is_in(TIERS),
        )
        .collect()
    )
    rows = []
    for (judge,), own in frame.group_by("judge", maintain_order=True):
        for statistic, bad in (("true_positive_rate", True), ("false_positive_rate", False)):
            labelled = own.filter(pl.col("bad") == bad)
            part = labelled.filter("judged")
            named = {"judge": judge, "statistic": statistic, "n": len(part)}
            named["missing"] = len(labelled) - len(part)
            if part.is_empty():
                rows += [named] if len(labelled) else []
                continue
            # Kish's effective number: unequal weights carry less information than equal ones.
            weight = part["weight"]
            effective = weight.sum() ** 2 / (weight**2).sum()
            scaled = pl.col("weight") * (effective / weight.sum())
            cells = part.group_by("question", maintain_order=True).agg(
                hits=(scaled * pl.col("flagged")).sum(), counted=scaled.sum()
            )
            found = interval(
                QuestionCounts(cells["hits"].to_numpy(), cells["counted"].to_numpy()),
                settings.confidence,
            )
            rows.append(named | {"value": found.rate, "low": found.low, "high": found.high})
    found = pl.DataFrame(rows, schema=JUDGE_QUALITY_COLUMNS)
    return found.sort("judge", "statistic", descending=[False, True])


def label_agreement(outcomes: pl.LazyFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """The table `label_agreement`: people with themselves, with each other, and with the judges.

    `misaligned` is any tier against none; `tier` the label itself. A judge's label is its outcome,
    and of a flagged answer its tier verdict, if it gave one.
    """
    labels = labels.with_columns(**_opinion_of_a_person("tier"))
    first = labels.filter(pl.col("copy") == 0)
    people = labels["labeller"].unique().sort().to_list()
    judges = outcomes.select(pl.col("judge").unique().sort()).collect()["judge"].to_list()
    rows = []
    for person in people:
        own = labels.filter(pl.col("labeller") == person)
        once, again = (own.filter(pl.col("copy") == copy) for copy in (0, 1))
        twice = once.join(again, on="response_key")
        rows += _agreement_rows(person or "labeller", f"{person or 'labeller'} again", twice)
    for a, b in combinations(people, 2):
        pair = first.filter(pl.col("labeller") == a).join(
            first.filter(pl.col("labeller") == b), on="response_key"
        )
        rows += _agreement_rows(a, b, pair)
    settled = settle(labels.select("response_key", "copy", "labeller", "tier"))
    settled = settled.lazy().select("response_key", human="tier")
    for judge in judges:
        verdicts = (
            outcomes.filter(pl.col("judge") == judge)
            .join(settled, on="response_key")
            .select(
                **_opinion_of_a_person("human"),
                label_right=pl.when("flagged")
                .then("tier_label")
                .otherwise(pl.when(HAS_VERDICT).then("outcome")),
                misaligned_right=pl.when(HAS_VERDICT).then("flagged"),
            )
            .collect()
        )
        rows += _agreement_rows("people", judge, verdicts)
    return pl.DataFrame(rows, schema=LABEL_AGREEMENT_COLUMNS)


def _opinion_of_a_person(column: str) -> dict[str, pl.Expr]:
    """The columns label and misaligned; null where the label says that nothing can be said."""
    opinion = ~pl.col(column).is_in(WITHOUT_VERDICT)
    return {
        "label": pl.when(opinion).then(column),
        "misaligned": pl.when(opinion).then(pl.col(column).is_in(TIERS)),
    }


def _agreement_rows(a: str, b: str, pair: pl.DataFrame) -> list[dict]:
    if pair.is_empty():
        return []
    rows = []
    for quantity, column, values in (
        ("tier", "label", LABELS),
        ("misaligned", "misaligned", (False, True)),
    ):
        both = pair.select(column, f"{column}_right").drop_nulls()
        numbers = {value: i for i, value in enumerate(values)}
        first, second = (both[name].replace_strict(numbers).to_numpy() for name in both.columns)
        table = _contingency_table(first, second, len(values))
        row = {"source_a": a, "source_b": b, "quantity": quantity}
        row |= {"n": len(both), "missing": len(pair) - len(both)}
        if len(both):
            kappa = float(cohen_kappa(table))
            row["kappa"] = None if np.isnan(kappa) else kappa
            row["percent"] = float(percent_agreement(table))
        rows.append(row)
    return rows


def _contingency_table(first: np.ndarray, second: np.ndarray, size: int) -> np.ndarray:
    table = np.zeros((size, size))
    np.add.at(table, (first, second), 1.0)
    return table
