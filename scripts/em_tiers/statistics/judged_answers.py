"""Answers with the verdicts of all judges side by side, as arrays: one pass over the outcomes.

Answers are numbered once. Counting pairs of verdicts by variant and question is then arithmetic on
small integers, and no key of an answer is looked up again.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from em_tiers.tables import HAS_VERDICT, QUESTION
from em_tiers.terms import OUTCOMES_ALL, SCORES, TIERS, WITHOUT_VERDICT

CATEGORIES = {
    "flagged": ("false", "true"),
    "tier": TIERS,
    "outcome": tuple(name for name in OUTCOMES_ALL if name not in WITHOUT_VERDICT),
}
ANSWERED = ("share", "only_a", "only_b", "neither")
NONE = -1  # in place of a category
BINS = 20  # levels of a score for Krippendorff's alpha
BINNED = {"alignment": "alignment_bin", "coherence": "coherence_bin"}
Places = slice | np.ndarray


class JudgedAnswers(NamedTuple):
    """The answers that any judge was given.

    Attributes:
        judges, variants, questions: names, in alphabetical order.
        variant, question: places of each answer's names; shape (answers,).
        values: an array of shape (answers,) for each judge. `given`: it was given the answer. Those
            of `judged_answers` are `judged`: it gave a verdict; places in CATEGORIES, or NONE;
            SCORES, NaN without one; and BINNED scores, from 0 to BINS, or NONE.
    """

    judges: list[str]
    variants: list[str]
    questions: list[str]
    variant: np.ndarray
    question: np.ndarray
    values: dict[str, list[np.ndarray]]


class PairCounts(NamedTuple):
    """Counts over the answers that two judges were given, by cell (variant and question).

    Attributes:
        variants: the names of the variants.
        variant, question: numbers of each cell's, in ascending order; shape (cells,).
        sums: arrays with one row per cell. Those of `pair_counts` are for each of CATEGORIES the
            contingency tables, judge a in rows (cells x k x k); for each of SCORES the moments over
            the answers that both scored (cells x 7, see `em_tiers.statistics.agreement_measures`);
            and `answered`, the numbers of ANSWERED.
    """

    variants: list[str]
    variant: np.ndarray
    question: np.ndarray
    sums: dict[str, np.ndarray]

    def of_all(self) -> dict[str, np.ndarray]:
        """The sums by question, all variants together."""
        questions, place = np.unique(self.question, return_inverse=True)
        found = {}
        for name, values in self.sums.items():
            found[name] = np.zeros((len(questions), *values.shape[1:]))
            np.add.at(found[name], place, values)
        return found

    def by_variant(self) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        """Each variant with its sums by question."""
        found = np.unique(self.variant, return_index=True, return_counts=True)
        for number, start, cells in zip(*found, strict=True):
            own = {name: values[start : start + cells] for name, values in self.sums.items()}
            yield self.variants[number], own


def judged_answers(outcomes: pl.LazyFrame | JudgedAnswers) -> JudgedAnswers:
    """The answers of an outcomes table, unless they are arrays already."""
    if isinstance(outcomes, JudgedAnswers):
        return outcomes
    return side_by_side(outcomes, _columns())


def side_by_side(outcomes: pl.LazyFrame, columns: Mapping[str, tuple]) -> JudgedAnswers:
    """The answers of an outcomes table, with the values of `columns` and `given`.

    Args:
        columns: name -> expression and the value where the judge was not given the answer.
    """
    judges, variants = (
        outcomes.select(pl.col(name).unique().sort()).collect(engine="streaming").to_series()
        for name in ("judge", "variant")
    )
    asked = outcomes.select("question_set", "question_id").unique().collect(engine="streaming")
    questions = asked.select(QUESTION).to_series().unique().sort()
    columns = {
        "variant": (_place(pl.col("variant"), variants), 0),
        "question": (_place(QUESTION, questions), 0),
        "given": (pl.lit(True), False),
        **columns,
    }
    read = [value.alias(name) for name, (value, _) in columns.items()]
    frames = [
        outcomes.filter(pl.col("judge") == judge)
        .select("response_key", *read)
        .collect(engine="streaming")
        for judge in judges
    ]
    places, count = _places([frame.get_column("response_key") for frame in frames])
    values = {
        name: _placed([frame.get_column(name) for frame in frames], places, count, missing)
        for name, (_, missing) in columns.items()
    }
    variant, question = (
        np.max(values.pop(name) or np.zeros((1, 0), int), axis=0)
        for name in ("variant", "question")
    )
    names = (listed.to_list() for listed in (judges, variants, questions))
    return JudgedAnswers(*names, variant, question, values)


def _columns() -> dict[str, tuple]:
    categories = {
        "flagged": pl.when(HAS_VERDICT).then(pl.col("flagged").cast(pl.String)),
        "tier": pl.col("tier_label"),
        "outcome": pl.when(HAS_VERDICT & pl.col("human_tier").is_null()).then("outcome"),
    }
    bins = {
        name: (pl.col(score) / (100 / BINS)).round().fill_null(NONE).cast(pl.Int8)
        for score, name in BINNED.items()
    }
    return {
        "judged": (HAS_VERDICT, False),
        **{
            name: (_place(value, CATEGORIES[name]).fill_null(NONE).cast(pl.Int8), NONE)
            for name, value in categories.items()
        },
        **{name: (value, NONE) for name, value in bins.items()},
        **{score: (pl.col(score).fill_null(np.nan), np.nan) for score in SCORES},
    }


def _place(value: pl.Expr, names: Sequence[str] | pl.Series) -> pl.Expr:
    """The place of a text in `names`; null where it is none of them."""
    return value.cast(pl.Enum(names), strict=False).to_physical().cast(pl.Int32)


def _places(keys: Sequence[pl.Series]) -> tuple[list[Places], int]:
    """The numbers of each judge's answers, and how many different answers there are.

    A slice stands for the first ones, in order.
    """
    known = pl.DataFrame({"key": keys[0] if keys else pl.Series([], dtype=pl.String)})
    places = []
    for own in keys:
        if own.equals(known.get_column("key")):  # the judges judged the same answers
            places.append(slice(len(own)))
            continue
        numbered = known.with_row_index("place")
        found = pl.DataFrame({"key": own}).join(
            numbered, on="key", how="left", maintain_order="left"
        )
        place = found.get_column("place").cast(pl.Int64).fill_null(NONE).to_numpy().copy()
        new = np.flatnonzero(place == NONE)
        place[new] = len(known) + np.arange(len(new))
        places.append(place)
        known = pl.concat([known, pl.DataFrame({"key": own[new]})])
    return places, len(known)


def _placed(
    columns: Sequence[pl.Series], places: Sequence[Places], answers: int, missing: float
) -> list[np.ndarray]:
    """Each judge's values of all answers; no copy where it was given them in that order."""
    found = []
    for values, place in zip(map(pl.Series.to_numpy, columns), places, strict=True):
        if len(values) == answers and isinstance(place, slice):
            found.append(values)
            continue
        found.append(np.full(answers, missing, values.dtype))
        found[-1][place] = values
    return found


