"""Agreement of judges on the same answers, with intervals that resample questions.

For each pair of judges and each quantity:

- `flagged`, `tier`, `outcome` (categories): `percent_agreement`, `cohen_kappa` (Cohen 1960, Educ.
  Psychol. Meas. 20, 37-46). Tiers are the judges' own verdicts, where both gave one.
- `alignment`, `coherence`, `topic` (scores, where both gave one): `pearson`, `mean_difference`
  (a minus b), `mean_absolute_difference`, and `weighted_kappa` with quadratic weights over the
  points of the scale (Fleiss & Cohen 1973, Educ. Psychol. Meas. 33, 613-619), which on scores is
  Lin's concordance coefficient (1989, Biometrics 45, 255-268).
- `answered`: the share of answers that both judges scored.

For all judges together (judge_a and judge_b are `all`): `krippendorff_alpha` of flagged (nominal)
and of alignment and coherence (interval), which takes missing values as they are.

Everything comes from sums over a question, so that the bootstrap resamples questions by weighting
their sums, whatever the number of answers. Shares have the clustered interval of `intervals`; a
bootstrap in which all draws are alike (perfect agreement, one question) does not measure the
uncertainty, and gives no bounds rather than bounds of zero width.

Further tables are `confusion`, the counts behind the categories, and `flips`, the number of answers
of each variant that one judge flags and the other does not.
"""

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
import polars as pl

from em_tiers.statistics.intervals import QuestionCounts, interval
from em_tiers.tables import QUESTION
from em_tiers.terms import OUTCOMES_ALL, SCORES, TIERS

CATEGORIES = {"flagged": ("false", "true"), "tier": TIERS, "outcome": OUTCOMES_ALL}
AGREEMENT_COLUMNS = {
    "judge_a": pl.String,
    "judge_b": pl.String,
    "quantity": pl.String,
    "statistic": pl.String,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "n": pl.Int64,
}
CONFUSION_COLUMNS = {
    **dict.fromkeys(("judge_a", "judge_b", "quantity", "a", "b"), pl.String),
    "count": pl.Int64,
    "share": pl.Float64,
}
FLIP_COLUMNS = {
    **dict.fromkeys(("judge_a", "judge_b", "variant"), pl.String),
    **dict.fromkeys(("n", "both", "only_a", "only_b", "neither"), pl.Int64),
    **dict.fromkeys(("flipped", "low", "high"), pl.Float64),
}
# Scores may be imported from judges who saw different answers.
_NOTHING_IN_COMMON = {
    "quantity": "answered", "statistic": "share", "value": None, "low": None, "high": None, "n": 0,
}  # fmt: skip
SIGNIFICANT_DIGITS = 12
ALPHA_BINS = 20
ALPHA_RESAMPLES = 200


def summarize_agreement(
    outcomes: pl.LazyFrame, confidence: float = 0.95, resamples: int = 1000, seed: int = 0
) -> pl.DataFrame:
    """The table `agreement`; empty with one judge."""
    pairs = _judge_pairs(outcomes)
    if not pairs:
        return pl.DataFrame(schema=AGREEMENT_COLUMNS)
    judges = list(dict.fromkeys(judge for pair in pairs for judge in pair))
    rows = []
    for a, b in pairs:
        sums = question_sums(outcomes, a, b)
        if not len(sums["n"]):
            rows.append({"judge_a": a, "judge_b": b, **_NOTHING_IN_COMMON})
            continue
        weights = question_weights(len(sums["n"]), resamples, seed)
        rows += [
            {"judge_a": a, "judge_b": b, **row} for row in _rows_of_pair(sums, weights, confidence)
        ]
    rows += _alpha_rows(outcomes, judges, confidence, seed)
    found = pl.DataFrame(rows, schema=AGREEMENT_COLUMNS).fill_nan(None)
    # Streamed sums come in any order: their last digits would differ from one run to the next.
    return found.with_columns(pl.col("value", "low", "high").round_sig_figs(SIGNIFICANT_DIGITS))


def summarize_confusion(outcomes: pl.LazyFrame) -> pl.DataFrame:
    """The table `confusion`: each pair of judges, answers to which a gives `a` and b gives `b`.

    Shares are of the answers to which both gave one; a quantity without such an answer is left out.
    """
    rows = []
    for a, b in _judge_pairs(outcomes):
        sums = question_sums(outcomes, a, b)
        for name, levels in CATEGORIES.items():
            counts = sums[name].sum(axis=0)
            rows += [
                (a, b, name, x, y, round(counts[i, j]), counts[i, j] / counts.sum())
                for i, x in enumerate(levels)
                for j, y in enumerate(levels)
                if counts.sum()
            ]
    return pl.DataFrame(rows, schema=CONFUSION_COLUMNS, orient="row")


