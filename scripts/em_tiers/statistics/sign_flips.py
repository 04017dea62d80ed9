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


def sign_flip(differences: np.ndarray, seed: int = 0) -> float:
    """Two-sided p-value that the mean of paired differences is zero."""
    differences = np.asarray(differences, float)
    if not np.any(differences):
        return 1.0
    flipped = np.abs(_signs(len(differences), seed) @ differences)
    as_extreme = int((flipped >= abs(differences.sum()) - TIE).sum())
    return _p_value(as_extreme, len(differences))


def flip_bounds(
    differences: np.ndarray, weights: np.ndarray, level: float = 0.05, seed: int = 0
) -> tuple[float, float]:
    """The differences that sign flips do not reject at `level`: those with a p-value above it.

    Args:
        differences: each question's part u of the difference, which is their sum.
        weights: each question's part w, summing to 1.

    Returns:
        Lower and upper bound; infinite where there are too few questions to reject anything.
    """
    flips = _signs(len(differences), seed) < 0
    sums, shares = flips @ differences, flips @ weights
    with np.errstate(divide="ignore", invalid="ignore"):
        inside = np.where(shares > TIE, sums / shares, np.nan)
        others = np.where(
            shares < 1 - TIE, (differences.sum() - sums) / (weights.sum() - shares), np.nan
        )
    # No question flipped, or all of them: as extreme as what was seen, whatever d is.
    whole = np.isnan(inside) | np.isnan(others)
    below = np.where(whole, -np.inf, np.fmin(inside, others))
    above = np.where(whole, np.inf, np.fmax(inside, others))
    allowed = _allowed(len(differences), level)
    if allowed < 0:
        return -np.inf, np.inf
    low, high = float(np.sort(below)[allowed]), -float(np.sort(-above)[allowed])
    # Differences that cancel leave a rest of rounding, which is not a bound beyond zero.
    return (0.0 if abs(low) < TIE else low), (0.0 if abs(high) < TIE else high)


def _p_value(as_extreme: int, questions: int) -> float:
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