def cells_of_pair(answers: JudgedAnswers, a: int, b: int) -> tuple[Places, np.ndarray, PairCounts]:
    """The places of the answers that two judges were given, their cells, and counts without sums.

    Args:
        a, b: places of the judges.
    """
    given = answers.values["given"][a] & answers.values["given"][b]
    both = slice(len(given)) if given.all() else np.flatnonzero(given)
    # Of all possible pairs of variant and question, those that occur get the next number.
    whole = answers.variant[both].astype(int) * len(answers.questions) + answers.question[both]
    occurs = np.zeros(len(answers.variants) * len(answers.questions), bool)
    occurs[whole] = True
    variant, question = np.divmod(np.flatnonzero(occurs), max(len(answers.questions), 1))
    counts = PairCounts(answers.variants, variant, question, {})
    return both, (np.cumsum(occurs) - 1)[whole], counts


def pair_counts(answers: JudgedAnswers, a: int, b: int) -> PairCounts:
    """The counts over the answers that the judges with these places were both given."""
    both, cell, counts = cells_of_pair(answers, a, b)
    cells = len(counts.variant)
    sums = {}
    for name, levels in CATEGORIES.items():
        first, second = (answers.values[name][judge][both] for judge in (a, b))
        known, k = (first != NONE) & (second != NONE), len(levels)
        place = (cell[known] * k + first[known]) * k + second[known]
        sums[name] = _count(place, cells * k * k).reshape(cells, k, k)
    for name in SCORES:
        first, second = (answers.values[name][judge][both] for judge in (a, b))
        known = np.isfinite(first) & np.isfinite(second)
        sums[name] = _moments(cell[known], first[known], second[known], cells)
    by_a, by_b = (answers.values["judged"][judge][both] for judge in (a, b))
    answered = 2 * ~by_a + 1 * ~by_b  # the place in ANSWERED
    sums["answered"] = _count(cell * len(ANSWERED) + answered, cells * len(ANSWERED))
    sums["answered"] = sums["answered"].reshape(cells, len(ANSWERED))
    return counts._replace(sums=sums)


def _count(places: np.ndarray, length: int) -> np.ndarray:
    return np.bincount(places, minlength=length).astype(float)


def _moments(cell: np.ndarray, a: np.ndarray, b: np.ndarray, cells: int) -> np.ndarray:
    values = (np.ones_like(a), a, b, a * a, b * b, a * b, np.abs(a - b))
    return np.stack([np.bincount(cell, value, cells) for value in values], axis=1)
