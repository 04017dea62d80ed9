"""Intervals whose target is the rate on the very questions that were asked.

The interval of `em_tiers.statistics.intervals` is about questions like these, of which the
questions asked are a sample. Two models that are compared on one fixed list differ on that list,
whatever other questions would show: only the answers vary, so the questions are strata. The
variance of a stratified rate is

    v = sum over cells of w^2 s (1 - s) / (m - 1)

(Cochran 1977, Sampling Techniques, section 5.4), w a cell's share of the rate and m its answers. s
is its rate with `SMOOTHING` answers of the overall rate added, so that a cell whose answers agree
does not count as certain; with m = 1 it is the overall rate, because one answer shows no variance.
With several training seeds the target is these questions and seeds like these: the seeds' part of
the design effect (`em_tiers.statistics.intervals`) adds to v.

The bounds are beta quantiles with n_eff = p (1 - p) / v answers. `EDGE` lies between Clopper &
Pearson's exact bounds (0), which are too wide, and Jeffreys' (1/2), which are too narrow where few
events are expected (Brown, Cai & DasGupta 2001, Statistical Science 16, 101-133). Chosen by
simulation (tests/benchmarks/coverage_simulation.py).
"""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from em_tiers.statistics.intervals import QuestionCounts, assumed_share, seed_effect

SMOOTHING = 0.5
EDGE = 0.2
ROUNDING = 1e-12  # a mean of rates that are all 1 may miss it by less


def these_bounds(
    listed: Sequence[QuestionCounts], confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bound of each rate on its own questions; 0 and 1 without a counted answer."""
    sizes = np.array([counts.n for counts in listed], float)
    rates = np.nan_to_num([counts.rate for counts in listed])
    effective = np.array([effective_answers(counts) for counts in listed])
    low, high = beta_bounds(rates, np.maximum(effective, 1), confidence)
    return np.where(sizes > 0, low, 0.0), np.where(sizes > 0, high, 1.0)


def effective_answers(counts: QuestionCounts) -> float:
    """n_eff: as many independent answers would have the variance of this rate."""
    p, n = counts.rate, counts.n
    if not n or p * (1 - p) < ROUNDING:
        return n / (1 + _of_seeds(counts, 0.0)) if n else 0.0
    sizes = counts.counted
    single = sizes < 2
    smoothed = np.where(single, p, (counts.hits + SMOOTHING * p) / (sizes + SMOOTHING))
    within = counts.weights**2 * smoothed * (1 - smoothed) / np.where(single, 1, sizes - 1)
    naive = p * (1 - p) / n
    effect = float(within.sum()) / naive
    if not counts.by_question:  # questions as strata never add variance to a pooled rate
        effect = min(effect, 1.0)
    return n / (effect + _of_seeds(counts, naive))


def _of_seeds(counts: QuestionCounts, naive: float) -> float:
    if counts.seeds < 2:
        return 0.0
    hits = counts.hits.sum(axis=0)
    return seed_effect(counts, naive, assumed_share(hits, counts.counted.sum(axis=0)))[0]


def beta_bounds(
    rate: np.ndarray | float, n: np.ndarray | float, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Beta quantiles of `rate * n` events in n answers; works on arrays."""
    tail, hits = (1 - confidence) / 2, np.asarray(rate) * n
    missed = np.maximum(n - hits, 0)
    with np.errstate(invalid="ignore"):
        low = np.where(hits > 0, stats.beta.ppf(tail, hits + EDGE, missed + 1 - EDGE), 0.0)
        high = np.where(missed > 0, stats.beta.isf(tail, hits + 1 - EDGE, missed + EDGE), 1.0)
    return np.minimum(low, rate), np.maximum(high, rate)
