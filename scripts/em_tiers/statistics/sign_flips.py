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


def sign_flip(differences: np.ndarray, seed: int = 0) -> np.ndarray:
    """Two-sided p-values that means of paired differences are zero; shape (..., questions)."""
    differences = np.asarray(differences, float)
    flipped = np.abs(differences @ _signs(differences.shape[-1], seed).T)
    seen = np.abs(differences.sum(axis=-1))
    as_extreme = (flipped >= seen[..., None] - TIE).sum(axis=-1)
    p_value = _p_value(as_extreme, differences.shape[-1])
    return np.where(np.any(differences, axis=-1), p_value, 1.0)


def flip_bounds(
    differences: np.ndarray, weights: np.ndarray, level: float = 0.05, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The differences that sign flips do not reject at `level`: those with a p-value above it.

    Args:
        differences: each question's part u of a difference, which is their sum; shape
            (..., questions).
        weights: each question's part w, summing to 1, of the same shape.

    Returns:
        Lower and upper bounds; infinite where there are too few questions to reject anything.
    """
    signs = _signs(differences.shape[-1], seed).T
    whole = np.sum(differences, axis=-1)[..., None]
    all_weights = np.sum(weights, axis=-1)[..., None]
    sums, shares = (whole - differences @ signs) / 2, (all_weights - weights @ signs) / 2
    allowed = _allowed(differences.shape[-1], level)
    if allowed < 0:
        return np.full(whole.shape[:-1], -np.inf), np.full(whole.shape[:-1], np.inf)
    # No question flipped, or all of them: as extreme as what was seen, whatever the difference is.
    trivial = (shares <= TIE) | (shares >= all_weights - TIE)
    with np.errstate(divide="ignore", invalid="ignore"):
        inside, others = sums / shares, (whole - sums) / (all_weights - shares)
    below = np.where(trivial, -np.inf, np.minimum(inside, others))
    above = np.where(trivial, -np.inf, -np.maximum(inside, others))
    low, high = (np.partition(part, allowed, axis=-1)[..., allowed] for part in (below, above))
    # Differences that cancel leave a rest of rounding, which is not a bound beyond zero.
    return np.where(np.abs(low) < TIE, 0.0, low), np.where(np.abs(high) < TIE, 0.0, -high)


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
