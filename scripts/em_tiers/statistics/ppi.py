"""A rate corrected by human labels, with an interval that holds at low rates too.

The point estimate is that of prediction-powered inference (Angelopoulos et al. 2023, Science 382,
669-674; with the tuning weight lambda of Angelopoulos, Duchi & Zrnic 2023, arXiv 2311.01453):

    rate = lambda * mean of the judge over all answers
           + mean over the labelled answers of (human - lambda * judge)

The labelled answers are a stratified sample, so each counts with the number of answers that it
represents. It is unbiased whatever the judge's bias. lambda minimises the variance, within [0, 1].

The published interval is normal and takes answers as independent. Both fail here: a rate of 1 % in
8 questions has few misaligned answers, in few questions. Departure: each question adds the part

    c_q = lambda * flags of its answers / N + sum over its labels of W / n (human - lambda * judge)

to the rate (N answers; n labels in a stratum with a share W of the answers), and the variance is
that of these parts between questions, as in `em_tiers.statistics.intervals`. Questions' own rates
would not do: false positives in every question hide how much people's labels differ between
questions. It is at least

    v = p (1 - p) / N  +  sum over strata of W^2 s^2 / n (1 - n / answers of the stratum)

with s^2 the variance of human - lambda * judge within a stratum; where people agree on all n labels
of a stratum, that of (x + 1/2) / (n + 1) of n, because n labels without a hit do not make a zero.
The bounds are those of Clopper & Pearson with the effective number of answers p (1 - p) / v.

The interval of the labels alone knows the weights, not the judge: its variance is that of the
weighted labels by question, no stratum taken out.
"""

from dataclasses import dataclass

import numpy as np

from em_tiers.statistics.design_effects import (
    design_effects,
    question_effects,
    question_freedom,
    stacks,
)
from em_tiers.statistics.intervals import QuestionCounts, korn_graubard


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


@dataclass(frozen=True)
class Labels:
    """The labelled answers of one variant.

    Attributes:
        human: the people's 0/1; shape (labels,), as all of these.
        judged: the judge's 0/1 on the same answers.
        question: number of the answer's question.
        stratum: number of the answer's stratum.
        share: share of all answers that a label represents; sums to one.
        sampled: share of the answers of its stratum that are labelled.
    """

    human: np.ndarray
    judged: np.ndarray
    question: np.ndarray
    stratum: np.ndarray
    share: np.ndarray
    sampled: np.ndarray


def correct(
    judged: np.ndarray,
    question: np.ndarray,
    human: np.ndarray,
    stands_for: np.ndarray,
    stratum: np.ndarray,
    confidence: float = 0.95,
) -> Corrected:
    """Correct one variant's rate.

    Args:
        judged: the judge's 0/1 of every answer; shape (answers,), as the others.
        question: number of each answer's question, from 0.
        human: the people's 0/1; NaN without a label.
        stands_for: answers that a labelled one represents, itself included.
        stratum: number of each answer's stratum, from 0.
    """
    is_labelled = np.isfinite(human)
    weights = stands_for[is_labelled]
    labels = Labels(
        human[is_labelled],
        judged[is_labelled],
        question[is_labelled],
        stratum[is_labelled],
        weights / weights.sum(),
        1 / weights,
    )
    tuning = tune(judged, labels)
    alone = float((labels.share * labels.human).sum())
    rate = tuning * judged.mean() + float(
        (labels.share * (labels.human - tuning * labels.judged)).sum()
    )
    rate = float(np.clip(rate, 0, 1))
    return Corrected(
        rate,
        *_powered_bounds(rate, judged, question, labels, tuning, confidence),
        alone,
        *_labels_bounds(alone, labels, confidence),
        tuning,
        len(np.unique(question)),
    )


def tune(judged: np.ndarray, labels: Labels) -> float:
    """The lambda in [0, 1] of least variance: cov(human, judge) / ((1 + n / N) var(judge))."""
    share, human, own = labels.share, labels.human, labels.judged
    covariance = (share * (human - (share * human).sum()) * (own - (share * own).sum())).sum()
    variance = judged.var()
    if variance == 0:
        return 0.0
    effective = 1 / (share**2).sum()  # Kish's effective number of labels
    return float(np.clip(covariance / ((1 + effective / len(judged)) * variance), 0, 1))


def _powered_bounds(
    rate: float,
    judged: np.ndarray,
    question: np.ndarray,
    labels: Labels,
    tuning: float,
    confidence: float,
) -> tuple[float, float]:
    n = len(judged)
    counted = np.bincount(question).astype(float)
    residual = labels.share * (labels.human - tuning * labels.judged)
    parts = tuning * np.bincount(question, judged, len(counted)) / n
    parts = parts + np.bincount(labels.question, residual, len(counted))
    hits = np.clip(parts * n, 0, counted)
    deviations = parts - rate * counted / n
    naive = np.array([rate * (1 - rate) / n])
    effect, assumed = question_effects(hits[None], counted[None], deviations[None], naive)
    by_labels = n * _open_by_labels(rate, labels, labels.human - tuning * labels.judged)
    effect = np.maximum(effect, 1 + by_labels)
    freedom = question_freedom(effect, np.count_nonzero(counted))
    low, high = (b[0] for b in korn_graubard(rate, n, effect, freedom, assumed, confidence))
    return float(low), float(high)


def _labels_bounds(rate: float, labels: Labels, confidence: float) -> tuple[float, float]:
    n, naive = len(labels.human), rate * (1 - rate) / len(labels.human)
    counted = np.bincount(labels.question, labels.share * n)
    hits = np.bincount(labels.question, labels.share * n * labels.human)
    _, stack = next(stacks([QuestionCounts(hits, counted)]))
    effect, freedom, assumed = (part[0] for part in design_effects(stack))
    if naive > 0:
        independent = ((labels.share * (labels.human - rate)) ** 2).sum() / naive
        effect = max(effect, independent)
    effect = max(effect, n * _open_by_labels(rate, labels, labels.human))
    low, high = korn_graubard(rate, n, effect, freedom, assumed, confidence)
    return float(low), float(high)


def _open_by_labels(rate: float, labels: Labels, residual: np.ndarray) -> float:
    """The labels' part of v / (p (1 - p)), which is one over an effective number of answers.

    Like v, p is bounded from below by the misaligned answers that the strata could hide.
    """
    _, places, sizes = np.unique(labels.stratum, return_inverse=True, return_counts=True)
    share, ones = (np.bincount(places, part) for part in (labels.share, labels.human))
    unlabelled = 1 - np.bincount(places, labels.sampled) / sizes
    means = np.bincount(places, residual) / sizes
    spread = np.bincount(places, (residual - means[places]) ** 2) / np.maximum(sizes - 1, 1)
    half = (ones + 0.5) / (sizes + 1)
    agreed = (ones == 0) | (ones == sizes)
    spread = np.where(agreed, np.maximum(spread, half * (1 - half)), spread)
    smoothed = (share * np.where(agreed, half, ones / sizes)).sum()
    p = np.clip(rate, min(smoothed, 0.5), max(smoothed, 0.5))
    return float((share**2 * spread / sizes * unlabelled).sum() / (p * (1 - p)))
