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

from em_tiers.statistics.design_effects import Stack, seed_effects, stacks
from em_tiers.statistics.quantiles import beta_lower, beta_upper
from em_tiers.statistics.question_counts import QuestionCounts

SMOOTHING = 0.5
EDGE = 0.3
ROUNDING = 1e-12  # a mean of rates that are all 1 may miss it by less


def these_bounds(
    listed: Sequence[QuestionCounts], confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bound of each rate on its own questions; 0 and 1 without a counted answer."""
    low, high = np.zeros(len(listed)), np.ones(len(listed))
    for places, stack in stacks(listed):
        low[places], high[places] = bounds_of(stack, confidence)
    return low, high


def bounds_of(stack: Stack, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """`these_bounds` of rates that are arrays already."""
    low, high = beta_bounds(stack.rate, np.maximum(effective_answers(stack), 1), confidence)
    return np.where(stack.n > 0, low, 0.0), np.where(stack.n > 0, high, 1.0)


def effective_answers(stack: Stack) -> np.ndarray:
    """n_eff: as many independent answers would have the variance of each rate."""
    p = stack.rate[:, None, None]
    sizes = stack.counted
    single = sizes < 2
    smoothed = np.where(single, p, (stack.hits + SMOOTHING * p) / (sizes + SMOOTHING))
    within = stack.weights**2 * smoothed * (1 - smoothed) / np.where(single, 1, sizes - 1)
    certain = stack.rate * (1 - stack.rate) < ROUNDING
    naive = np.where(certain, 1.0, stack.naive)
    effect = np.where(certain, 1.0, within.sum(axis=(1, 2)) / naive)
    # Questions as strata never add variance to a pooled rate.
    effect = np.where(stack.by_question, effect, np.minimum(effect, 1.0))
    if sizes.shape[1] > 1:
        effect = effect + seed_effects(stack, stack.share)[0]
    return stack.n / np.where(stack.n > 0, effect, 1.0)


def beta_bounds(
    rate: np.ndarray | float, n: np.ndarray | float, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Beta quantiles of `rate * n` events in n answers; works on arrays."""
    tail, hits = (1 - confidence) / 2, np.asarray(rate) * n
    missed = np.maximum(n - hits, 0)
    with np.errstate(invalid="ignore"):
        low = np.where(hits > 0, beta_lower(tail, hits + EDGE, missed + 1 - EDGE), 0.0)
        high = np.where(missed > 0, beta_upper(tail, hits + 1 - EDGE, missed + EDGE), 1.0)
    return np.minimum(low, rate), np.maximum(high, rate)