def summarize_flips(outcomes: pl.LazyFrame, confidence: float = 0.95) -> pl.DataFrame:
    """The table `flips`: answers of each variant that one of two judges flags and the other not.

    `flipped` is their share of the n answers that both judged, with its interval by question.
    """
    rows = []
    for a, b in _judge_pairs(outcomes):
        counts = (
            _answers_of_both(outcomes, a, b, {"flagged": "flagged"})
            .group_by("variant", "question")
            .agg(
                both=(pl.col("flagged") & pl.col("flagged_b")).sum(),
                only_a=(pl.col("flagged") & ~pl.col("flagged_b")).sum(),
                only_b=(~pl.col("flagged") & pl.col("flagged_b")).sum(),
                n=pl.len(),
            )
            .sort("variant", "question")
            .collect(engine="streaming")
        )
        for (variant,), frame in counts.partition_by(
            "variant", as_dict=True, maintain_order=True
        ).items():
            both, only_a, only_b, n = (
                int(frame[name].sum()) for name in ("both", "only_a", "only_b", "n")
            )
            hits = (frame["only_a"] + frame["only_b"]).to_numpy()
            found = interval(QuestionCounts(hits, frame["n"].to_numpy()), confidence)
            neither = n - both - only_a - only_b
            counted = (n, both, only_a, only_b, neither)
            rows.append((a, b, variant, *counted, found.rate, found.low, found.high))
    return pl.DataFrame(rows, schema=FLIP_COLUMNS, orient="row")


def _judge_pairs(outcomes: pl.LazyFrame) -> list[tuple[str, str]]:
    judges = outcomes.select(pl.col("judge").unique().sort()).collect().to_series().to_list()
    return list(combinations(judges, 2))


def _answers_of_both(outcomes: pl.LazyFrame, a: str, b: str, columns: dict) -> pl.LazyFrame:
    """Answers that both judges judged: `columns` of a, and those of b with the suffix _b."""
    first, second = (
        outcomes.filter(pl.col("judge") == judge).select(
            "response_key",
            "variant",
            QUESTION,
            **columns,
        )
        for judge in (a, b)
    )
    return first.join(second.drop("question", "variant"), on="response_key", suffix="_b")


def question_weights(questions: int, resamples: int, seed: int) -> np.ndarray:
    """How often each question is drawn; the first row is the sample itself."""
    if not questions:
        return np.ones((1, 0))
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(questions, np.full(questions, 1 / questions), resamples)
    return np.vstack([np.ones(questions), drawn])


def question_sums(outcomes: pl.LazyFrame, a: str, b: str) -> dict[str, np.ndarray]:
    """Per question: contingency tables (questions x k x k) of categories, moments of scores.

    The moments of a score are n, sum a, sum b, sum a^2, sum b^2, sum ab and sum |a - b| of the
    answers that both judges scored; `n` is the number of answers that both judged.
    """
    columns = {
        "flagged": pl.col("flagged").cast(pl.String),
        "tier": "tier_label",
        "outcome": "outcome",
        **{score: score for score in SCORES},
    }
    both = _answers_of_both(outcomes, a, b, columns)
    cells = [
        ((pl.col(name) == x) & (pl.col(f"{name}_b") == y)).sum().alias(f"{name}|{x}|{y}")
        for name, levels in CATEGORIES.items()
        for x in levels
        for y in levels
    ]
    moments = [m for score in SCORES for m in _score_moments(score)]
    wide = (
        both.group_by("question")
        .agg(*cells, *moments, n=pl.len())
        .sort("question")
        .collect(engine="streaming")
    )
    sums = {"n": wide["n"].to_numpy().astype(float)}
    for name, levels in CATEGORIES.items():
        names = [f"{name}|{x}|{y}" for x in levels for y in levels]
        size = len(levels)
        sums[name] = wide.select(names).to_numpy().astype(float).reshape(-1, size, size)
    for score in SCORES:
        names = [f"{score}|{i}" for i in range(7)]
        sums[score] = wide.select(names).to_numpy().astype(float)
    return sums


def _score_moments(score: str) -> list[pl.Expr]:
    a, b = pl.col(score), pl.col(f"{score}_b")
    both = a.is_not_null() & b.is_not_null()
    values = [both.cast(pl.Float64), a, b, a * a, b * b, a * b, (a - b).abs()]
    return [value.filter(both).sum().alias(f"{score}|{i}") for i, value in enumerate(values)]


