"""Measures of agreement as functions of counts, sums and rating patterns, worked in arrays.

Cohen's kappa (1960, Educ. Psychol. Meas. 20, 37-46) takes contingency tables; the measures of
scores take moments: n, sum a, sum b, sum a^2, sum b^2, sum ab and sum |a - b|. Weighted kappa has
quadratic weights over the points of the scale (Fleiss & Cohen 1973, Educ. Psychol. Meas. 33,
613-619), which on scores is Lin's concordance coefficient (1989, Biometrics 45, 255-268).
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np


@lru_cache(maxsize=8)
def question_weights(questions: int, resamples: int, seed: int) -> np.ndarray:
    """How often each question is drawn; the first row is the sample itself."""
    if not questions:
        return np.ones((1, 0))
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(questions, np.full(questions, 1 / questions), resamples)
    return np.vstack([np.ones(questions), drawn])


def percent_agreement(tables: np.ndarray) -> np.ndarray:
    """Share of answers in the same category; tables of shape (..., k, k)."""
    with np.errstate(invalid="ignore"):
        return np.trace(tables, axis1=-2, axis2=-1) / tables.sum(axis=(-2, -1))


def cohen_kappa(tables: np.ndarray) -> np.ndarray:
    """(observed - expected) / (1 - expected) agreement; NaN where chance alone always agrees."""
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = tables / tables.sum(axis=(-2, -1), keepdims=True)
        expected = (shares.sum(axis=-1) * shares.sum(axis=-2)).sum(axis=-1)
        observed = np.trace(shares, axis1=-2, axis2=-1)
        kappa = (observed - expected) / (1 - expected)
    return np.where(expected < 1 - 1e-12, kappa, np.nan)


def _spreads(moments: np.ndarray) -> tuple[np.ndarray, ...]:
    n, a, b, aa, bb, ab, _ = moments
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_a, mean_b = a / n, b / n
        var_a = np.maximum(aa / n - mean_a**2, 0)
        var_b = np.maximum(bb / n - mean_b**2, 0)
        return mean_a, mean_b, var_a, var_b, ab / n - mean_a * mean_b


def pearson(moments: np.ndarray) -> np.ndarray:
    """Correlation; NaN where a judge always gives one score."""
    _, _, var_a, var_b, covariance = _spreads(moments)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = covariance / np.sqrt(var_a * var_b)
    return np.where(np.minimum(var_a, var_b) > 1e-9, np.clip(found, -1, 1), np.nan)


def weighted_kappa(moments: np.ndarray) -> np.ndarray:
    """Quadratic weights: 2 cov / (var a + var b + (mean a - mean b)^2), Lin's concordance too."""
    mean_a, mean_b, var_a, var_b, covariance = _spreads(moments)
    with np.errstate(invalid="ignore", divide="ignore"):
        return 2 * covariance / (var_a + var_b + (mean_a - mean_b) ** 2)


def mean_difference(moments: np.ndarray) -> np.ndarray:
    """Mean of a minus b, in points."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return (moments[1] - moments[2]) / moments[0]


def mean_absolute_difference(moments: np.ndarray) -> np.ndarray:
    """Mean of |a - b|, in points."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return moments[6] / moments[0]


MEASURES_OF_SCORES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "pearson": pearson,
    "weighted_kappa": weighted_kappa,
    "mean_difference": mean_difference,
    "mean_absolute_difference": mean_absolute_difference,
}


def coincidences_by_question(
    ratings: np.ndarray, counts: np.ndarray, question: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The values that occur, and each question's coincidence matrix of weighted rating patterns.

    The matrix of resampled questions is the sum of theirs. The package `krippendorff` takes one row
    per unit; here equal rows come once with their number, which is the same sum.

    Args:
        ratings: patterns x judges, NaN missing.
        counts: answers with each pattern.
        question: number of each pattern's question, from 0.
    """
    values = np.unique(ratings[np.isfinite(ratings)])
    per_unit = (ratings[:, :, None] == values).sum(axis=1).astype(float)
    sizes = per_unit.sum(axis=1)
    paired = np.flatnonzero(sizes > 1)
    scaled = per_unit[paired] * (counts[paired] / (sizes[paired] - 1))[:, None]
    found = np.zeros((int(question.max()) + 1, len(values), len(values)))
    for number in np.unique(question[paired]):
        own = question[paired] == number
        matrix = scaled[own].T @ per_unit[paired[own]]
        found[number] = matrix - np.diag(scaled[own].sum(axis=0))
    return values, found


def krippendorff_alpha(values: np.ndarray, matrix: np.ndarray, level: str) -> np.ndarray:
    """Alpha of coincidence matrices, shape (..., values, values); NaN where nothing varies.

    One minus observed over expected disagreement (Krippendorff 2004, Content Analysis, chapter 11).
    """
    totals = matrix.sum(axis=-2)
    n = totals.sum(axis=-1)
    if level == "nominal":
        distance = (values[:, None] != values[None, :]).astype(float)
    else:
        distance = (values[:, None] - values[None, :]) ** 2
    # The diagonal of the expected coincidences does not matter: its distance is zero.
    expected = np.einsum("...i,ij,...j->...", totals, distance, totals) / np.maximum(n - 1, 1e-300)
    observed = (matrix * distance).sum(axis=(-2, -1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(expected > 0, 1 - observed / expected, np.nan)
