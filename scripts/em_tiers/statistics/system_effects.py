"""How much more a system text changes the rate of a fine-tune than that of its base model.

Each of the two is asked with the text and without it. Over the questions that all four answered:

    effect = (tuned with - tuned without) - (base with - base without)

the difference in differences. Its interval is MOVER's (Zou & Donner 2008, Statistics in Medicine
27, 1693-1702) of the two paired differences (`em_tiers.statistics.paired`), taken as independent:
where the same questions move both, it is wider than it need be. It has no p-value of its own.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from em_tiers.statistics.cells import cells_of
from em_tiers.statistics.intervals import QuestionCounts
from em_tiers.statistics.paired import Paired, paired_differences
from em_tiers.statistics.probe_levels import pool_headline
from em_tiers.statistics.rates import Settings

SIDES = ("with_text", "without_text", "base_with_text", "base_without_text")
SYSTEM_EFFECT_COLUMNS = (
    dict.fromkeys(("variant", "without", "base_with", "base", "judge"), pl.String)
    | dict.fromkeys(("definition", "metric"), pl.String)
    | dict.fromkeys((*SIDES, "tuned_difference", "base_difference"), pl.Float64)
    | dict.fromkeys(("effect", "low", "high"), pl.Float64)
    | {f"n_{side}": pl.Int64 for side in SIDES}
    | {"clusters": pl.Int64, "method": pl.String}
)
METHOD = "MOVER of the paired differences with and without the text"


def summarize_system_effects(
    cells: pl.DataFrame, contrasts: Sequence[dict], settings: Settings
) -> pl.DataFrame:
    """The table `system_effects`: one row per contrast, judge, definition and metric.

    Args:
        cells: of `em_tiers.statistics.cells.count_cells`.
        contrasts: `name`, then the ids of the variants on each side (SIDES), as many as training
            seeds are pooled; each side of the base model has one.
        settings: over whose headline probe levels the rates are.
    """
    levels = pool_headline(cells, settings.headline_levels)
    keys, pairs = [], []
    for contrast in contrasts:
        for judge, kind, sides in _counted(levels, contrast):
            keys.append((contrast, judge, *kind))
            pairs += [sides[:2], sides[2:]]
    found = paired_differences(pairs, settings.confidence, settings.seed)
    rows = [
        _row(*key, tuned, base)
        for key, tuned, base in zip(keys, found[::2], found[1::2], strict=True)
        if tuned is not None and base is not None
    ]
    return pl.DataFrame(rows, schema=SYSTEM_EFFECT_COLUMNS)


def _counted(
    levels: pl.DataFrame, contrast: dict
) -> Iterator[tuple[str, tuple[str, str], list[QuestionCounts]]]:
    """Judge, definition and metric, and the counts of the four sides on their common questions."""
    for (judge,), judged in levels.group_by(["judge"], maintain_order=True):
        sides = [_side(judged, contrast[side]) for side in SIDES]
        for other in sides:
            asked = other.select("question")
            sides = [side.join(asked, on="question", how="semi") for side in sides]
        if sides[0].is_empty():
            continue
        counts = [cells_of(side) for side in sides]
        for kind in counts[0]:
            four = [one[kind] for one in counts]
            both = np.all([one.counted.sum(axis=0) > 0 for one in four], axis=0)
            yield (
                judge,
                kind,
                [QuestionCounts(c.hits[:, both], c.counted[:, both], c.by_question) for c in four],
            )


def _side(judged: pl.DataFrame, variants: Sequence[str]) -> pl.DataFrame:
    return pl.concat(
        judged.filter(variant=variant).with_columns(seed_row=seed)
        for seed, variant in enumerate(variants)
    )


def _row(
    contrast: dict, judge: str, definition: str, metric: str, tuned: Paired, base: Paired
) -> dict:
    effect = tuned.difference - base.difference
    below = np.hypot(tuned.difference - tuned.low, base.high - base.difference)
    above = np.hypot(tuned.high - tuned.difference, base.difference - base.low)
    sides = dict(zip(SIDES, (*tuned.rates, *base.rates), strict=True))
    return (
        {"variant": contrast["name"], "without": contrast["name_without"]}
        | {"base_with": contrast["base_with_text"][0], "base": contrast["base_without_text"][0]}
        | {"judge": judge, "definition": definition, "metric": metric}
        | {name: side.rate for name, side in sides.items()}
        | {"tuned_difference": tuned.difference, "base_difference": base.difference}
        | {"effect": effect, "low": effect - below, "high": effect + above}
        | {f"n_{name}": side.n for name, side in sides.items()}
        | {"clusters": tuned.rates[0].clusters, "method": METHOD}
    )
