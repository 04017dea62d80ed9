"""Agreement of judges on the same answers, with intervals that resample questions.

For each pair of judges, over all variants together (variant `all`) and for each one, with the
measures of `em_tiers.statistics.agreement_measures`:

- `flagged`, `outcome` (categories): `percent_agreement` and `cohen_kappa` over the answers on which
  both judges gave a verdict. An answer without one is not a "not flagged". `outcome` leaves
  out answers that a person labelled, because both judges then have that person's outcome.
- `tier`: the same, of the judges' own tier verdicts, where both gave one.
- `alignment`, `coherence`, `topic` (where both gave a score): `pearson`, `mean_difference` (a minus
  b), `mean_absolute_difference` and `weighted_kappa`.
- `answered`: of all answers that both judges were given, the share with a verdict of both
  (`share`), of one of them (`only_a`, `only_b`) and of `neither`.

`n` is the number of answers behind a row; `missing` are the others that both judges
were given.

For all judges together (judge_a and judge_b are `all`): `krippendorff_alpha` of flagged (nominal)
and of alignment and coherence (interval), over the answers with the verdicts of two judges or more.

Everything comes from sums over a question, so that the bootstrap resamples questions by weighting
their sums, whatever the number of answers. Shares have the clustered interval of `intervals`; a
bootstrap in which all draws are alike (perfect agreement, one question) does not measure the
uncertainty, and gives no bounds rather than bounds of zero width.

Further tables are `confusion`, the counts behind the categories, and `flips`, the number of answers
of each variant that one judge flags and the other does not.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl

from em_tiers.statistics.agreement_measures import (
    MEASURES_OF_SCORES,
    cohen_kappa,
    coincidences_by_question,
    krippendorff_alpha,
    question_weights,
)
from em_tiers.statistics.intervals import QuestionCounts, intervals
from em_tiers.statistics.judged_answers import (
    ANSWERED,
    BINNED,
    BINS,
    CATEGORIES,
    NONE,
    JudgedAnswers,
    PairCounts,
    judged_answers,
    pair_counts,
)
from em_tiers.terms import SCORES

ALL = "all"  # in place of a variant: all of them; of a judge: all judges
AGREEMENT_COLUMNS = {
    "judge_a": pl.String,
    "judge_b": pl.String,
    "variant": pl.String,
    "quantity": pl.String,
    "statistic": pl.String,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "n": pl.Int64,
    "missing": pl.Int64,
}
CONFUSION_COLUMNS = {
    **dict.fromkeys(("judge_a", "judge_b", "quantity", "a", "b"), pl.String),
    "count": pl.Int64,
    "share": pl.Float64,
}
FLIP_COLUMNS = {
    **dict.fromkeys(("judge_a", "judge_b", "variant"), pl.String),
    **dict.fromkeys(("n", "both", "only_a", "only_b", "neither"), pl.Int64),
    **dict.fromkeys(("missing_a", "missing_b", "missing_both"), pl.Int64),
    **dict.fromkeys(("flipped", "low", "high"), pl.Float64),
}
# Scores may be imported from judges who saw different answers.
_NOTHING_IN_COMMON = {
    "variant": ALL, "quantity": "answered", "statistic": "share", "value": None, "low": None,
    "high": None, "n": 0, "missing": 0,
}  # fmt: skip
SIGNIFICANT_DIGITS = 12
Pairs = Mapping[tuple[str, str], PairCounts]
ALPHA_RESAMPLES = 200


def summarize_agreement(
    outcomes: pl.LazyFrame | JudgedAnswers,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
    pairs: Pairs | None = None,
) -> pl.DataFrame:
    """The table `agreement`, all variants together first; empty with one judge.

    `pairs` is `count_pairs` of the same outcomes, if that is known.
    """
    answers = judged_answers(outcomes)
    pairs = count_pairs(answers) if pairs is None else pairs
    if not pairs:
        return pl.DataFrame(schema=AGREEMENT_COLUMNS)
    pooled, single = [], []
    for (a, b), counts in pairs.items():
        if not len(counts.variant):
            pooled.append({"judge_a": a, "judge_b": b, **_NOTHING_IN_COMMON})
            continue
        for variant, sums in ((ALL, counts.of_all()), *counts.by_variant()):
            weights = question_weights(len(sums["answered"]), resamples, seed)
            named = {"judge_a": a, "judge_b": b, "variant": variant}
            rows = pooled if variant == ALL else single
            rows += [named | row for row in _rows_of_pair(sums, weights, confidence)]
    rows = [*pooled, *_alpha_rows(answers, confidence, seed), *single]
    rows = _with_intervals(rows, confidence)
    found = pl.DataFrame(rows, schema=AGREEMENT_COLUMNS).fill_nan(None)
    # Streamed sums come in any order: their last digits would differ from one run to the next.
    return found.with_columns(pl.col("value", "low", "high").round_sig_figs(SIGNIFICANT_DIGITS))


def summarize_confusion(pairs: Pairs) -> pl.DataFrame:
    """The table `confusion`: each pair of judges, answers to which a gives `a` and b gives `b`.

    Shares are of the answers to which both gave one; a quantity without such an answer is left out.
    """
    rows = []
    for (a, b), counts in pairs.items():
        for name, levels in CATEGORIES.items():
            total = counts.sums[name].sum(axis=0)
            rows += [
                (a, b, name, x, y, round(total[i, j]), total[i, j] / total.sum())
                for i, x in enumerate(levels)
                for j, y in enumerate(levels)
                if total.sum()
            ]
    return pl.DataFrame(rows, schema=CONFUSION_COLUMNS, orient="row")


def summarize_flips(pairs: Pairs, confidence: float = 0.95) -> pl.DataFrame:
    """The table `flips`: answers of each variant that one of two judges flags and the other not.

    `flipped` is their share of the n answers on which both gave a verdict, with its interval by
    question; null where there is none. `missing_a`: only judge b gave a verdict, and so on.
    """
    rows, flips = [], []
    for (a, b), counts in pairs.items():
        for variant, sums in counts.by_variant():
            flagged = sums["flagged"]  # questions x a x b
            (neither, only_b), (only_a, both) = flagged.sum(axis=0).round().astype(int).tolist()
            n = both + only_a + only_b + neither
            _, missing_b, missing_a, missing_both = sums["answered"].sum(axis=0).astype(int)
            counted = (n, both, only_a, only_b, neither, missing_a, missing_b, missing_both)
            rows.append((a, b, variant, *counted))
            hits = flagged[:, 0, 1] + flagged[:, 1, 0]
            flips.append(QuestionCounts(hits, flagged.sum(axis=(1, 2))))
    bounds = [
        (found.rate, found.low, found.high) if found.n else (None, None, None)
        for found in intervals(flips, confidence)
    ]
    rows = [(*row, *of_row) for row, of_row in zip(rows, bounds, strict=True)]
    return pl.DataFrame(rows, schema=FLIP_COLUMNS, orient="row")


def count_pairs(outcomes: pl.LazyFrame | JudgedAnswers) -> Pairs:
    """`pair_counts` of each pair of judges."""
    answers = judged_answers(outcomes)
    pairs = combinations(enumerate(answers.judges), 2)
    return {(first, second): pair_counts(answers, a, b) for (a, first), (b, second) in pairs}


def _rows_of_pair(
    sums: dict[str, np.ndarray], weights: np.ndarray, confidence: float
) -> list[dict]:
    given = sums["answered"].sum(axis=1)
    rows, drawn = [], []
    for name in CATEGORIES:
        per_question = sums[name]
        if not per_question.sum():
            continue
        tables = np.tensordot(weights, per_question, axes=1)
        n = round(tables[0].sum())
        rows.append({"quantity": name, "statistic": "cohen_kappa", "n": n})
        drawn.append(cohen_kappa(tables))
        same, counted = np.trace(per_question, axis1=1, axis2=2), per_question.sum(axis=(1, 2))
        rows.append(_share_row(name, "percent_agreement", same, counted))
    for name in SCORES:
        moments = weights @ sums[name]
        for statistic, function in MEASURES_OF_SCORES.items():
            rows.append({"quantity": name, "statistic": statistic, "n": round(moments[0, 0])})
            drawn.append(function(moments.T))
    for name, hits in zip(ANSWERED, sums["answered"].T, strict=True):
        rows.append(_share_row("answered", name, hits, given))
    of_draws = [row for row in rows if "counts" not in row]
    for row, bounded in zip(of_draws, _bounds_of_draws(np.array(drawn), confidence), strict=True):
        row |= bounded
    return [row | {"missing": round(given.sum()) - row["n"]} for row in rows if row["n"]]


def _share_row(
    quantity: str, statistic: str, hits: np.ndarray, counted: np.ndarray
) -> dict[str, object]:
    """A row whose share is still to be bounded, by `_with_intervals`."""
    counts = QuestionCounts(hits, counted)
    return {"quantity": quantity, "statistic": statistic, "counts": counts, "n": counts.n}


def _with_intervals(rows: list[dict[str, Any]], confidence: float) -> list[dict[str, Any]]:
    """Rows with the bounds of their shares, all computed in one call."""
    pending = [row for row in rows if "counts" in row]
    bounded = intervals([row.pop("counts") for row in pending], confidence)
    for row, found in zip(pending, bounded, strict=True):
        row |= {"value": found.rate, "low": found.low, "high": found.high}
    return rows


def _bounds_of_draws(draws: np.ndarray, confidence: float) -> list[dict[str, float]]:
    """Values and bounds of statistics; shape (statistics, 1 + resamples), the sample first."""
    tail = (1 - confidence) / 2
    limits = [tail, 1 - tail]
    bounds = np.full((len(draws), 2), np.nan)
    finite = np.isfinite(draws[:, 1:])
    whole = finite.all(axis=1)
    if whole.any():
        bounds[whole] = np.quantile(draws[whole, 1:], limits, axis=1).T
    for i in np.flatnonzero(~whole & finite.any(axis=1)):
        bounds[i] = np.quantile(draws[i, 1:][finite[i]], limits)
    with np.errstate(invalid="ignore"):
        bounds[~(bounds[:, 1] - bounds[:, 0] > 1e-9)] = np.nan
    return [
        {"value": float(value), "low": float(low), "high": float(high)}
        for value, (low, high) in zip(draws[:, 0], bounds, strict=True)
    ]


def _alpha_rows(answers: JudgedAnswers, confidence: float, seed: int) -> list[dict]:
    """Krippendorff's alpha of all judges over patterns counted by question.

    Scores are binned first, so that the patterns stay few. Only answers that two judges or more
    were given count: the others tell nothing of agreement.
    """
    rows = []
    step = 100 / BINS
    shared = np.sum(answers.values["given"], axis=0) > 1
    shared = slice(len(shared)) if shared.all() else np.flatnonzero(shared)
    quantities = {"flagged": ("flagged", 1.0, "nominal")} | {
        score: (name, step, "interval") for score, name in BINNED.items()
    }
    for name, (column, unit, level) in quantities.items():
        levels = [values[shared] for values in answers.values[column]]
        question, ratings, counts = _rating_patterns(answers.question[shared], levels, unit)
        paired = np.isfinite(ratings).sum(axis=1) > 1
        if not paired.any():
            continue
        weights = question_weights(int(question.max()) + 1, ALPHA_RESAMPLES, seed)
        values, matrices = coincidences_by_question(ratings, counts, question)
        drawn = np.tensordot(weights, matrices, axes=1)
        draws = krippendorff_alpha(values, drawn, level)
        n = round(counts[paired].sum())
        row = {"quantity": name, "statistic": "krippendorff_alpha", "n": n}
        row |= _bounds_of_draws(draws[np.newaxis], confidence)[0]
        row["missing"] = round(counts.sum() - n)
        rows.append({"judge_a": ALL, "judge_b": ALL, "variant": ALL, **row})
    return rows


def _rating_patterns(
    question: np.ndarray, levels: Sequence[np.ndarray], unit: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each question's distinct rating patterns: question number, ratings by judge, answers.

    Args:
        levels: of each judge's ratings, in units of `unit`; NONE without one.
    """
    names = [f"judge_{i}" for i in range(len(levels))]
    counted = (
        pl.DataFrame({"question": question} | dict(zip(names, levels, strict=True)))
        .group_by("question", *names)
        .agg(answers=pl.len())
        .sort("question", *names)
    )
    found = counted.select(names).to_numpy().astype(float)
    return (
        counted["question"].rank("dense").to_numpy().astype(int) - 1,
        np.where(found == NONE, np.nan, found * unit),
        counted["answers"].to_numpy().astype(float),
    )
