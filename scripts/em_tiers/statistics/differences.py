"""Differences from the base model, paired by question.

The interval of a difference p - q combines the intervals (l, u) of the two rates (MOVER: Newcombe
1998, Statistics in Medicine 17, 2635-2650; Zou & Donner 2008, the same 27, 1693-1702):

    L = p - q - sqrt((p - l_p)^2 - 2 r (p - l_p)(u_q - q) + (u_q - q)^2)
    U = p - q + sqrt((u_p - p)^2 - 2 r (u_p - p)(q - l_q) + (q - l_q)^2)

with r the correlation of the two rates over the questions, here never below 0 nor above 0.8 (a few
questions can correlate perfectly by chance, and the interval must keep its width). Its width is
positive because the rates' intervals have width.

The p-value flips the signs of the questions' differences (Fisher's randomisation test; the wild
bootstrap with Rademacher weights and the null imposed): exact up to 12 questions, 10,000 draws
beyond. With several training seeds the p-value is the larger of that and of Student's t test over
the seeds' differences, so that a claim must hold over both.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import polars as pl
from scipy import stats

from em_tiers.statistics.intervals import METHOD, Interval, QuestionCounts, intervals
from em_tiers.statistics.probe_levels import pool_levels
from em_tiers.statistics.rates import (
    Settings,
    cells_of,
    group_variants,
    with_several_seeds,
)

EXACT_QUESTIONS = 12
DRAWS = 10_000
MOST_CORRELATED = 0.8
LEVEL = 0.05
DIFFERENCE_COLUMNS = {
    "variant": pl.String,
    "base": pl.String,
    "judge": pl.String,
    "definition": pl.String,
    "metric": pl.String,
    "difference": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "p_value": pl.Float64,
    "p_adjusted": pl.Float64,
    "method": pl.String,
    "n": pl.Int64,
    "n_base": pl.Int64,
    "clusters": pl.Int64,
    "warning": pl.String,
}


def mover(first: Interval, second: Interval, correlation: float) -> tuple[float, float]:
    """Bounds of `first.rate - second.rate` from the two intervals and their correlation."""
    below = (first.rate - first.low, second.high - second.rate)
    above = (first.high - first.rate, second.rate - second.low)
    halves = [np.sqrt(a * a - 2 * correlation * a * b + b * b) for a, b in (below, above)]
    difference = first.rate - second.rate
    return max(difference - halves[0], -1.0), min(difference + halves[1], 1.0)


def correlation_of(first: Sequence[float], second: Sequence[float]) -> float:
    """Pearson's r of two rates over the questions, within [0, 0.8]; 0 where there is none."""
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.clip(np.corrcoef(first, second)[0, 1], 0, MOST_CORRELATED))


def sign_flip(differences: np.ndarray, seed: int = 0) -> float:
    """Two-sided p-value that the mean of paired differences is zero."""
    differences = np.asarray(differences, float)
    if not np.any(differences):
        return 1.0
    signs = _signs(len(differences), seed)
    null = np.abs(signs @ differences)
    as_extreme = null >= abs(differences.sum()) - 1e-12
    if len(differences) <= EXACT_QUESTIONS:
        return float(as_extreme.mean())
    return float((as_extreme.sum() + 1) / (len(signs) + 1))


@lru_cache(maxsize=64)
def _signs(questions: int, seed: int) -> np.ndarray:
    if questions <= EXACT_QUESTIONS:
        codes = np.arange(2**questions)[:, None] >> np.arange(questions)
        return 1.0 - 2.0 * (codes & 1)
    return np.random.default_rng(seed).choice([-1.0, 1.0], (DRAWS, questions))


def summarize_differences(
    cells: pl.DataFrame, variants: pl.DataFrame, settings: Settings
) -> pl.DataFrame:
    """The table `differences`: each variant, and each group of seeds, against its base model.

    Over the headline probe levels and the questions that both answered. `p_adjusted` is Holm's
    (1979), within one judge, definition and metric, separately for variants and for groups.
    """
    levels = pool_levels(cells, settings.headline_levels).filter(
        pl.col("probe_level") == "headline"
    )
    tested = variants.filter(pl.col("variant") != pl.col("base"))
    several = with_several_seeds(group_variants(tested))
    single = tested.with_columns(group="variant")
    families = [
        rows
        for members in (single, several)
        if not (rows := _against_base(levels, members, settings)).is_empty()
    ]
    if not families:
        return pl.DataFrame(schema=DIFFERENCE_COLUMNS)
    return pl.concat([_with_adjusted_p_values(rows) for rows in families]).select(
        pl.col(name).cast(kind) for name, kind in DIFFERENCE_COLUMNS.items()
    )


