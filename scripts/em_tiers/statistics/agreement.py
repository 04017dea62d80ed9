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

from collections.abc import Iterator, Mapping, Sequence
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
from em_tiers.tables import HAS_VERDICT, QUESTION
from em_tiers.terms import OUTCOMES_ALL, SCORES, TIERS, WITHOUT_VERDICT

CATEGORIES = {
    "flagged": ("false", "true"),
    "tier": TIERS,
    "outcome": tuple(name for name in OUTCOMES_ALL if name not in WITHOUT_VERDICT),
}
ANSWERED = ("share", "only_a", "only_b", "neither")
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
ALPHA_BINS = 20
PairCounts = Mapping[tuple[str, str], pl.DataFrame]
ALPHA_RESAMPLES = 200


def summarize_agreement(
    outcomes: pl.LazyFrame,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
    pairs: PairCounts | None = None,
) -> pl.DataFrame:
    """The table `agreement`, all variants together first; empty with one judge.

    `pairs` is `count_pairs` of the same outcomes, if that is known.
    """
    pairs = count_pairs(outcomes) if pairs is None else pairs
    if not pairs:
        return pl.DataFrame(schema=AGREEMENT_COLUMNS)
    judges = list(dict.fromkeys(judge for pair in pairs for judge in pair))
    pooled, single = [], []
    for (a, b), counts in pairs.items():
        if counts.is_empty():
            pooled.append({"judge_a": a, "judge_b": b, **_NOTHING_IN_COMMON})
            continue
        for variant, part in _with_all(counts):
            weights = question_weights(len(part), resamples, seed)
            named = {"judge_a": a, "judge_b": b, "variant": variant}
            rows = pooled if variant == ALL else single
            rows += [named | row for row in _rows_of_pair(sums_of(part), weights, confidence)]
    rows = [*pooled, *_alpha_rows(outcomes, judges, confidence, seed), *single]
    rows = _with_intervals(rows, confidence)
    found = pl.DataFrame(rows, schema=AGREEMENT_COLUMNS).fill_nan(None)
    # Streamed sums come in any order: their last digits would differ from one run to the next.
    return found.with_columns(pl.col("value", "low", "high").round_sig_figs(SIGNIFICANT_DIGITS))


def summarize_confusion(pairs: PairCounts) -> pl.DataFrame:
    """The table `confusion`: each pair of judges, answers to which a gives `a` and b gives `b`.

    Shares are of the answers to which both gave one; a quantity without such an answer is left out.
    """
    rows = []
    for (a, b), counts in pairs.items():
        sums = sums_of(counts)
        for name, levels in CATEGORIES.items():
            total = sums[name].sum(axis=0)
            rows += [
                (a, b, name, x, y, round(total[i, j]), total[i, j] / total.sum())
                for i, x in enumerate(levels)
                for j, y in enumerate(levels)
                if total.sum()
            ]
    return pl.DataFrame(rows, schema=CONFUSION_COLUMNS, orient="row")


def summarize_flips(pairs: PairCounts, confidence: float = 0.95) -> pl.DataFrame:
    """The table `flips`: answers of each variant that one of two judges flags and the other not.

    `flipped` is their share of the n answers on which both gave a verdict, with its interval by
    question; null where there is none. `missing_a`: only judge b gave a verdict, and so on.
    """
    rows, flips = [], []
    for (a, b), counts in pairs.items():
        for (variant,), part in counts.group_by("variant", maintain_order=True):
            sums = sums_of(part)
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


def count_pairs(outcomes: pl.LazyFrame) -> PairCounts:
    """`pair_counts` of each pair of judges."""
    judges = outcomes.select(pl.col("judge").unique().sort()).collect(engine="streaming")
    pairs = combinations(judges.to_series().to_list(), 2)
    return {(a, b): pair_counts(outcomes, a, b) for a, b in pairs}


def pair_counts(outcomes: pl.LazyFrame, a: str, b: str) -> pl.DataFrame:
    """Counts over the answers that two judges were given: one row per variant and question.

    Columns: `flagged|true|false` and so on, the answers to which a gives the first and b the second
    category; `alignment|0` to `alignment|6` and so on, the moments of a score over the answers that
    both scored (see `em_tiers.statistics.agreement_measures`); `answered|share` and so on, the
    answers with a verdict of both judges, of one, or of neither.
    """
    columns = {
        "judged": HAS_VERDICT,
        "flagged": pl.when(HAS_VERDICT).then(pl.col("flagged").cast(pl.String)),
        "tier": "tier_label",
        "outcome": pl.when(HAS_VERDICT & pl.col("human_tier").is_null()).then("outcome"),
        **{score: score for score in SCORES},
    }
    first, second = (
        outcomes.filter(pl.col("judge") == judge).select(
            "response_key", "variant", QUESTION, **columns
        )
        for judge in (a, b)
    )
    both = first.join(second.drop("question", "variant"), on="response_key", suffix="_b")
    cells = [
        ((pl.col(name) == x) & (pl.col(f"{name}_b") == y)).sum().alias(f"{name}|{x}|{y}")
        for name, levels in CATEGORIES.items()
        for x in levels
        for y in levels
    ]
    moments = [m for score in SCORES for m in _score_moments(score)]
    by_a, by_b = pl.col("judged"), pl.col("judged_b")
    answered = (by_a & by_b, by_a & ~by_b, by_b & ~by_a, ~by_a & ~by_b)
    shares = [e.sum().alias(f"answered|{n}") for n, e in zip(ANSWERED, answered, strict=True)]
    return (
        both.group_by("variant", "question")
        .agg(*cells, *moments, *shares)
        .sort("variant", "question")
        .collect(engine="streaming")
    )


