"""What human labels say about the judges and the rates.

The corrected rate is that of prediction-powered inference (Angelopoulos et al. 2023, Science 382,
669-674; with the tuning weight lambda of Angelopoulos, Duchi & Zrnic 2023, arXiv 2311.01453):

    rate = lambda * mean of the judge over all answers
           + mean over the labelled answers of (human - lambda * judge)

The labelled answers are a stratified sample, so each counts with the number of answers that it
stands for. It is unbiased whatever the judge's bias, and the closer the judge is to people, the
narrower its interval. Departure from the published interval: answers to one question are one
cluster. The variance is the sum over questions of their squared linearised parts (k / (k - 1), t
with k - 1 degrees of freedom), and not below that of independent answers; lambda minimises the
latter, within [0, 1].

`positive` is the share of truly misaligned answers that the judge flags (true positive rate),
`false_positive` that of the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import polars as pl
from scipy import stats

from em_tiers.agreement import cohen_kappa, percent_agreement
from em_tiers.contracts import TIERS
from em_tiers.intervals import Cells, interval, korn_graubard
from em_tiers.label_sheet import LABELS, STRATUM, settle, with_strata
from em_tiers.summary import Settings, still_counted

LABEL_AGREEMENT_COLUMNS = {
    "source_a": pl.String,
    "source_b": pl.String,
    "quantity": pl.String,
    "percent": pl.Float64,
    "kappa": pl.Float64,
    "n": pl.Int64,
}
JUDGE_QUALITY_COLUMNS = {
    "judge": pl.String,
    "statistic": pl.String,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "n": pl.Int64,
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
}


@dataclass(frozen=True)
class Corrected:
    """A corrected rate with its interval, and the rate of the labels alone."""

    rate: float
    low: float
    high: float
    labels_only: float
    labels_low: float
    labels_high: float
    tuning: float
    clusters: int


def correct(
    judged: np.ndarray,
    question: np.ndarray,
    human: np.ndarray,
    stands_for: np.ndarray,
    confidence: float = 0.95,
) -> Corrected:
    """Correct one variant's rate.

    Args:
        judged: the judge's 0/1 (or probability) of every answer; shape (answers,).
        question: number of each answer's question, from 0.
        human: the people's 0/1, NaN where there is no label.
        stands_for: answers that a labelled one stands for; 0 where there is no label.
    """
    labelled = np.isfinite(human)
    truth = np.where(labelled, np.nan_to_num(human), 0.0)
    weights = np.where(labelled, stands_for, 0.0)
    tuning = tune(judged, truth, weights)
    powered = _estimate(judged, question, truth, weights, tuning, confidence)
    alone = _estimate(judged, question, truth, weights, 0.0, confidence)
    return Corrected(*powered, *alone, tuning, len(np.unique(question)))


def tune(judged: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> float:
    """The lambda in [0, 1] of least variance: cov(human, judge) / ((1 + n / N) var(judge))."""
    share = weights / weights.sum()
    mean_truth, mean_judged = (share * truth).sum(), (share * judged).sum()
    covariance = (share * (truth - mean_truth) * (judged - mean_judged)).sum()
    variance = judged.var()
    if variance == 0:
        return 0.0
    effective = 1 / (share**2).sum()  # Kish's effective number of labels
    return float(np.clip(covariance / ((1 + effective / len(judged)) * variance), 0, 1))


def _estimate(
    judged: np.ndarray,
    question: np.ndarray,
    truth: np.ndarray,
    weights: np.ndarray,
    tuning: float,
    confidence: float,
) -> tuple[float, float, float]:
    """Rate, lower and upper bound; the difference to the judge is the weighted labels' mean."""
    share = weights / weights.sum()
    everything = tuning * (judged - judged.mean()) / len(judged)
    residual = truth - tuning * judged
    correction = (share * residual).sum()
    rate = tuning * judged.mean() + correction
    parts = everything + share * (residual - correction)
    sums = np.bincount(question, weights=parts)[np.unique(question)]
    clusters = len(sums)
    independent = (everything**2).sum() + ((share * (residual - correction)) ** 2).sum()
    between = clusters / (clusters - 1) * (sums**2).sum() if clusters > 1 else np.inf
    spread = np.sqrt(max(between, independent))
    half = stats.t.isf((1 - confidence) / 2, max(clusters - 1, 1)) * spread
    if not np.isfinite(half):
        return float(rate), 0.0, 1.0
    if half == 0:  # every label and every verdict agree: what so many labels can exclude
        effective = 1 / (share**2).sum()
        low, high = korn_graubard(np.clip(rate, 0, 1), effective, 1.0, np.inf, 1.0, confidence)
        return float(rate), float(low), float(high)
    return float(rate), float(max(rate - half, 0)), float(min(rate + half, 1))


