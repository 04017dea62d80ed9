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
            scores = answers.values[quantity][[a, b]]
            both = np.isfinite(scores).all(axis=0)
            rows += [own | row for row in _bins(*scores[:, both])]
    return pl.DataFrame(rows, schema=CALIBRATION_COLUMNS)


def _bins(first: np.ndarray, second: np.ndarray) -> list[dict[str, float]]:
    places = np.minimum(first // STEP, 100 // STEP - 1).astype(int)
    ordered = np.sort(second)
    rows = []
    for place in range(100 // STEP):
        held = places == place
        if not held.any():
            continue
        end = STEP * (place + 1)
        below = float((places <= place).mean())
        means = {"mean_a": float(first[held].mean()), "mean_b": float(second[held].mean())}
        row = {"from_a": STEP * place, "to_a": end, "n": int(held.sum()), "below_a": below}
        rows.append(row | means | {"equal_b": float(np.quantile(ordered, below))})
    return rows
