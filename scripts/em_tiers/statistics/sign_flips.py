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
AT_ONCE = 32  # differences whose flipped sums are in memory together


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
    differences, weights = np.broadcast_arrays(np.asarray(differences, float), weights)
    questions, shape = differences.shape[-1], differences.shape[:-1]
    parts, signs = differences.reshape(-1, questions), _signs(questions, seed)
    lists, list_of = np.unique(weights.reshape(-1, questions), axis=0, return_inverse=True)
    list_of = list_of.ravel()
    order = np.argsort(list_of, kind="stable")
    found, allowed = np.empty((len(parts), 3)), _allowed(questions, level)
    current, subsets = -1, None
    for start in range(0, len(order), AT_ONCE):
        rows = order[start : start + AT_ONCE]
        # One difference after the other: its few arrays stay in the processor's cache.
        for row, flipped in zip(rows, parts[rows] @ signs.T, strict=True):
            if list_of[row] != current:
                current = list_of[row]
                subsets = _Subsets(lists[current], signs)
            whole = parts[row].sum()
            found[row] = subsets.p_value(flipped, whole), *subsets.bounds(flipped, whole, allowed)
    p_value, low, high = found.T.reshape(3, *shape)
    return np.where(np.any(differences, axis=-1), p_value, 1.0), (low, high)


class _Subsets:
    """The subsets of questions whose signs are flipped, of one list of questions.

    Args:
        weights: each question's part of a difference, shape (questions,).
        signs: shape (subsets, questions).
    """

    def __init__(self, weights: np.ndarray, signs: np.ndarray) -> None:
        self.questions, self.total = len(weights), weights.sum()
        self.shares = (self.total - signs @ weights) / 2
        # No question flipped, or all of them: as extreme as what was seen, whatever the difference.
        trivial = (self.shares <= TIE) | (self.shares >= self.total - TIE)
        self.inside = 1 / np.where(trivial, 1.0, self.shares)
        self.others = 1 / np.where(trivial, 1.0, self.shares - self.total)
        self.trivial = np.flatnonzero(trivial)

    def p_value(self, flipped: np.ndarray, whole: float) -> float:
        """The p-value that the difference `whole` is zero, from its flipped sums (subsets)."""
        as_extreme = np.count_nonzero(np.abs(flipped) >= abs(whole) - TIE)
        return _p_value(as_extreme, self.questions)

    def bounds(self, flipped: np.ndarray, whole: float, allowed: int) -> tuple[float, float]:
        """The bounds of the difference, beyond which at most `allowed` subsets are as extreme."""
        if allowed < 0:
            return -np.inf, np.inf
        mean = whole / self.total
        # The sum of the flipped less what their share of the difference is: the mean of the flipped
        # differs from the whole by one part of it, that of the others by the other, oppositely.
        excess = whole - flipped
        excess /= 2
        excess -= mean * self.shares
        of_flipped, of_others = excess * self.inside, excess
        of_others *= self.others
        below, above = (
            np.minimum(of_flipped, of_others),
            np.maximum(of_flipped, of_others, out=of_flipped),
        )
        below[self.trivial], above[self.trivial] = -np.inf, np.inf
        last = len(above) - 1 - allowed
        below.partition(allowed)
        above.partition(last)
        bounds = mean + below[allowed], mean + above[last]
        # Differences that cancel leave a rest of rounding, which is not a bound beyond zero.
        return tuple(0.0 if abs(bound) < TIE else bound for bound in bounds)


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
