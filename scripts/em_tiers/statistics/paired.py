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

from em_tiers.statistics.design_effects import Stack, stacks
from em_tiers.statistics.intervals import METHOD, Interval, QuestionCounts, intervals
from em_tiers.statistics.quantiles import normal_tail, normal_upper, student_tail, student_upper
from em_tiers.statistics.sign_flips import flip_test
from em_tiers.statistics.these_questions import effective_answers

MOST_CORRELATED = 0.8
AT_ONCE = 1024  # differences whose arrays are in memory together
STEEPEST = 8.0  # normal quantile of p = 1e-15
BISECTIONS = 60
Bounds = tuple[np.ndarray, np.ndarray]


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
    return paired_differences([(tested, reference)], confidence, seed)[0]


def paired_differences(
    pairs: Sequence[tuple[QuestionCounts, QuestionCounts]], confidence: float = 0.95, seed: int = 0
) -> list[Paired | None]:
    """`paired_difference` of each pair; those of one shape are computed together, for speed."""
    found: list[Paired | None] = [None] * len(pairs)
    groups: dict[tuple, list[tuple[int, tuple[QuestionCounts, QuestionCounts]]]] = {}
    for place, pair in enumerate(pairs):
        both = np.all([counts.counted.sum(axis=0) > 0 for counts in pair], axis=0)
        if both.any():
            kept = pair if both.all() else tuple(_of_questions(counts, both) for counts in pair)
            shapes = tuple(counts.hits.shape for counts in kept)
            groups.setdefault(shapes, []).append((place, kept))
    for group in groups.values():
        sides = zip(*(kept for _, kept in group), strict=True)
        rates = list(zip(*(intervals(list(side), confidence) for side in sides), strict=True))
        for start in range(0, len(group), AT_ONCE):
            chunk = slice(start, start + AT_ONCE)
            places, kept = zip(*group[chunk], strict=True)
            for place, one in zip(
                places, _of_one_shape(kept, rates[chunk], confidence, seed), strict=True
            ):
                found[place] = one
    return found


def _of_questions(counts: QuestionCounts, kept: np.ndarray) -> QuestionCounts:
    return QuestionCounts(counts.hits[:, kept], counts.counted[:, kept], counts.by_question)


def _of_one_shape(
    pairs: Sequence[tuple[QuestionCounts, QuestionCounts]],
    rates: Sequence[tuple[Interval, Interval]],
    confidence: float,
    seed: int,
) -> list[Paired]:
    tested, reference = (next(stacks(side))[1] for side in zip(*pairs, strict=True))
    parts, weights = _parts(tested) - _parts(reference), tested.weights.sum(axis=1)
    found = [
        flip_test(parts, weights, 1 - confidence, seed),
        _score_test(tested, reference, confidence),
    ]
    several = tested.seeds > 1
    if several.any():
        found.append(_over_seeds(tested, reference, confidence))
    p_value = np.max([p for p, _ in found], axis=0)
    low = np.min([bounds[0] for _, bounds in found], axis=0)
    high = np.max([bounds[1] for _, bounds in found], axis=0)
    correlation = correlation_of(_question_rates(tested), _question_rates(reference))
    wide = _mover(*(_with_bounds(side) for side in zip(*rates, strict=True)), correlation)
    difference = tested.rate - reference.rate
    low, high = _with_mover(difference, low, high, wide)
    return [
        Paired(
            rates[i][0].rate - rates[i][1].rate,
            max(float(low[i]), -1.0),
            min(float(high[i]), 1.0),
            float(p_value[i]),
            _method(bool(several[i])),
            rates[i],
        )
        for i in range(len(pairs))
    ]


def _method(several_seeds: bool) -> str:
    names = "sign flips and score test over questions" + (", t over seeds" * several_seeds)
    return f"{names}; far bound MOVER of {METHOD}"


def _parts(stack: Stack) -> np.ndarray:
    """What each question adds to the rate; shape (rates, questions)."""
    return (stack.weights * stack.cell_rates).sum(axis=1)


def _question_rates(stack: Stack) -> np.ndarray:
    """Each question's rate, its seeds pooled."""
    return stack.hits.sum(axis=1) / stack.counted.sum(axis=1)


def _with_mover(difference: np.ndarray, low: np.ndarray, high: np.ndarray, wide: Bounds) -> Bounds:
    """Bounds of the tests, with MOVER's on the far side and where zero is not excluded."""
    near_low = np.where(low > 0, low, np.maximum(low, np.minimum(wide[0], 0.0)))
    near_high = np.where(high < 0, high, np.minimum(high, np.maximum(wide[1], 0.0)))
    far_low = np.where(np.isfinite(low), np.minimum(low, wide[0]), wide[0])
    far_high = np.where(np.isfinite(high), np.maximum(high, wide[1]), wide[1])
    return np.where(difference > 0, near_low, far_low), np.where(
        difference < 0, near_high, far_high
    )


