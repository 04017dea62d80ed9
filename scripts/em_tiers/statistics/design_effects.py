"""Design effects of questions and training seeds, for many rates at once.

The design effect (Kish 1965) is the variance of a rate between clusters over the variance that as
many independent answers would have. That of questions is raised to the geometric mean of itself and
of the assumed one, which has the weight of `em_tiers.statistics.prior`. Only its excess over one is
estimated, so that its degrees of freedom are (Q - 1) deff^2 / ((deff - 1)^2 + CHANCE) with Q
questions.

Training seeds are crossed with questions (each seed answers the same questions). Their variance
adds to that of questions as in Cameron, Gelbach & Miller (2011, J. Bus. Econ. Stat. 29, 238-249),
the seeds' part less that of the answers within questions. Two or three seeds hardly estimate it, so
it is averaged with an assumed value as if that had been seen with `SEED_WEIGHT` degrees of freedom
(the conjugate scaled inverse chi-square prior; Gelman et al. 2013, Bayesian Data Analysis, section
2.6). That value goes from the assumed effect with the correlation `SEED_ICC`, without an event, to
1 + m `SEED_VARIANCE` with m answers per seed, as the prior's weight goes from 1 to 0.

Seeds may also not differ at all. With x the variance seen and 1 + A the variance expected, both
over that of the answers within questions, the odds of no difference are

    `NO_DIFFERENCE` (1 + A)^(k / 2) exp(-k x A / (2 (1 + A))),    k = seeds - 1

(the Bayes factor of two normal models; Jeffreys 1961, Theory of Probability, chapter 5). The seeds'
part is multiplied by the probability that they do differ, so that seeds which agree as well as one
seed agrees with itself hardly widen an interval. With few events (the prior's weight near 1) they
count as different, because few events cannot tell. The degrees of freedom of the sum are
Satterthwaite's (1946, Biometrics Bulletin 2, 110-114). With one seed the interval describes that
training run and says nothing about others.

All numbers were chosen by simulation (tests/benchmarks/coverage_simulation.py).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from em_tiers.statistics.prior import ICC, assumed_effects, assumed_icc, assumed_share
from em_tiers.statistics.question_counts import QuestionCounts

CHANCE = 0.25
SEED_ICC = 0.06
SEED_VARIANCE = 0.03
SEED_WEIGHT = 1.0
NO_DIFFERENCE = 0.1
LEAST_NOISE = 0.25  # of the answers within questions, over that of independent ones


@dataclass(frozen=True)
class Stack:
    """The counts of many rates: `QuestionCounts` of one shape, as arrays.

    Attributes:
        hits, counted: shape (rates, seeds, questions).
        by_question: shape (rates,).
    """

    hits: np.ndarray
    counted: np.ndarray
    by_question: np.ndarray

    @cached_property
    def weights(self) -> np.ndarray:
        """Each cell's share of its rate."""
        by_question = self.by_question[:, None, None]
        weights = np.where(by_question, (self.counted > 0).astype(float), self.counted)
        return weights / np.maximum(weights.sum(axis=(1, 2), keepdims=True), 1)

    @cached_property
    def cell_rates(self) -> np.ndarray:
        """Each cell's rate; 0 where it counts no answer."""
        none = np.zeros_like(self.hits)
        return np.divide(self.hits, self.counted, out=none, where=self.counted > 0)

    @cached_property
    def rate(self) -> np.ndarray:
        """The rates; 0 where no answer counts. Shape (rates,), as of all below."""
        pooled = self.hits.sum(axis=(1, 2)) / np.maximum(self.counted.sum(axis=(1, 2)), 1e-300)
        averaged = (self.weights * self.cell_rates).sum(axis=(1, 2))
        return np.where(self.by_question, averaged, pooled)

    @cached_property
    def n(self) -> np.ndarray:
        """Answers counted."""
        return np.round(self.counted.sum(axis=(1, 2)))

    @cached_property
    def naive(self) -> np.ndarray:
        """Variance of a rate of n independent answers."""
        return self.rate * (1 - self.rate) / np.maximum(self.n, 1)

    @cached_property
    def questions(self) -> np.ndarray:
        """Questions with a counted answer."""
        return (self.counted.sum(axis=1) > 0).sum(axis=1)

    @cached_property
    def seeds(self) -> np.ndarray:
        """Training seeds with a counted answer."""
        return (self.counted.sum(axis=2) > 0).sum(axis=1)

    @cached_property
    def share(self) -> np.ndarray:
        """The weight of the prior."""
        return assumed_share(self.hits.sum(axis=1), self.counted.sum(axis=1))


def stacks(
    listed: Sequence[QuestionCounts], at_once: int = 4096
) -> Iterator[tuple[np.ndarray, Stack]]:
    """The counts by their shapes, at most `at_once` together, each with its places in the list."""
    places: dict[tuple[int, ...], list[int]] = {}
    for place, counts in enumerate(listed):
        places.setdefault(counts.hits.shape, []).append(place)
    for of_shape in places.values():
        for start in range(0, len(of_shape), at_once):
            found = of_shape[start : start + at_once]
            yield (
                np.array(found),
                Stack(
                    np.array([listed[i].hits for i in found]),
                    np.array([listed[i].counted for i in found]),
                    np.array([listed[i].by_question for i in found]),
                ),
            )


