"""Intervals that the coverage simulation compares with that of the workflow.

`wilson`, which ignores clusters, is the workflow's own: the tables show it as the naive interval.
"""

import numpy as np
from scipy import stats

from em_tiers.statistics.intervals import QuestionCounts


def student(counts: QuestionCounts, confidence: float = 0.95) -> tuple[float, float]:
    """Student's t interval over the questions; of zero width where all questions agree."""
    questions = counts.questions
    if questions < 2:
        return 0.0, 1.0
    deviations = (counts.weights * (counts.rates - counts.rate)).sum(axis=0)
    spread = np.sqrt(questions / (questions - 1) * (deviations**2).sum())
    half = stats.t.isf((1 - confidence) / 2, questions - 1) * spread
    return max(counts.rate - half, 0.0), min(counts.rate + half, 1.0)


def bootstrap(
    counts: QuestionCounts, confidence: float = 0.95, resamples: int = 400, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval; questions and training seeds are resampled together.

    Owen 2007, Ann. Appl. Stat. 1, 386-411.
    """
    seeds, questions = counts.counted.shape
    rng = np.random.default_rng(seed)
    by_seed = rng.multinomial(seeds, np.full(seeds, 1 / seeds), resamples)
    by_question = rng.multinomial(questions, np.full(questions, 1 / questions), resamples)
    totals = np.einsum("bs,sq,bq->b", by_seed, counts.weights, by_question)
    sums = np.einsum("bs,sq,bq->b", by_seed, counts.weights * counts.rates, by_question)
    draws = sums[totals > 0] / totals[totals > 0]
    tail = (1 - confidence) / 2
    return tuple(np.quantile(draws, [tail, 1 - tail]))
