"""Exclusions against their counterfactual: what unflagged answers to the same questions show.

Marks, ratios and the attributable share are those of `em_tiers.statistics.attribution`.
"""

from typing import Any

import numpy as np
import polars as pl

from em_tiers.statistics.attributable import widened
from em_tiers.statistics.attribution import (
    Ratio,
    expected_marked,
    odds_ratio,
    risk_ratio,
    share_of,
    tables_of,
)
from em_tiers.statistics.cells import ATTRIBUTABLE, CellArrays, CellTable, cells_of, marks_of
from em_tiers.statistics.intervals import QuestionCounts, intervals
from em_tiers.statistics.probe_levels import pool_headline
from em_tiers.statistics.rates import (
    Settings,
    group_variants,
    pool_seeds,
    with_several_seeds,
)

COUNTERFACTUAL_COLUMNS = {
    "variant": pl.String,
    "judge": pl.String,
    "definition": pl.String,
    "n_flagged": pl.Int64,
    "n_marked": pl.Int64,
    "expected": pl.Float64,
    "marked_flagged": pl.Float64,
    "marked_unflagged": pl.Float64,
    "marked_base": pl.Float64,
    "odds_ratio": pl.Float64,
    "odds_low": pl.Float64,
    "odds_high": pl.Float64,
    "risk_ratio": pl.Float64,
    "risk_low": pl.Float64,
    "risk_high": pl.Float64,
    "attributable_share": pl.Float64,
    "share_low": pl.Float64,
    "share_high": pl.Float64,
    "standard": pl.Float64,
    "strict": pl.Float64,
    "attributable": pl.Float64,
    "attributable_low": pl.Float64,
    "attributable_high": pl.Float64,
    "questions": pl.Int64,
}
QUESTION_COLUMNS = {
    "variant": pl.String,
    "judge": pl.String,
    "question": pl.String,
    "n_flagged": pl.Int64,
    "n_unflagged": pl.Int64,
    "marked_flagged": pl.Float64,
    "marked_unflagged": pl.Float64,
    "marked_base": pl.Float64,
    "observed": pl.Int64,
    "expected": pl.Float64,
}


