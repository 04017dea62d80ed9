"""Differences from the base model, paired by question, and p-values adjusted for their number.

Interval and p-value of one difference come from the same test: `em_tiers.statistics.paired`.
"""

import numpy as np
import polars as pl

from em_tiers.statistics.cells import CellTable, cells_of
from em_tiers.statistics.intervals import QuestionCounts
from em_tiers.statistics.paired import Paired, paired_differences
from em_tiers.statistics.probe_levels import pool_headline
from em_tiers.statistics.rates import Settings, group_variants, with_several_seeds
from em_tiers.statistics.sign_flips import DRAWS, EXACT_QUESTIONS

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


def summarize_differences(
    cells: pl.DataFrame, variants: pl.DataFrame, settings: Settings
) -> pl.DataFrame:
    """The table `differences`: each variant, and each group of seeds, against its base model.

    Over the headline probe levels and the questions that both answered. `p_adjusted` is Holm's
    (1979), within one judge, definition and metric, separately for variants and for groups.
    """
    levels = pool_headline(cells, settings.headline_levels)
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
    keys, pairs, known = [], [], {}
    table = CellTable(levels)
    rows_of = table.rows_by(["judge", "variant"])
    judges = levels.get_column("judge").unique(maintain_order=True).to_list()
    for (group,), named in members.group_by(["group"], maintain_order=True):
        base = named.get_column("base")[0]
        for judge in judges:
            seeds = [rows_of.get((judge, variant)) for variant in named.get_column("variant")]
            seeds = [rows for rows in seeds if rows is not None]
            reference = rows_of.get((judge, base))
            if seeds and reference is not None:
                found = _pairs(table, seeds, reference, known)
                keys += [(group, base, judge, *kind) for kind in found]
                pairs += found.values()
    names = ("variant", "base", "judge", "definition", "metric")
    rows = [
        dict(zip(names, key, strict=True)) | _difference_row(found)
        for key, found in zip(
            keys, paired_differences(pairs, settings.confidence, settings.seed), strict=True
        )
        if found is not None
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def _pairs(
    table: CellTable,
    seeds: list[np.ndarray],
    reference: np.ndarray,
    known: dict[bytes, dict[tuple[str, str], QuestionCounts]],
) -> dict[tuple[str, str], tuple[QuestionCounts, QuestionCounts]]:
    """Tested and reference counts on their common questions, by definition and metric.

    Args:
        seeds: the tested rows of each training seed.
        reference: the rows of the base model.
        known: counts of references by their rows, which most variants of a base model share.
    """
    tested = np.concatenate(seeds)
    numbers = np.repeat(np.arange(len(seeds)), [len(rows) for rows in seeds])
    common = np.isin(table.questions[tested], table.questions[reference])
    tested, numbers = tested[common], numbers[common]
    reference = reference[np.isin(table.questions[reference], table.questions[tested])]
    if not len(tested):
        return {}
    rows = reference.tobytes()
    if rows not in known:
        known[rows] = cells_of(table.arrays(reference))
    first, second = cells_of(table.arrays(tested, numbers)), known[rows]
    return {kind: (first[kind], second[kind]) for kind in first}


def _difference_row(found: Paired) -> dict:
    return {
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
        "p_value": found.p_value,
        "method": found.method,
        "n": found.rates[0].n,
        "n_base": found.rates[1].n,
        "clusters": found.rates[0].clusters,
    }


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
