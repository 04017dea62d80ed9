"""The difference of two rates over the same questions: its interval and p-value, from one test.

The test rejects a difference if both of these do:

- sign flips over the questions (`em_tiers.statistics.sign_flips`), which are exact where questions
  differ symmetrically and say nothing about the noise of the answers within them;
- Newcombe's score test (1998, Statistics in Medicine 17, 2635-2650, method 10) on these very
  questions, with the answers' effective numbers (`em_tiers.statistics.these_questions`).

With several training seeds, Student's t test over the seeds' differences must reject it too. The
p-value is the largest of theirs; the bound that is nearer to zero inverts the same tests, so that
it excludes zero exactly if the p-value is at most 1 - confidence.

The other bound may be wider: questions that were not drawn can have larger differences than any
that were, and then differences are not symmetric. It is at least that of MOVER (Newcombe 1998; Zou
& Donner 2008, Statistics in Medicine 27, 1693-1702), which combines the intervals (l, u) of the two
rates p and q for questions like these:

    L = p - q - sqrt((p - l_p)^2 - 2 r (p - l_p)(u_q - q) + (u_q - q)^2)
    U = p - q + sqrt((u_p - p)^2 - 2 r (u_p - p)(q - l_q) + (q - l_q)^2)

with r the correlation of the two rates over the questions, never below 0 nor above 0.8 (a few
questions can correlate perfectly by chance, and the interval must keep its width). Where zero is
not excluded, the nearer bound too is at most as far away as MOVER's, if that is beyond zero.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.optimize import brentq

from em_tiers.statistics.design_effects import stacks
from em_tiers.statistics.intervals import METHOD, Interval, QuestionCounts, intervals, wilson
from em_tiers.statistics.sign_flips import flip_bounds, sign_flip
from em_tiers.statistics.these_questions import effective_answers

MOST_CORRELATED = 0.8


class Paired(NamedTuple):
    """A difference of rates with its interval and p-value."""

    difference: float
    low: float
    high: float
    p_value: float
    method: str
    rates: tuple[Interval, Interval]


def paired_difference(
    tested: QuestionCounts, reference: QuestionCounts, confidence: float = 0.95, seed: int = 0
) -> Paired | None:
    """`tested` minus `reference` over the questions that both answered; None if there are none.

    Columns are the same questions in both. `reference` may have one training seed or several.
    """
    both = (tested.counted.sum(axis=0) > 0) & (reference.counted.sum(axis=0) > 0)
    if not both.any():
        return None
    tested, reference = (
        QuestionCounts(c.hits[:, both], c.counted[:, both], c.by_question)
        for c in (tested, reference)
    )
    pair = tuple(intervals([tested, reference], confidence))
    difference = pair[0].rate - pair[1].rate
    parts = (tested.weights * tested.rates).sum(axis=0)
    parts = parts - (reference.weights * reference.rates).sum(axis=0)
    found = [
        (
            sign_flip(parts, seed),
            flip_bounds(parts, tested.weights.sum(axis=0), 1 - confidence, seed),
        ),
        _score_test(tested, reference, confidence),
    ]
    if tested.seeds > 1:
        found.append(_over_seeds(tested, reference, confidence))
    p_value = max(p for p, _ in found)
    low, high = min(b[0] for _, b in found), max(b[1] for _, b in found)
    wide = mover(*pair, correlation_of(_question_rates(tested), _question_rates(reference)))
    low, high = _with_mover(difference, low, high, wide)
    names = "sign flips and score test over questions" + (", t over seeds" * (tested.seeds > 1))
    method = f"{names}; far bound MOVER of {METHOD}"
    return Paired(difference, max(low, -1.0), min(high, 1.0), p_value, method, pair)


def _with_mover(
    difference: float, low: float, high: float, wide: tuple[float, float]
) -> tuple[float, float]:
    """Bounds of the tests, with MOVER's on the far side and where zero is not excluded."""
    near_low = low if low > 0 else max(low, min(wide[0], 0.0))
    near_high = high if high < 0 else min(high, max(wide[1], 0.0))
    far_low = min(low, wide[0]) if np.isfinite(low) else wide[0]
    far_high = max(high, wide[1]) if np.isfinite(high) else wide[1]
    if difference > 0:
        return near_low, far_high
    if difference < 0:
        return far_low, near_high
    return far_low, far_high


def mover(first: Interval, second: Interval, correlation: float) -> tuple[float, float]:
    """Bounds of `first.rate - second.rate` from the two intervals and their correlation."""
    return _mover(
        (first.rate, first.low, first.high), (second.rate, second.low, second.high), correlation
    )


def _mover(
    first: tuple[float, float, float], second: tuple[float, float, float], correlation: float
) -> tuple[float, float]:
    (p, l_p, u_p), (q, l_q, u_q) = first, second
    halves = [
        np.sqrt(max(a * a - 2 * correlation * a * b + b * b, 0.0))
        for a, b in ((p - l_p, u_q - q), (u_p - p, q - l_q))
    ]
    return max(p - q - halves[0], -1.0), min(p - q + halves[1], 1.0)


def correlation_of(first: Sequence[float], second: Sequence[float]) -> float:
    """Pearson's r of two rates over the questions, within [0, 0.8]; 0 where there is none."""
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.clip(np.corrcoef(first, second)[0, 1], 0, MOST_CORRELATED))


def _question_rates(cells: QuestionCounts) -> np.ndarray:
    """Each question's rate, its seeds pooled."""
    return cells.hits.sum(axis=0) / cells.counted.sum(axis=0)


def _score_test(
    tested: QuestionCounts, reference: QuestionCounts, confidence: float
) -> tuple[float, tuple[float, float]]:
    """P-value and bounds of Newcombe's score interval on these questions."""
    rates = tested.rate, reference.rate
    sizes = [effective_answers(stacks([c])[0][1])[0] for c in (tested, reference)]

    def bounds(level: float) -> tuple[float, float]:
        first, second = (
            (rate, *wilson(rate, n, level)) for rate, n in zip(rates, sizes, strict=True)
        )
        return _mover(first, second, 0.0)

    side = 0 if rates[0] > rates[1] else 1

    def beyond_zero(z: float) -> float:
        return bounds(1 - 2 * stats.norm.sf(z))[side] * (1 - 2 * side)

    if rates[0] == rates[1]:
        p_value = 1.0
    else:
        steepest = 8.0  # p = 1e-15, below which 1 - p is 1
        z = steepest if beyond_zero(steepest) > 0 else brentq(beyond_zero, 1e-9, steepest)
        p_value = float(2 * stats.norm.sf(z))
    return p_value, bounds(confidence)


def _over_seeds(
    tested: QuestionCounts, reference: QuestionCounts, confidence: float
) -> tuple[float, tuple[float, float]]:
    """P-value and bounds of Student's t test over the seeds' differences."""
    differences = np.array(
        [
            QuestionCounts(h, c, tested.by_question).rate - reference.rate
            for h, c in zip(tested.hits, tested.counted, strict=True)
            if c.sum()
        ]
    )
    mean = float(differences.mean())
    if np.ptp(differences) == 0:
        return (1.0 if mean == 0 else 0.0), (mean, mean)
    tested_mean = stats.ttest_1samp(differences, 0.0)
    bounds = tested_mean.confidence_interval(confidence)
    return float(tested_mean.pvalue), (float(bounds.low), float(bounds.high))
