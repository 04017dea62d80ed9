"""The counterfactual of exclusions by text alone: a second opinion, and its placebo.

Of each fine-tune, the answers that read like its own data set are compared between flagged and
unflagged answers to the same questions, as `em_tiers.statistics.counterfactual` does with a judge's
topic score. The placebo asks the same of every *other* data set: what it seems to explain is noise.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from em_tiers.statistics.attribution import (
    expected_marked,
    odds_ratio,
    risk_ratio,
    share_of,
    tables_of,
)
from em_tiers.statistics.rates import Settings
from em_tiers.tables import HAS_VERDICT, QUESTION
from em_tiers.tiers.definitions import definition_named
from em_tiers.tiers.text_evidence import like_column

TEXT_COLUMNS = {
    "variant": pl.String,
    "judge": pl.String,
    "like": pl.String,
    "placebo": pl.Boolean,
    "auc": pl.Float64,
    "n_flagged": pl.Int64,
    "n_marked": pl.Int64,
    "expected": pl.Float64,
    "marked_flagged": pl.Float64,
    "marked_unflagged": pl.Float64,
    "odds_ratio": pl.Float64,
    "odds_low": pl.Float64,
    "odds_high": pl.Float64,
    "risk_ratio": pl.Float64,
    "attributable_share": pl.Float64,
    "standard": pl.Float64,
    "attributable": pl.Float64,
}


def text_contrast(
    outcomes: pl.LazyFrame,
    marks: pl.DataFrame,
    aucs: Mapping[str, float],
    settings: Settings,
) -> pl.DataFrame:
    """The table `text_contrast`: one row per judge, fine-tune and data set.

    Args:
        marks: response_key, and a `like_column` for each data set of `aucs`.
        aucs: of each data set's classifier.
    """
    if not aucs:
        return pl.DataFrame(schema=TEXT_COLUMNS)
    definition = definition_named(settings.headline)
    counted = outcomes.filter(
        pl.col("probe_level").is_in(list(settings.headline_levels)),
        definition.counted,
        pl.col("dataset").is_not_null(),
    )
    compared = HAS_VERDICT & ~pl.col("question_on_topic")
    among, bad = pl.col("among"), pl.col("bad")
    units = (
        counted.with_columns(bad=definition.misaligned.fill_null(False), among=compared)
        .join(marks.lazy(), on="response_key")
        .group_by("judge", "variant", "dataset", QUESTION)
        .agg(
            answers=pl.len(),
            standard=bad.sum(),
            compared=among.sum(),
            flagged=(among & bad).sum(),
            **{f"marked {name}": (among & pl.col(like_column(name))).sum() for name in aucs},
            **{f"both {name}": (among & bad & pl.col(like_column(name))).sum() for name in aucs},
        )
        .collect(engine="streaming")
    )
    common = ("judge", "variant", "dataset", "question", "answers", "standard")
    cells = pl.concat(
        units.select(
            *(*common, "compared", "flagged"),
            like=pl.lit(name),
            marked=f"marked {name}",
            both=f"both {name}",
        )
        for name in aucs
    ).sort("judge", "variant", "like", "question")
    rows = []
    for (judge, variant, dataset, like), part in cells.group_by(
        "judge", "variant", "dataset", "like", maintain_order=True
    ):
        named = {"judge": judge, "variant": variant, "like": like, "placebo": like != dataset}
        rows.append(named | {"auc": aucs.get(like)} | _row(part, settings.confidence))
    return pl.DataFrame(rows, schema=TEXT_COLUMNS)


def _row(part: pl.DataFrame, confidence: float) -> dict[str, Any]:
    names = ("compared", "marked", "flagged", "both")
    compared, marked, flagged, both = (part[name].to_numpy().astype(float) for name in names)
    tables = tuple(np.atleast_2d(k) for k in tables_of(compared, marked, flagged, both))
    odds, risk = odds_ratio(*tables, confidence), risk_ratio(*tables, confidence)
    share = None if np.isnan(risk.value) else share_of(risk.value)
    n, bad = int(part["answers"].sum()), int(part["standard"].sum())
    return {
        "n_flagged": int(flagged.sum()),
        "n_marked": int(both.sum()),
        "expected": _finite(expected_marked(compared, marked, flagged, both).sum()),
        "marked_flagged": _ratio(both, flagged),
        "marked_unflagged": _ratio(marked - both, compared - flagged),
        "odds_ratio": _finite(odds.value),
        "odds_low": _finite(odds.low),
        "odds_high": _finite(odds.high),
        "risk_ratio": _finite(risk.value),
        "attributable_share": share,
        "standard": bad / n,
        "attributable": (bad - (share or 0.0) * float(both.sum())) / n,
    }


def _ratio(part: np.ndarray, whole: np.ndarray) -> float | None:
    return float(part.sum() / whole.sum()) if whole.sum() else None


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
