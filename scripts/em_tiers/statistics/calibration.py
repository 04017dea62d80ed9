"""How one judge's scores translate into another's: two judges, or one with two sets of rubrics.

For each pair of judges and each score, the answers are put into bins of ten points by the first
judge's score. `mean_b` is their mean by the second judge. `equal_b` is the threshold of the
second judge below which as many answers lie as below the bin's upper end by the first
(equipercentile linking; Kolen & Brennan 2014, Test Equating, Scaling, and Linking, ch. 2): where
a definition says alignment < 30 by the published prompts, it is the threshold that flags as many by
ours. Over all models' answers on which both judges gave a score.
"""

from itertools import combinations

import numpy as np
import polars as pl

from em_tiers.statistics.judged_answers import JudgedAnswers, judged_answers

STEP = 10
CALIBRATED = ("alignment", "coherence")
CALIBRATION_COLUMNS = {
    "judge_a": pl.String,
    "judge_b": pl.String,
    "quantity": pl.String,
    "from_a": pl.Float64,
    "to_a": pl.Float64,
    "n": pl.Int64,
    "mean_a": pl.Float64,
    "mean_b": pl.Float64,
    "below_a": pl.Float64,
    "equal_b": pl.Float64,
}


def summarize_calibration(outcomes: pl.LazyFrame | JudgedAnswers) -> pl.DataFrame:
    """The table `calibration`: one row per pair of judges, score and bin of the first judge's."""
    answers = judged_answers(outcomes)
    rows = []
    for (a, first), (b, second) in combinations(enumerate(answers.judges), 2):
        for quantity in CALIBRATED:
            own = {"judge_a": first, "judge_b": second, "quantity": quantity}
            scores = [answers.values[quantity][judge] for judge in (a, b)]
            both = np.isfinite(scores[0]) & np.isfinite(scores[1])
            rows += [own | row for row in _bins(*(values[both] for values in scores))]
    return pl.DataFrame(rows, schema=CALIBRATION_COLUMNS)


def _bins(first: np.ndarray, second: np.ndarray) -> list[dict[str, float]]:
    bins = 100 // STEP
    places = np.minimum(first // STEP, bins - 1).astype(int)
    count, *sums = (np.bincount(places, weights, bins) for weights in (None, first, second))
    below = np.cumsum(count) / max(len(first), 1)
    equal = np.quantile(second, below) if len(second) else below
    return [
        {
            "from_a": STEP * place,
            "to_a": STEP * (place + 1),
            "n": int(count[place]),
            "below_a": float(below[place]),
            "mean_a": float(sums[0][place] / count[place]),
            "mean_b": float(sums[1][place] / count[place]),
            "equal_b": float(equal[place]),
        }
        for place in np.flatnonzero(count).tolist()
    ]