def design_effects(stack: Stack) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The design effects of questions and seeds, at least 1, as the interval uses them.

    Returns:
        The effects, their degrees of freedom, and the shares of them that are assumed (1 with no
        event, with all events, and with one question).
    """
    deviations = (stack.weights * (stack.cell_rates - stack.rate[:, None, None])).sum(axis=1)
    hits, counted = stack.hits.sum(axis=1), stack.counted.sum(axis=1)
    effect, share = question_effects(hits, counted, deviations, stack.naive)
    freedom = question_freedom(effect, stack.questions)
    if stack.hits.shape[1] > 1 and (stack.seeds > 1).any():
        of_seeds, seed_freedom = seed_effects(stack, share)
        total = effect + of_seeds
        both = total**2 / (effect**2 / freedom + of_seeds**2 / seed_freedom)
        effect, freedom = total, np.where(stack.seeds > 1, both, freedom)
    none = stack.n == 0
    return tuple(np.where(none, 1.0, part) for part in (effect, freedom, share))


def question_effects(
    hits: np.ndarray, counted: np.ndarray, deviations: np.ndarray, naive: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The questions' design effects, and the shares of them that are assumed.

    Args:
        hits, counted: events and answers; shape (rates, questions).
        deviations: what each question adds to a rate's deviation from its expectation.
        naive: variance of a rate of as many independent answers; shape (rates,).
    """
    questions = (counted > 0).sum(axis=1)
    known = (naive > 0) & (questions > 1)
    share = np.where(known, assumed_share(hits, counted), 1.0)
    icc = np.where(known, assumed_icc(hits, counted), ICC)
    assumed = assumed_effects(np.round(counted), icc)
    between = variance_between(deviations, questions)
    seen = np.maximum(np.divide(between, naive, out=np.ones_like(naive), where=known), 1.0)
    mixed = seen ** (1 - share) * assumed**share
    return np.where(known, np.maximum(seen, mixed), assumed), share


def question_freedom(effect: np.ndarray, questions: np.ndarray) -> np.ndarray:
    """Degrees of freedom of the questions' design effect, of which only the excess is estimated."""
    return np.maximum(questions - 1, 1) * effect**2 / ((effect - 1) ** 2 + CHANCE)


def seed_effects(stack: Stack, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The seeds' parts of the design effects, 0 with one seed, and their degrees of freedom.

    Args:
        share: the weight of the prior of questions.
    """
    seeds, sizes = stack.seeds, stack.counted.sum(axis=2)
    without = assumed_effects(np.round(sizes), SEED_ICC)
    freedom = np.maximum(seeds - 1, 0) + SEED_WEIGHT
    several = 1 + SEED_VARIANCE * stack.n / np.maximum(seeds, 1)
    known = stack.naive > 0
    assumed = np.where(known, without**share * several ** (1 - share), without) - 1
    naive = np.where(known, stack.naive, 1.0)
    parts = stack.weights * (stack.cell_rates - stack.rate[:, None, None])
    seen = variance_between(parts.sum(axis=2), seeds) / naive
    noise = _variance_within(stack, seeds) / naive
    excess = np.maximum(seen - noise, 0.0)
    mixed = ((seeds - 1) * excess + SEED_WEIGHT * assumed) / freedom
    differ = 1 - (1 - share) * _no_difference(seen, noise, assumed, seeds)
    found = np.where(known, mixed * differ, SEED_WEIGHT * assumed / freedom)
    return np.where(seeds > 1, found, 0.0), freedom


def _variance_within(stack: Stack, seeds: np.ndarray) -> np.ndarray:
    """Variance of a rate from the answers within questions: its cells, less their questions."""
    counted = stack.counted.sum(axis=1)
    pooled = np.divide(
        stack.hits.sum(axis=1), counted, out=np.zeros_like(counted), where=counted > 0
    )
    rest = stack.weights * (stack.cell_rates - pooled[:, None, :])
    return variance_between(rest.reshape(len(rest), -1), seeds)


def _no_difference(
    seen: np.ndarray, noise: np.ndarray, assumed: np.ndarray, seeds: np.ndarray
) -> np.ndarray:
    """The probability that training seeds do not differ."""
    noise, k = np.maximum(noise, LEAST_NOISE), np.maximum(seeds - 1, 0)
    added = np.maximum(assumed, 0) / noise
    odds = np.log(NO_DIFFERENCE) + k / 2 * (np.log1p(added) - seen / noise * added / (1 + added))
    return 1 / (1 + np.exp(-np.minimum(odds, 500)))


def variance_between(deviations: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Variances of means from their clusters' summed deviations (linearised, CR1)."""
    factor = clusters / np.maximum(clusters - 1, 1)
    return factor * (deviations**2).sum(axis=-1)