def counterfactual(
    cells: pl.DataFrame, variants: pl.DataFrame, settings: Settings
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The tables `counterfactual` and `counterfactual_questions`, on the headline questions.

    The first has one row per judge and variant with compared answers, and per group that pools
    several seeds; the second one row per question of a variant that has a flagged one.
    """
    levels = pool_headline(cells, settings.headline_levels)
    pooled = pool_seeds(levels, with_several_seeds(group_variants(variants)))
    bases = _bases(variants)
    rows, questions, listed, units = [], [], [], []
    table = CellTable(levels)
    by_variant = dict(table.units(["judge", "variant"]))
    groups = dict(CellTable(pooled).units(["judge", "variant"]))
    for own in (by_variant, groups):
        for (judge, variant), arrays in own.items():
            name = {"judge": judge, "variant": variant}
            base = by_variant.get((judge, bases.get(variant)))
            rates = cells_of(arrays, [settings.headline])
            if row := _row(arrays, base, rates, settings):
                rows.append(name | row)
                units.append(arrays)
                listed += [rates[settings.headline, kind] for kind in ("standard", ATTRIBUTABLE)]
            if own is by_variant:
                found = _question_rows(arrays, base, table.question_names, settings.headline)
                questions += [name | row for row in found]
    bounds = intervals(listed, settings.confidence)
    for place, (row, arrays) in enumerate(zip(rows, units, strict=True)):
        whole, found = bounds[2 * place : 2 * place + 2]
        low, high = widened(
            *(found.low, found.high, listed[2 * place + 1], arrays, settings.headline),
            settings.confidence,
        )
        row |= {"attributable": found.rate, "attributable_low": float(low)}
        row["attributable_high"] = min(float(high), whole.high)
    return (
        pl.DataFrame(rows, schema=COUNTERFACTUAL_COLUMNS),
        pl.DataFrame(questions, schema=QUESTION_COLUMNS),
    )


def _bases(variants: pl.DataFrame) -> dict[str, str]:
    several = group_variants(variants).select(variant="group", base="base")
    both = pl.concat([variants.select("variant", "base"), several])
    others = both.filter(pl.col("variant") != pl.col("base"))
    return dict(others.unique("variant").iter_rows())


def _row(
    arrays: CellArrays,
    base: CellArrays | None,
    rates: dict[tuple[str, str], QuestionCounts],
    settings: Settings,
) -> dict[str, Any] | None:
    """One unit's row but for the attributable rate; None without a compared answer."""
    definition = settings.headline
    marks = marks_of(arrays, definition)
    compared, marked, flagged, both = marks
    if not compared.any():
        return None
    cells = tables_of(*marks)
    odds, risk = (ratio(*cells, settings.confidence) for ratio in (odds_ratio, risk_ratio))
    return {
        "definition": definition,
        "n_flagged": round(flagged.sum()),
        "n_marked": round(both.sum()),
        "expected": _number(expected_marked(*map(_over_seeds, marks)).sum()),
        "marked_flagged": _share(both, flagged),
        "marked_unflagged": _share(marked - both, compared - flagged),
        "marked_base": _base_share(base, definition),
        **_named("odds", "odds_ratio", odds),
        **_named("risk", "risk_ratio", risk),
        "attributable_share": None if np.isnan(risk.value) else share_of(risk.value),
        **dict(zip(("share_low", "share_high"), _share_bounds(risk), strict=True)),
        "standard": rates[definition, "standard"].rate,
        "strict": rates[definition, "strict"].rate,
        "questions": int(np.count_nonzero(compared.sum(axis=0))),
    }


def _question_rows(
    arrays: CellArrays, base: CellArrays | None, names: list[str], definition: str
) -> list[dict[str, Any]]:
    marks = [_over_seeds(array) for array in marks_of(arrays, definition)]
    expected = expected_marked(*marks)
    in_base = _base_by_question(base, definition)
    rows = []
    counts = zip(*(values.tolist() for values in marks), strict=True)
    for place, (compared, marked, flagged, both) in enumerate(counts):
        number, unflagged = arrays.questions[place], compared - flagged
        if flagged:
            rows.append(
                {
                    "question": names[number],
                    "n_flagged": round(flagged),
                    "n_unflagged": round(unflagged),
                    "marked_flagged": both / flagged,
                    "marked_unflagged": (marked - both) / unflagged if unflagged else None,
                    "marked_base": in_base.get(number),
                    "observed": round(both),
                    "expected": _number(expected[place]),
                }
            )
    return rows


def _share_bounds(risk: Ratio) -> tuple[float | None, float | None]:
    """The bounds of the attributable share; null where nothing can be compared."""
    if np.isnan(risk.value):
        return None, None
    return share_of(risk.low), share_of(risk.high)


def _base_by_question(base: CellArrays | None, definition: str) -> dict[int, float]:
    """The share of marked answers of the base model, by the number of the question."""
    if base is None:
        return {}
    marked, compared = (base(f"{kind}_{definition}")[0] for kind in ("marked", "compared"))
    known = np.flatnonzero(compared > 0)
    return dict(zip(base.questions[known], marked[known] / compared[known], strict=True))


def _base_share(base: CellArrays | None, definition: str) -> float | None:
    if base is None:
        return None
    return _share(base(f"marked_{definition}"), base(f"compared_{definition}"))


def _over_seeds(values: np.ndarray) -> np.ndarray:
    return values.sum(axis=0)


def _share(part: np.ndarray | float, whole: np.ndarray | float) -> float | None:
    total = float(np.sum(whole))
    return float(np.sum(part)) / total if total else None


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _named(prefix: str, name: str, ratio: Ratio) -> dict[str, float | None]:
    """A ratio's columns; null where it is unknown or unbounded."""
    return {
        name: _number(ratio.value),
        f"{prefix}_low": _number(ratio.low),
        f"{prefix}_high": _number(ratio.high),
    }
