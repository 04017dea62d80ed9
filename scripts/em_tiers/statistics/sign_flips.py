"""Sign flips over questions: a p-value, and the interval that inverts the same test.

Under the hypothesis that a difference is d, each question's difference u_q less its share d w_q may
as well have the other sign (Fisher's randomisation test; the wild bootstrap with Rademacher weights
and the null imposed). Exact up to `EXACT_QUESTIONS` questions, `DRAWS` draws of signs beyond.

With A the questions whose sign is flipped, the flipped sum is at least as extreme as the sum seen
if the mean of A or that of the other questions lies beyond d: the sorted means of subsets are the
bounds of all confidence levels (Hartigan 1969, J. Am. Stat. Assoc. 64, 1303-1317), so no search is
needed.
"""

from functools import lru_cache

import numpy as np

EXACT_QUESTIONS = 12
DRAWS = 10_000
TIE = 1e-12


def flip_test(
    differences: np.ndarray, weights: np.ndarray, level: float = 0.05, seed: int = 0
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """P-values that differences are zero, and the bounds of those not rejected at `level`.

    Args:
        differences: each question's part u of a difference, which is their sum; shape
            (..., questions).
        weights: each question's part w, summing to 1, of the same shape.

    Returns:
        Two-sided p-values; lower and upper bounds, infinite where there are too few questions to
        reject anything.
    """
    differences = np.asarray(differences, float)
    signs = _signs(differences.shape[-1], seed).T
    flipped, whole = differences @ signs, differences.sum(axis=-1)[..., None]
    as_extreme = (np.abs(flipped) >= np.abs(whole) - TIE).sum(axis=-1)
    p_value = _p_value(as_extreme, differences.shape[-1])
    p_value = np.where(np.any(differences, axis=-1), p_value, 1.0)
    allowed = _allowed(differences.shape[-1], level)
    if allowed < 0:
        return p_value, (np.full(p_value.shape, -np.inf), np.full(p_value.shape, np.inf))
    all_weights = np.sum(weights, axis=-1)[..., None]
    if weights.ndim > 1 and (weights == weights[:1]).all():  # one list of questions
        weights, all_weights = weights[:1], all_weights[:1]
    shares = (all_weights - weights @ signs) / 2
    # No question flipped, or all of them: as extreme as what was seen, whatever the difference is.
    trivial = (shares <= TIE) | (shares >= all_weights - TIE)
    inside = np.where(trivial, 0.0, 1 / np.where(trivial, 1.0, shares))
    others = np.where(trivial, 0.0, 1 / np.where(trivial, 1.0, all_weights - shares))
    mean = whole / all_weights
    # The sum of the flipped less what their share of the difference is: the mean of the flipped
    # differs from the whole by one part of it, that of the others by the other, oppositely.
    excess = (whole - flipped) / 2 - mean * shares
    below, above = (
        np.minimum(excess * inside, -excess * others),
        np.maximum(excess * inside, -excess * others),
    )
    infinite = np.where(trivial, -np.inf, 0.0)
    low = np.partition(below + infinite, allowed, axis=-1)[..., allowed]
    high = np.partition(infinite - above, allowed, axis=-1)[..., allowed]
    bounds = (mean[..., 0] + low, mean[..., 0] - high)
    # Differences that cancel leave a rest of rounding, which is not a bound beyond zero.
    return p_value, tuple(np.where(np.abs(bound) < TIE, 0.0, bound) for bound in bounds)


def _p_value(as_extreme: np.ndarray, questions: int) -> np.ndarray:
    if questions <= EXACT_QUESTIONS:
        return as_extreme / 2**questions
    return (as_extreme + 1) / (DRAWS + 1)


def _allowed(questions: int, level: float) -> int:
    """The most patterns as extreme as what was seen with which the p-value is at most `level`."""
    if questions <= EXACT_QUESTIONS:
        found = int(np.floor(level * 2**questions + TIE))
    else:
        found = int(np.floor(level * (DRAWS + 1) + TIE)) - 1
    return found if found > 0 else -1


@lru_cache(maxsize=64)
def _signs(questions: int, seed: int) -> np.ndarray:
    if questions <= EXACT_QUESTIONS:
        codes = np.arange(2**questions)[:, None] >> np.arange(questions)
        return 1.0 - 2.0 * (codes & 1)
    return np.random.default_rng(seed).choice([-1.0, 1.0], (DRAWS, questions))