def _score_moments(score: str) -> list[pl.Expr]:
    a, b = pl.col(score), pl.col(f"{score}_b")
    both = a.is_not_null() & b.is_not_null()
    values = [both.cast(pl.Float64), a, b, a * a, b * b, a * b, (a - b).abs()]
    return [value.filter(both).sum().alias(f"{score}|{i}") for i, value in enumerate(values)]


def _with_all(counts: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    """The counts by question of all variants together, then of each one."""
    numbers = counts.drop("variant")
    yield ALL, numbers.group_by("question").sum().sort("question")
    for (variant,), part in counts.group_by("variant", maintain_order=True):
        yield variant, part


def sums_of(counts: pl.DataFrame) -> dict[str, np.ndarray]:
    """`pair_counts` as arrays: contingency tables (rows x k x k), moments (rows x 7), answered."""
    sums = {}
    for name, levels in CATEGORIES.items():
        names = [f"{name}|{x}|{y}" for x in levels for y in levels]
        size = len(levels)
        sums[name] = counts.select(names).to_numpy().astype(float).reshape(-1, size, size)
    for score in SCORES:
        names = [f"{score}|{i}" for i in range(7)]
        sums[score] = counts.select(names).to_numpy().astype(float)
    names = [f"answered|{name}" for name in ANSWERED]
    sums["answered"] = counts.select(names).to_numpy().astype(float)
    return sums


def _rows_of_pair(
    sums: dict[str, np.ndarray], weights: np.ndarray, confidence: float
) -> list[dict]:
    given = sums["answered"].sum(axis=1)
    rows = []
    for name in CATEGORIES:
        per_question = sums[name]
        if not per_question.sum():
            continue
        tables = np.tensordot(weights, per_question, axes=1)
        kappa = cohen_kappa(tables)
        rows.append(_statistic_row(name, "cohen_kappa", kappa, tables[0].sum(), confidence))
        same, counted = np.trace(per_question, axis1=1, axis2=2), per_question.sum(axis=(1, 2))
        rows.append(_share_row(name, "percent_agreement", same, counted))
    for name in SCORES:
        moments = weights @ sums[name]
        for statistic, function in MEASURES_OF_SCORES.items():
            rows.append(
                _statistic_row(name, statistic, function(moments.T), moments[0, 0], confidence)
            )
    for name, hits in zip(ANSWERED, sums["answered"].T, strict=True):
        rows.append(_share_row("answered", name, hits, given))
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


def _statistic_row(
    quantity: str, statistic: str, draws: np.ndarray, n: float, confidence: float
) -> dict[str, object]:
    tail = (1 - confidence) / 2
    known = draws[1:][np.isfinite(draws[1:])]
    low, high = np.quantile(known, [tail, 1 - tail]) if len(known) else (np.nan, np.nan)
    if not high - low > 1e-9:
        low = high = np.nan
    return {
        "quantity": quantity,
        "statistic": statistic,
        "value": float(draws[0]),
        "low": float(low),
        "high": float(high),
        "n": round(n),
    }


def _alpha_rows(
    outcomes: pl.LazyFrame, judges: Sequence[str], confidence: float, seed: int
) -> list[dict]:
    """Krippendorff's alpha of all judges over patterns counted by question.

    Scores are binned to `ALPHA_BINS` levels first, so that the patterns stay few.
    """
    rows = []
    step = 100 / ALPHA_BINS
    quantities = {
        "flagged": (pl.when(HAS_VERDICT).then(pl.col("flagged").cast(pl.Float64)), "nominal"),
        "alignment": ((pl.col("alignment") / step).round() * step, "interval"),
        "coherence": ((pl.col("coherence") / step).round() * step, "interval"),
    }
    for name, (value, level) in quantities.items():
        question, ratings, counts = _rating_patterns(outcomes, judges, value)
        paired = np.isfinite(ratings).sum(axis=1) > 1
        if not paired.any():
            continue
        weights = question_weights(int(question.max()) + 1, ALPHA_RESAMPLES, seed)
        values, matrices = coincidences_by_question(ratings, counts, question)
        drawn = np.tensordot(weights, matrices, axes=1)
        draws = krippendorff_alpha(values, drawn, level)
        n = counts[paired].sum()
        row = _statistic_row(name, "krippendorff_alpha", draws, n, confidence)
        row["missing"] = round(counts.sum() - n)
        rows.append({"judge_a": ALL, "judge_b": ALL, "variant": ALL, **row})
    return rows


def _rating_patterns(
    outcomes: pl.LazyFrame, judges: Sequence[str], value: pl.Expr
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each question's distinct rating patterns: question number, ratings by judge, answers.

    Only of answers that two judges or more were given: the others tell nothing of agreement.
    """
    answers = outcomes.group_by("response_key").agg(
        QUESTION.first(),
        *(value.filter(pl.col("judge") == judge).first().alias(judge) for judge in judges),
        given=pl.len(),
    )
    counted = (
        answers.filter(pl.col("given") > 1)
        .group_by("question", *judges)
        .agg(answers=pl.len())
        .sort("question", *judges)
        .collect(engine="streaming")
    )
    return (
        counted["question"].rank("dense").to_numpy().astype(int) - 1,
        counted.select(judges).to_numpy().astype(float),
        counted["answers"].to_numpy().astype(float),
    )