def _rows_of_pair(
    sums: dict[str, np.ndarray], weights: np.ndarray, confidence: float
) -> list[dict]:
    rows = []
    for name in CATEGORIES:
        per_question = sums[name]
        if not per_question.sum():
            continue
        tables = np.einsum("rq,qij->rij", weights, per_question)
        kappa = cohen_kappa(tables)
        rows.append(_statistic_row(name, "cohen_kappa", kappa, tables[0].sum(), confidence))
        same, counted = np.trace(per_question, axis1=1, axis2=2), per_question.sum(axis=(1, 2))
        rows.append(_share_row(name, "percent_agreement", same, counted, confidence))
    for name in SCORES:
        moments = weights @ sums[name]
        for statistic, function in NUMERIC.items():
            rows.append(
                _statistic_row(name, statistic, function(moments.T), moments[0, 0], confidence)
            )
    rows.append(_share_row("answered", "share", sums["alignment"][:, 0], sums["n"], confidence))
    return [row for row in rows if row["n"]]


def _share_row(
    quantity: str, statistic: str, hits: np.ndarray, counted: np.ndarray, confidence: float
) -> dict[str, object]:
    found = interval(QuestionCounts(hits, counted), confidence)
    row = {"quantity": quantity, "statistic": statistic, "value": found.rate}
    return row | {"low": found.low, "high": found.high, "n": found.n}


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


NUMERIC: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "pearson": pearson,
    "weighted_kappa": weighted_kappa,
    "mean_difference": mean_difference,
    "mean_absolute_difference": mean_absolute_difference,
}


def _alpha_rows(
    outcomes: pl.LazyFrame, judges: Sequence[str], confidence: float, seed: int
) -> list[dict]:
    """Krippendorff's alpha of all judges, by the package, over patterns counted by question.

    Scores are binned to `ALPHA_BINS` levels first, so that the patterns stay few.
    """
    rows = []
    step = 100 / ALPHA_BINS
    quantities = {
        "flagged": (pl.col("flagged").cast(pl.Float64), "nominal"),
        "alignment": ((pl.col("alignment") / step).round() * step, "interval"),
        "coherence": ((pl.col("coherence") / step).round() * step, "interval"),
    }
    for name, (value, level) in quantities.items():
        question, ratings, counts = _rating_patterns(outcomes, judges, value)
        if np.isfinite(ratings).sum(axis=1).max(initial=0) < 2:
            continue
        weights = question_weights(int(question.max()) + 1, ALPHA_RESAMPLES, seed)
        draws = np.array(
            [krippendorff_alpha(ratings, counts * drawn[question], level) for drawn in weights]
        )
        row = _statistic_row(name, "krippendorff_alpha", draws, counts.sum(), confidence)
        rows.append({"judge_a": "all", "judge_b": "all", **row})
    return rows


def _rating_patterns(
    outcomes: pl.LazyFrame, judges: Sequence[str], value: pl.Expr
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each question's distinct rating patterns: question number, ratings by judge, answers."""
    answers = outcomes.group_by("response_key").agg(
        QUESTION.first(),
        *(value.filter(pl.col("judge") == judge).first().alias(judge) for judge in judges),
    )
    counted = (
        answers.group_by("question", *judges)
        .agg(answers=pl.len())
        .sort("question", *judges)
        .collect(engine="streaming")
    )
    return (
        counted["question"].rank("dense").to_numpy().astype(int) - 1,
        counted.select(judges).to_numpy().astype(float),
        counted["answers"].to_numpy().astype(float),
    )


def krippendorff_alpha(ratings: np.ndarray, counts: np.ndarray, level: str) -> float:
    """Alpha of weighted patterns (patterns x judges, NaN missing); NaN where nothing varies.

    One minus observed over expected disagreement, from the coincidence matrix (Krippendorff 2004,
    Content Analysis, chapter 11). The package of that name takes one row a unit; here equal rows
    come once with their number, which is the same sum.
    """
    values = np.unique(ratings[np.isfinite(ratings)])
    per_unit = (ratings[:, :, None] == values).sum(axis=1).astype(float)
    sizes = per_unit.sum(axis=1)
    paired = (sizes > 1) & (counts > 0)
    per_unit, sizes, counts = per_unit[paired], sizes[paired], counts[paired]
    scaled = per_unit * (counts / (sizes - 1))[:, None]
    coincidences = scaled.T @ per_unit - np.diag(scaled.sum(axis=0))
    totals = coincidences.sum(axis=0)
    if level == "nominal":
        distance = (values[:, None] != values[None, :]).astype(float)
    else:
        distance = (values[:, None] - values[None, :]) ** 2
    expected = (np.outer(totals, totals) - np.diag(totals)) / (totals.sum() - 1)
    disagreement = (expected * distance).sum()
    if disagreement <= 0:
        return float("nan")
    return float(1 - (coincidences * distance).sum() / disagreement)