def correct_rates(outcomes: pl.LazyFrame, labels: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """The table `corrected`: each variant and judge with at least two labelled answers.

    Over the headline levels, for the metrics standard (a person gave any tier) and strict (a person
    gave one of the tiers that the strict rate counts). Every answer counts, as in D1.
    """
    settled = settle(labels).rename({"tier": "human"})
    headline = outcomes.filter(pl.col("probe_level").is_in(list(settings.headline_levels)))
    answers = (
        with_strata(headline)
        .join(settled.lazy(), on="response_key", how="left")
        .select(
            "judge",
            *STRATUM,
            "human",
            pl.concat_str("question_set", "question_id", separator="/").alias("question"),
            standard=pl.col("flagged"),
            # The rules alone: an answer must not be corrected by the label that it already has.
            strict=pl.col("flagged") & _without_people(settings.strict_counts),
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


def _without_people(strict_counts: Sequence[str]) -> pl.Expr:
    """Whether the strict rate counts a flagged answer; one that a person labelled counts by what
    the judge's own tier verdict says."""
    own = ~pl.col("tier_label").fill_null("undecided").is_in(
        [tier for tier in TIERS if tier not in strict_counts]
    )
    by_person = pl.col("assigned_by") == "human"
    return pl.when(by_person).then(own).otherwise(still_counted(strict_counts))


def _corrected_rows(
    judge: str, variant: str, frame: pl.DataFrame, truths: dict, settings: Settings
) -> list[dict]:
    stands_for = _stands_for(frame)
    question = frame["question"].rank("dense").to_numpy().astype(int) - 1
    rows = []
    for metric, tiers in truths.items():
        human = frame["human"].is_in(tiers).cast(pl.Float64).to_numpy().copy()
        human[frame["human"].is_null().to_numpy()] = np.nan
        judged = frame[metric].cast(pl.Float64).to_numpy()
        found = correct(judged, question, human, stands_for, settings.confidence)
        rows.append(
            {
                "variant": variant,
                "judge": judge,
                "metric": metric,
                "judge_rate": float(judged.mean()),
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
            }
        )
    return rows


def _stands_for(frame: pl.DataFrame) -> np.ndarray:
    """Answers of its stratum over its labels; a stratum without a label is shared out evenly."""
    by_stratum = frame.select(
        answers=pl.len().over(STRATUM), labels=pl.col("human").count().over(STRATUM)
    )
    answers, labels = by_stratum["answers"].to_numpy(), by_stratum["labels"].to_numpy()
    return np.where(labels > 0, answers / np.maximum(labels, 1), 0.0)


def judge_quality(outcomes: pl.LazyFrame, labels: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """The table `judge_quality`: true and false positive rate of each judge, by people.

    Weighted by what each label stands for, with the interval of a rate whose clusters are the
    questions.
    """
    settled = settle(labels).rename({"tier": "human"})
    stratum = ["judge", *STRATUM]
    frame = (
        with_strata(outcomes)
        .join(settled.lazy(), on="response_key", how="left")
        .with_columns(weight=pl.len().over(stratum) / pl.col("human").count().over(stratum))
        .filter(pl.col("human").is_not_null())
        .select(
            "judge",
            "flagged",
            "weight",
            question=pl.concat_str("question_set", "question_id", separator="/"),
            bad=pl.col("human").is_in(TIERS),
        )
        .collect()
    )
    rows = []
    for (judge,), own in frame.group_by("judge", maintain_order=True):
        for statistic, bad in (("true_positive_rate", True), ("false_positive_rate", False)):
            part = own.filter(pl.col("bad") == bad)
            if part.is_empty():
                continue
            scaled = pl.col("weight") * (len(part) / part["weight"].sum())
            cells = part.group_by("question").agg(
                hits=(scaled * pl.col("flagged")).sum(), counted=scaled.sum()
            )
            found = interval(
                Cells(cells["hits"].to_numpy(), cells["counted"].to_numpy()),
                confidence=settings.confidence,
            )
            rows.append(
                {
                    "judge": judge,
                    "statistic": statistic,
                    "value": found.rate,
                    "low": found.low,
                    "high": found.high,
                    "n": len(part),
                }
            )
    return pl.DataFrame(rows, schema=JUDGE_QUALITY_COLUMNS).sort("judge", "statistic")


def label_agreement(outcomes: pl.LazyFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """The table `label_agreement`: people with themselves, with each other, and with the judges.

    `misaligned` is any tier against none; `tier` the label itself (for a judge: its outcome).
    """
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
    settled = settle(labels)
    for judge in judges:
        verdicts = (
            outcomes.filter(pl.col("judge") == judge)
            .join(settled.lazy().rename({"tier": "human"}), on="response_key")
            .select(
                tier="human",
                tier_right=pl.when("flagged")
                .then(pl.col("tier_label").fill_null("undecided"))
                .when(pl.col("assigned_by") == "human")
                .then(pl.lit("aligned"))
                .otherwise("outcome"),
            )
            .collect()
        )
        rows += _agreement_rows("people", judge, verdicts)
    return pl.DataFrame(rows, schema=LABEL_AGREEMENT_COLUMNS)


def _agreement_rows(a: str, b: str, pair: pl.DataFrame) -> list[dict]:
    if pair.is_empty():
        return []
    numbers = {name: i for i, name in enumerate(LABELS)}
    first, second = (
        pair[name].replace_strict(numbers).to_numpy() for name in ("tier", "tier_right")
    )
    tables = {"tier": _table(first, second, len(LABELS))}
    bad = len(TIERS)
    tables["misaligned"] = _table((first < bad).astype(int), (second < bad).astype(int), 2)
    return [
        {
            "source_a": a,
            "source_b": b,
            "quantity": quantity,
            "percent": float(percent_agreement(table)),
            "kappa": None if np.isnan(kappa := float(cohen_kappa(table))) else kappa,
            "n": len(pair),
        }
        for quantity, table in tables.items()
    ]


def _table(first: np.ndarray, second: np.ndarray, size: int) -> np.ndarray:
    table = np.zeros((size, size))
    np.add.at(table, (first, second), 1.0)
    return table