def _against_base(levels: pl.DataFrame, members: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    rows = []
    by_judge = dict(iter(levels.group_by(["judge", "variant"], maintain_order=True)))
    for (group,), named in members.group_by(["group"], maintain_order=True):
        base = named.get_column("base")[0]
        for judge in levels.get_column("judge").unique(maintain_order=True):
            frames = [by_judge.get((judge, variant)) for variant in named.get_column("variant")]
            frames = [f.with_columns(seed_row=i) for i, f in enumerate(frames) if f is not None]
            reference = by_judge.get((judge, base))
            if frames and reference is not None:
                rows += [
                    {"variant": group, "base": base, "judge": judge, **row}
                    for row in _difference_rows(pl.concat(frames), reference, settings)
                ]
    return pl.DataFrame(rows, infer_schema_length=None)


def _difference_rows(
    tested: pl.DataFrame, reference: pl.DataFrame, settings: Settings
) -> list[dict]:
    tested = tested.join(reference.select("question"), on="question", how="semi")
    reference = reference.join(tested.select("question"), on="question", how="semi")
    if tested.is_empty():
        return []
    first, second = cells_of(tested), cells_of(reference)
    return [
        {"definition": definition, "metric": metric, **found}
        for definition, metric in first
        if (
            found := _difference_row(
                first[definition, metric], second[definition, metric], settings
            )
        )
    ]


def _difference_row(
    tested: QuestionCounts, reference: QuestionCounts, settings: Settings
) -> dict | None:
    both = (tested.counted.sum(axis=0) > 0) & (reference.counted.sum(axis=0) > 0)
    if not both.any():
        return None
    tested, reference = (
        QuestionCounts(c.hits[:, both], c.counted[:, both], c.by_question)
        for c in (tested, reference)
    )
    rates, base = _question_rates(tested), reference.rates[0]
    pair = intervals([tested, reference], settings.confidence)
    low, high = mover(*pair, correlation_of(rates, base))
    p_value = sign_flip(rates - base, settings.seed)
    if tested.seeds > 1:
        over_seeds = [
            QuestionCounts(h, c, tested.by_question).rate - reference.rate
            for h, c in zip(tested.hits, tested.counted, strict=True)
            if c.sum()
        ]
        p_value = max(p_value, _student_p(over_seeds))
    return {
        "difference": pair[0].rate - pair[1].rate,
        "low": low,
        "high": high,
        "p_value": p_value,
        "method": f"MOVER of {METHOD}; sign flips over questions"
        + (" and t over seeds" if tested.seeds > 1 else ""),
        "n": pair[0].n,
        "n_base": pair[1].n,
        "clusters": pair[0].clusters,
    }


def _question_rates(cells: QuestionCounts) -> np.ndarray:
    """Each question's rate, its seeds pooled."""
    return cells.hits.sum(axis=0) / cells.counted.sum(axis=0)


def _student_p(differences: Sequence[float]) -> float:
    if np.ptp(differences) == 0:
        return 1.0 if differences[0] == 0 else 0.0
    return float(stats.ttest_1samp(differences, 0.0).pvalue)


def holm(p_values: np.ndarray) -> np.ndarray:
    """P-values adjusted by Holm (1979, Scand. J. Stat. 6, 65-70), step-down, at most 1.

    statsmodels has the same, with a garbage collection in each call that takes longer than all
    else here.
    """
    order = np.argsort(p_values)
    steps = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def _with_adjusted_p_values(rows: pl.DataFrame) -> pl.DataFrame:
    adjusted = np.empty(len(rows))
    warnings: list[str | None] = [None] * len(rows)
    numbered = rows.with_row_index("row")
    for _, family in numbered.group_by("judge", "definition", "metric"):
        p_values = family.get_column("p_value").to_numpy()
        places = family.get_column("row").to_list()
        adjusted[places] = holm(p_values)
        for place, clusters in zip(places, family.get_column("clusters"), strict=True):
            warnings[place] = significance_warning(clusters, len(places))
    return rows.with_columns(p_adjusted=adjusted, warning=pl.Series(warnings, dtype=pl.String))


def significance_warning(questions: int, comparisons: int) -> str | None:
    """A warning where no difference could be significant, however large.

    The sign flips of k questions have a p-value of at least 2^(1 - k), or of one in their draws.
    """
    exact = questions <= EXACT_QUESTIONS
    smallest = 2.0 ** (1 - questions) if exact else 1 / (DRAWS + 1)
    if smallest * comparisons <= LEVEL:
        return None
    source = f"{questions} questions" if exact else f"{DRAWS:,} draws of signs"
    needed = int(np.ceil(1 + np.log2(comparisons / LEVEL)))
    return (
        f"{source} cannot give an adjusted p-value below {min(smallest * comparisons, 1):.2g} in "
        f"{comparisons} comparisons, whatever the difference"
        + (f": {needed} questions could" if exact and needed <= EXACT_QUESTIONS else "")
    )
