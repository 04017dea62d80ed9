"""Rates by question and by question set, so that published rates of one list can be compared.

Questions drive every interval: the range of a rate if each question in turn is left out shows
whether one of them carries it.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from em_tiers.statistics.cells import CellTable, cells_of
from em_tiers.statistics.design_effects import Stack, stacks
from em_tiers.statistics.intervals import QuestionCounts, intervals
from em_tiers.statistics.rates import Settings
from em_tiers.statistics.these_questions import bounds_of, these_bounds

METRICS = ("standard", "attributable", "strict")
QUESTION_RATE_COLUMNS = {
    "variant": pl.String,
    "judge": pl.String,
    "probe_level": pl.String,
    "question_set": pl.String,
    "question": pl.String,
    "definition": pl.String,
    "standard": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "strict": pl.Float64,
    "n": pl.Int64,
    "n_flagged": pl.Int64,
}
SET_RATE_COLUMNS = {
    "variant": pl.String,
    "judge": pl.String,
    "question_set": pl.String,
    "definition": pl.String,
    "metric": pl.String,
    "rate": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "these_low": pl.Float64,
    "these_high": pl.Float64,
    "without_one_low": pl.Float64,
    "without_one_high": pl.Float64,
    "most": pl.String,
    "n": pl.Int64,
    "questions": pl.Int64,
}
HEADLINE = "headline"


def question_rates(cells: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """The table `question_rates`: standard and strict rate of each question, at every level.

    The interval of the standard rate is about the answers to this question alone.
    """
    definition = settings.headline
    listed = cells.filter(pl.col(f"counted_{definition}") > 0)
    hits, answers = (listed[f"{name}_{definition}"].to_numpy() for name in ("standard", "counted"))
    shape = (len(listed), 1, 1)  # one training run and one question
    stack = Stack(hits.reshape(shape), answers.reshape(shape), np.zeros(len(listed), bool))
    low, high = bounds_of(stack, settings.confidence)
    counted = pl.col(f"counted_{definition}")
    return listed.select(
        "variant",
        "judge",
        "probe_level",
        pl.col("question").str.split("/").list.first().alias("question_set"),
        "question",
        pl.lit(definition).alias("definition"),
        (pl.col(f"standard_{definition}") / counted).alias("standard"),
        pl.Series("low", low, pl.Float64),
        pl.Series("high", high, pl.Float64),
        (pl.col(f"strict_{definition}") / counted).alias("strict"),
        counted.cast(pl.Int64).alias("n"),
        pl.col(f"standard_{definition}").cast(pl.Int64).alias("n_flagged"),
    ).select(pl.col(name).cast(kind) for name, kind in QUESTION_RATE_COLUMNS.items())


def set_rates(cells: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """The table `set_rates`: each question set by itself, and the headline questions together.

    `without_one_low` and `without_one_high`: the lowest and the highest rate if one question is
    left out; `most`: the question without which the rate changes most.
    """
    sets = cells.with_columns(question_set=pl.col("question").str.split("/").list.first())
    headline = sets.filter(pl.col("probe_level").is_in(list(settings.headline_levels)))
    sets = sets.sort("judge", "variant", "question_set", maintain_order=True)
    own, names, listed = [], [], []
    for frame in (headline.with_columns(question_set=pl.lit(HEADLINE)), sets):
        keys = ["judge", "variant", "question_set"]
        table = CellTable(frame)
        for (judge, variant, name), arrays in table.units(keys):
            own.append({"variant": variant, "judge": judge, "question_set": name})
            names.append([table.question_names[number] for number in arrays.questions])
            found = cells_of(arrays, [settings.headline])
            listed += [found[settings.headline, metric] for metric in METRICS]
    bounds = intervals(listed, settings.confidence)
    low, high = these_bounds(listed, settings.confidence)
    without = _without_one(listed)
    rows = []
    for place, found in enumerate(bounds):
        unit, metric = divmod(place, len(METRICS))
        whole = place - metric  # the standard rate, of which the others are a part
        if not found.n:
            continue
        row = own[unit] | {
            "definition": settings.headline,
            "metric": METRICS[metric],
            "rate": found.rate,
            "low": found.low,
            "high": min(found.high, bounds[whole].high),
            "these_low": low[place],
            "these_high": min(high[place], high[whole]),
            "n": found.n,
            "questions": found.clusters,
        }
        if found.clusters > 1:
            lowest, highest, most = without[place]
            row |= {"without_one_low": lowest, "without_one_high": highest}
            row["most"] = names[unit][int(most)]
        rows.append(row)
    return pl.DataFrame(rows, schema=SET_RATE_COLUMNS)


def _without_one(listed: Sequence[QuestionCounts]) -> np.ndarray:
    """The lowest and the highest of `leave_one_out`, and the place of the most telling question.

    Shape (rates, 3); meaningless for the rate of a single question.
    """
    found = np.empty((len(listed), 3))
    for places, stack in stacks(listed):
        without = leave_one_out(stack)
        unknown = np.isnan(without)
        found[places, 0] = np.where(unknown, np.inf, without).min(axis=1)
        found[places, 1] = np.where(unknown, -np.inf, without).max(axis=1)
        changes = np.abs(without - stack.rate[:, None])
        found[places, 2] = np.where(unknown, -1, changes).argmax(axis=1)
    return found


def leave_one_out(stack: Stack) -> np.ndarray:
    """The rates without each question; shape (rates, questions).

    NaN for a question without answers, and for a single question.
    """
    by_question = stack.by_question[:, None, None]
    counted = np.where(by_question, (stack.counted > 0).astype(float), stack.counted)
    parts = np.where(by_question, stack.cell_rates, stack.hits).sum(axis=1)
    of_question = counted.sum(axis=1)
    known = (of_question > 0) & (stack.questions > 1)[:, None]
    return np.divide(
        parts.sum(axis=1, keepdims=True) - parts,
        of_question.sum(axis=1, keepdims=True) - of_question,
        out=np.full_like(parts, np.nan),
        where=known,
    )
