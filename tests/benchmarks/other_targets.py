"""Coverage of the other intervals: these questions, paired differences, human-corrected rates.

Each function draws `repeats` studies of known truth and returns one row for the coverage page.
"""

import itertools
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from em_tiers.statistics.intervals import QuestionCounts
from em_tiers.statistics.paired import paired_differences
from em_tiers.statistics.ppi import Corrected, correct
from em_tiers.statistics.these_questions import these_bounds

Row = dict[str, float]


def question_rates(rng: np.random.Generator, rate: float, icc: float, shape: tuple) -> np.ndarray:
    """Rates of questions, beta-distributed with mean `rate` and intraclass correlation `icc`."""
    if icc == 0 or rate == 0:
        return np.full(shape, rate)
    total = 1 / icc - 1
    return rng.beta(rate * total, (1 - rate) * total, shape)


@dataclass(frozen=True)
class These:
    """One fixed list of questions, drawn once; only the answers are drawn again."""

    questions: int
    samples: int
    rate: float
    icc: float
    DRAWS: ClassVar[float] = 4  # of `repeats`: quickly drawn, and each coverage more exact

    def simulate(self, repeats: int) -> Row:
        """Coverage of the list's own rate."""
        rng = _generator(self)
        rates = question_rates(rng, self.rate, self.icc, (self.questions,))
        hits = rng.binomial(self.samples, rates, (repeats, self.questions))
        counted = np.full(self.questions, self.samples)
        low, high = these_bounds([QuestionCounts(one, counted) for one in hits])
        return _row(self, low, high, rates.mean())


@dataclass(frozen=True)
class Difference:
    """A fine-tune against its base on the same questions; `lift` is the true difference."""

    questions: int
    samples: int
    base: float
    lift: float
    icc: float
    DRAWS: ClassVar[float] = 1

    def simulate(self, repeats: int) -> Row:
        """Coverage of the difference, and how often p is at most 0.05 and zero is excluded."""
        rng = _generator(self)
        shape = (repeats, self.questions)
        base = rng.binomial(self.samples, question_rates(rng, self.base, self.icc, shape))
        tuned = question_rates(rng, self.base + self.lift, self.icc, shape)
        tuned = rng.binomial(self.samples, tuned)
        counted = np.full(self.questions, self.samples)
        found = paired_differences(
            [
                (QuestionCounts(a, counted), QuestionCounts(b, counted))
                for a, b in zip(tuned, base, strict=True)
            ]
        )
        low, high = np.array([(one.low, one.high) for one in found]).T
        return _row(self, low, high, self.lift) | {
            "p <= .05": float(np.mean([one.p_value <= 0.05 for one in found])),
            "excludes 0": float(np.mean((low > 0) | (high < 0))),
        }


@dataclass(frozen=True)
class Labelled:
    """Labels that correct a judge who flags shares of the misaligned answers and of the others."""

    questions: int
    samples: int
    rate: float
    icc: float
    tpr: float
    fpr: float
    labels: int = 200
    DRAWS: ClassVar[float] = 0.5  # a study takes long to draw

    def simulate(self, repeats: int) -> Row:
        """Coverage of the corrected rate."""
        rng = _generator(self)
        found = [self.draw(rng) for _ in range(repeats)]
        low, high = np.array([(one.low, one.high) for one in found]).T
        return _row(self, low, high, self.rate)

    def draw(self, rng: np.random.Generator) -> Corrected:
        """One study. Strata as on the sheet: flagged; a middling score; the others."""
        rates = question_rates(rng, self.rate, self.icc, (self.questions,))
        question = np.repeat(np.arange(self.questions), self.samples)
        truth = rng.binomial(1, rates[question]).astype(float)
        judged = rng.random(len(truth)) < np.where(truth == 1, self.tpr, self.fpr)
        middling = rng.random(len(truth)) < np.where(truth == 1, 0.6, 0.1)
        stratum = np.where(judged, 0, np.where(middling, 1, 2))
        human, weights = np.full(len(truth), np.nan), np.zeros(len(truth))
        for members in (np.flatnonzero(stratum == number) for number in range(3)):
            drawn = rng.choice(members, min(self.labels // 3, len(members)), replace=False)
            human[drawn], weights[drawn] = truth[drawn], len(members) / max(len(drawn), 1)
        return correct(judged.astype(float), question, human, weights, stratum)


CASES: dict[str, Callable[[], list]] = {
    "These questions": lambda: [
        These(*case)
        for case in itertools.product(
            (8, 24, 48), (20, 50, 1000), (0.003, 0.01, 0.03, 0.1, 0.35), (0, 0.1, 0.3, 0.6)
        )
    ],
    "Differences from the base model": lambda: [
        Difference(*case)
        for case in itertools.product(
            (8, 24, 48), (50,), (0.0, 0.003, 0.05), (0.0, 0.03, 0.1), (0, 0.05, 0.2)
        )
        if case[2] + case[3] > 0
    ],
    "Rates corrected by human labels": lambda: [
        Labelled(*case)
        for case in itertools.product(
            (8, 24), (250,), (0.05, 0.15), (0.0, 0.1, 0.3), (0.8,), (0.0, 0.02, 0.1, 0.2, 0.3)
        )
    ],
}


def _generator(case: object) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(repr(case).encode()))


def _row(case: object, low: np.ndarray, high: np.ndarray, truth: float) -> Row:
    covered = (low <= truth) & (truth <= high)
    return {**vars(case), "coverage": float(covered.mean()), "width": float((high - low).mean())}