def mover(first: Interval, second: Interval, correlation: float) -> Bounds:
    """Bounds of `first.rate - second.rate` from the two intervals and their correlation."""
    return _mover(
        (first.rate, first.low, first.high), (second.rate, second.low, second.high), correlation
    )


def _with_bounds(listed: Sequence[Interval]) -> np.ndarray:
    return np.array([(one.rate, one.low, one.high) for one in listed]).T


def _mover(first: Sequence, second: Sequence, correlation: np.ndarray | float) -> Bounds:
    (p, l_p, u_p), (q, l_q, u_q) = first, second
    halves = [
        np.sqrt(np.maximum(a * a - 2 * correlation * a * b + b * b, 0.0))
        for a, b in ((p - l_p, u_q - q), (u_p - p, q - l_q))
    ]
    return np.maximum(p - q - halves[0], -1.0), np.minimum(p - q + halves[1], 1.0)


def correlation_of(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Pearson's r of two rates over the questions, within [0, 0.8]; 0 where there is none.

    Shapes: (..., questions).
    """
    first, second = np.asarray(first), np.asarray(second)
    flat = (np.ptp(first, axis=-1) == 0) | (np.ptp(second, axis=-1) == 0)
    a, b = (x - x.mean(axis=-1, keepdims=True) for x in (first, second))
    scale = np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))
    known = ~flat & (first.shape[-1] > 2)
    r = np.divide((a * b).sum(axis=-1), scale, out=np.zeros_like(scale), where=known)
    return np.clip(r, 0, MOST_CORRELATED)


def _score_test(tested: Stack, reference: Stack, confidence: float) -> tuple[np.ndarray, Bounds]:
    """P-values and bounds of Newcombe's score interval on these questions."""
    sides = [(stack.rate, effective_answers(stack)) for stack in (tested, reference)]
    higher = tested.rate > reference.rate

    def bounds(z: np.ndarray | float) -> Bounds:
        first, second = ((rate, *_wilson_at(rate, n, z)) for rate, n in sides)
        return _mover(first, second, 0.0)

    def excludes_zero(z: np.ndarray) -> np.ndarray:
        low, high = bounds(z)
        return np.where(higher, low > 0, high < 0)

    least, most = np.full(higher.shape, 1e-9), np.full(higher.shape, STEEPEST)
    steepest = excludes_zero(most)
    for _ in range(BISECTIONS):
        middle = (least + most) / 2
        beyond = excludes_zero(middle)
        least, most = np.where(beyond, middle, least), np.where(beyond, most, middle)
    z = np.where(steepest, STEEPEST, least)
    p_value = np.where(tested.rate == reference.rate, 1.0, 2 * normal_tail(z))
    return p_value, bounds(normal_upper((1 - confidence) / 2))


def _wilson_at(rate: np.ndarray, n: np.ndarray, z: np.ndarray | float) -> Bounds:
    """Wilson's interval with the normal quantile z."""
    centre = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2))
    return np.where(rate > 0, np.maximum(centre - half, 0), 0), np.minimum(centre + half, 1)


def _over_seeds(tested: Stack, reference: Stack, confidence: float) -> tuple[np.ndarray, Bounds]:
    """P-values and bounds of Student's t test over the seeds' differences.

    Without a second seed they reject everything, so that the other tests decide.
    """
    runs, seeds, questions = tested.hits.shape
    each = Stack(
        tested.hits.reshape(runs * seeds, 1, questions),
        tested.counted.reshape(runs * seeds, 1, questions),
        np.repeat(tested.by_question, seeds),
    )
    known = each.n.reshape(runs, seeds) > 0
    differences = np.where(known, each.rate.reshape(runs, seeds) - reference.rate[:, None], np.nan)
    mean, freedom = np.nanmean(differences, axis=1), known.sum(axis=1) - 1
    flat = (np.nanmax(differences, axis=1) == np.nanmin(differences, axis=1)) | (freedom < 1)
    k = np.maximum(freedom, 1)
    squares = np.nansum((differences - mean[:, None]) ** 2, axis=1)
    error = np.where(flat, 0.0, np.sqrt(squares / k / (k + 1)))
    with np.errstate(divide="ignore", invalid="ignore"):
        p_value = 2 * student_tail(np.abs(mean / np.where(flat, 1.0, error)), k)
    p_value = np.where(flat, np.where(mean == 0, 1.0, 0.0), p_value)
    half = student_upper((1 - confidence) / 2, k) * error
    single = freedom < 1
    p_value = np.where(single, 0.0, p_value)
    low, high = np.where(single, np.inf, mean - half), np.where(single, -np.inf, mean + half)
    return p_value, (low, high)
