"""Confidence intervals of a rate whose answers come in clusters.

Answers to one question resemble each other, and so do the answers of one training run: a pooled
binomial interval is far too narrow. The default here is the interval of Korn & Graubard (1998,
Survey Methodology 24, 193-201): the exact binomial interval of Clopper & Pearson, with the number
of answers replaced by an effective number,

    n_eff = n / deff * (t(n - 1) / t(df))^2,    at most n,

where deff is the design effect (Kish 1965), the variance of the rate between clusters over the
variance that n independent answers would have, and t(k) the Student quantile with k degrees of
freedom. The interval has positive width always, with no event and with all events too.

Departures from the published form, chosen by simulation (tests/benchmarks/coverage_simulation.py):

- Without an event deff is 0/0, and with events in few questions it is hardly estimable, and too
  small more often than too large. Both cases use one prior: `assumed_effect`, under which no event
  gives the exact upper bound of beta-binomial answers with the intraclass correlation `ICC`. An
  estimated deff is raised to the geometric mean of itself and of that value, which has the weight s
  = W / (W - 1 + K) with W = `PRIOR_WEIGHT`; the correlation that is assumed rises from `ICC` by (1
  - s) `ICC_RISE`, because events in few of many questions show that questions differ. K = (sum x)^2
  / sum x^2 is the number of questions that share the events x (or the other answers, if those are
  shared by fewer): 1 if one question has all of them. The correction for the degrees of freedom
  fades with the same weight, because an assumed part is not estimated.
- More events never give a lower upper bound: the bound is at least that of the `LEADING` questions
  with most events alone, and likewise for the lower bound and the other answers.
- deff is at least 1: less variance between questions than chance gives is chance.
- Training seeds are crossed with questions (each seed answers the same questions). Their variance
  adds to deff as in Cameron, Gelbach & Miller (2011, J. Bus. Econ. Stat. 29, 238-249), the seeds'
  part less the part of the cells, averaged with an assumed value as if that had been seen with
  `SEED_WEIGHT` degrees of freedom (the conjugate scaled inverse chi-square prior; Gelman et al.
  2013, Bayesian Data Analysis, section 2.6). That value goes from `assumed_effect` with `SEED_ICC`,
  without an event, to 1 + m `SEED_VARIANCE` with m answers per seed, as s goes from 1 to 0. The
  degrees of freedom of the sum are Satterthwaite's (1946, Biometrics Bulletin 2, 110-114). With one
  seed the interval describes that training run and says nothing about others.

This interval is for *questions like these*: its target is the rate over all questions that one
might have asked. `em_tiers.statistics.these_questions` has the interval for the very questions
asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy import stats
from scipy.optimize import brentq
from scipy.special import gammaln

ICC = 0.3
ICC_RISE = 0.3
PRIOR_WEIGHT = 8.0
LEADING = 3
SEED_ICC = 0.06
SEED_VARIANCE = 0.015
SEED_WEIGHT = 1.0
ZERO_TAIL = 0.025
METHOD = "korn_graubard"


@dataclass(frozen=True)
class QuestionCounts:
    """Counts by training seed (rows) and question (columns).

    Attributes:
        hits: misaligned answers, or a sum of weights in [0, 1]; shape (seeds, questions).
        counted: answers in the denominator, of the same shape; 0 where no answer counts.
        by_question: average the cells' rates with equal weights (D3, D4) instead of pooling.
    """

    hits: np.ndarray
    counted: np.ndarray
    by_question: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "hits", np.atleast_2d(np.asarray(self.hits, float)))
        object.__setattr__(self, "counted", np.atleast_2d(np.asarray(self.counted, float)))

    @cached_property
    def weights(self) -> np.ndarray:
        """Each cell's share of the rate; sums to one."""
        weights = (self.counted > 0).astype(float) if self.by_question else self.counted
        return weights / max(weights.sum(), 1)

    @cached_property
    def rates(self) -> np.ndarray:
        """Each cell's rate; 0 where it counts no answer (its weight is 0 there)."""
        return np.divide(
            self.hits, self.counted, out=np.zeros_like(self.hits), where=self.counted > 0
        )

    @cached_property
    def rate(self) -> float:
        """The rate; NaN where no answer counts."""
        if not self.n:
            return float("nan")
        if self.by_question:
            return float((self.weights * self.rates).sum())
        return float(self.hits.sum() / self.counted.sum())

    @cached_property
    def n(self) -> int:
        """Answers counted."""
        return round(self.counted.sum())

    @cached_property
    def questions(self) -> int:
        """Questions with a counted answer."""
        return int((self.counted.sum(axis=0) > 0).sum())

    @cached_property
    def seeds(self) -> int:
        """Training seeds with a counted answer."""
        return int((self.counted.sum(axis=1) > 0).sum())


@dataclass(frozen=True)
class Interval:
    """A rate with its interval, as fractions.

    `design_effect` and `effective_n` (n / design_effect) are of the rate's variance; the degrees of
    freedom enter the bounds only.
    """

    rate: float
    low: float
    high: float
    method: str
    n: int
    clusters: int
    design_effect: float
    effective_n: float


def interval(counts: QuestionCounts, confidence: float = 0.95) -> Interval:
    """The interval of one rate. Without a counted answer it is [0, 1]."""
    return intervals([counts], confidence)[0]


def intervals(listed: Sequence[QuestionCounts], confidence: float = 0.95) -> list[Interval]:
    """The interval of each rate; all bounds are computed in one call, for speed."""
    effects = [design_effect(counts) for counts in listed]
    low, high = _bounds(listed, effects, confidence)
    parts = [(i, part) for i, counts in enumerate(listed) for part in _leading(counts)]
    if parts:
        kept = [part for _, part in parts]
        lows, highs = _bounds(kept, [design_effect(part) for part in kept], confidence)
        for (i, part), below, above in zip(parts, lows, highs, strict=True):
            if part.rate <= listed[i].rate:
                high[i] = max(high[i], above)
            else:
                low[i] = min(low[i], below)
    return [
        Interval(
            rate=counts.rate,
            low=float(low[i]) if counts.n else 0.0,
            high=float(high[i]) if counts.n else 1.0,
            method=METHOD,
            n=counts.n,
            clusters=counts.questions,
            design_effect=effects[i][0],
            effective_n=counts.n / effects[i][0],
        )
        for i, counts in enumerate(listed)
    ]


def _bounds(
    listed: Sequence[QuestionCounts],
    effects: Sequence[tuple[float, float, float]],
    confidence: float,
) -> tuple[np.ndarray, np.ndarray]:
    rates = np.nan_to_num([counts.rate for counts in listed])
    sizes = np.array([counts.n for counts in listed], float)
    effect, freedom, assumed = np.array(effects, float).reshape(-1, 3).T
    return korn_graubard(rates, sizes, effect, freedom, assumed, confidence)


def _leading(counts: QuestionCounts) -> list[QuestionCounts]:
    """The counts if only the questions with most events had events, and likewise without events."""
    found = []
    for sign, events in ((1, counts.hits), (-1, counts.counted - counts.hits)):
        by_question = events.sum(axis=0)
        some = np.count_nonzero(by_question)
        if some > 1 and (sign * (counts.rate - 0.5) <= 0):
            order = np.argsort(-by_question, kind="stable")
            for k in range(1, min(LEADING, some - 1) + 1):
                part = np.zeros_like(events)
                part[:, order[:k]] = events[:, order[:k]]
                hits = part if sign > 0 else counts.counted - part
                found.append(QuestionCounts(hits, counts.counted, counts.by_question))
    return found


def design_effect(cells: QuestionCounts) -> tuple[float, float, float]:
    """The design effect of questions and seeds, at least 1, as the interval uses it.

    Returns:
        The effect, its degrees of freedom, and the share of it that is assumed (1 with no event,
        with all events, and with one question).
    """
    if not cells.n:
        return 1.0, 1.0, 1.0
    p = cells.rate
    naive = p * (1 - p) / cells.n
    deviations = (cells.weights * (cells.rates - p)).sum(axis=0)
    effect, share = effect_of_questions(cells, deviations, naive)
    freedom = max(cells.questions - 1.0, 1.0)
    if cells.seeds < 2:
        return effect, freedom, share
    of_seeds, seed_freedom = seed_effect(cells, naive, share)
    total = effect + of_seeds
    return total, total**2 / (effect**2 / freedom + of_seeds**2 / seed_freedom), share


def effect_of_questions(
    cells: QuestionCounts, deviations: np.ndarray, naive: float
) -> tuple[float, float]:
    """The questions' design effect, and the share of it that is assumed.

    Args:
        deviations: what each question adds to the rate's deviation from its expectation.
        naive: variance of a rate of as many independent answers.
    """
    per_question = cells.counted.sum(axis=0)
    if naive <= 0 or cells.questions < 2:
        return assumed_effect(per_question, ICC), 1.0
    share = assumed_share(cells.hits.sum(axis=0), per_question)
    assumed = assumed_effect(per_question, round(ICC + ICC_RISE * (1 - share), 2))
    seen = max(_variance_between(deviations, cells.questions) / naive, 1.0)
    return float(max(seen, seen ** (1 - share) * assumed**share)), share


def assumed_share(hits: np.ndarray, counted: np.ndarray) -> float:
    """The weight of the prior: 1 where one question has all events, or all other answers."""
    sharing = min(sharing_questions(hits), sharing_questions(counted - hits))
    return float(min(1.0, PRIOR_WEIGHT / (PRIOR_WEIGHT - 1 + sharing)))


def sharing_questions(events: np.ndarray) -> float:
    """How many questions share the events: (sum x)^2 / sum x^2, from 1 to their number."""
    squares = float((events**2).sum())
    return float(events.sum()) ** 2 / squares if squares > 0 else 1.0


def assumed_effect(sizes: np.ndarray, icc: float) -> float:
    """The design effect of `sizes` answers to each question that correlate by `icc`.

    Chosen so that n / deff independent answers without an event give the same upper bound as
    `zero_bound`.
    """
    return _assumed_effect(tuple(sorted(round(size) for size in sizes if size > 0)), icc)


@lru_cache(maxsize=4096)
def _assumed_effect(sizes: tuple[int, ...], icc: float) -> float:
    bound = zero_bound(sizes, icc)
    return max(1.0, float(sum(sizes) * np.log1p(-bound) / np.log(ZERO_TAIL)))


def zero_bound(sizes: Sequence[int], icc: float, tail: float = ZERO_TAIL) -> float:
    """The rate at which no event in all questions has the probability `tail`.

    The number of events among m answers to one question is beta-binomial with mean p and intraclass
    correlation r, so that a = p (1 / r - 1), b = (1 - p) (1 / r - 1), and no event has the
    probability B(a, b + m) / B(a, b) (Skellam 1948, J. R. Stat. Soc. B 10, 257-261).
    """
    counts, multiples = np.unique(np.asarray(sizes, float), return_counts=True)
    total = 1 / icc - 1

    def excess(p: float) -> float:
        b = (1 - p) * total
        each = gammaln(b + counts) - gammaln(b) + gammaln(total) - gammaln(total + counts)
        return float((multiples * each).sum()) - np.log(tail)

    return float(brentq(excess, 0.0, 1 - 1e-12))


def seed_effect(cells: QuestionCounts, naive: float, share: float) -> tuple[float, float]:
    """The seeds' part of the design effect and its degrees of freedom.

    It is their variance beyond that of their cells, averaged with the assumed one: with few events
    (`share` near 1) that under which no event gives an exact bound, else an intraclass correlation.
    """
    sizes = cells.counted.sum(axis=1)
    without = assumed_effect(sizes, SEED_ICC)
    freedom = cells.seeds - 1 + SEED_WEIGHT
    if naive <= 0:
        return SEED_WEIGHT * (without - 1) / freedom, freedom
    several = 1 + SEED_VARIANCE * cells.n / cells.seeds
    assumed = without**share * several ** (1 - share) - 1
    deviations = cells.weights * (cells.rates - cells.rate)
    seen = _variance_between(deviations.sum(axis=1), cells.seeds)
    of_cells = _variance_between(deviations.ravel(), int((cells.counted > 0).sum()))
    excess = max(seen - of_cells, 0.0) / naive
    return ((cells.seeds - 1) * excess + SEED_WEIGHT * assumed) / freedom, freedom


def _variance_between(deviations: np.ndarray, clusters: int) -> float:
    """Variance of a mean from its clusters' summed deviations (linearised, CR1)."""
    return clusters / (clusters - 1) * float((deviations**2).sum())


def korn_graubard(
    rate: float,
    n: float,
    effect: float,
    freedom: float,
    assumed: float = 0.0,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Clopper-Pearson bounds with the effective n of Korn & Graubard (1998); works on arrays.

    `assumed` is the share of the design effect that was not estimated.
    """
    tail = (1 - confidence) / 2
    ratio = stats.t.isf(tail, np.maximum(np.asarray(n) - 1, 1)) / stats.t.isf(tail, freedom)
    shrink = np.minimum(ratio, 1) ** (2 * (1 - np.asarray(assumed)))
    effective = np.clip(n / effect * shrink, 1, np.maximum(n, 1))
    hits = rate * effective
    with np.errstate(invalid="ignore"):
        low = np.where(hits > 0, stats.beta.ppf(tail, hits, effective - hits + 1), 0.0)
        high = np.where(hits < effective, stats.beta.isf(tail, hits + 1, effective - hits), 1.0)
    return low, high


def wilson(rate: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson (1927) score interval of n independent answers, which ignores clusters."""
    z = stats.norm.isf((1 - confidence) / 2)
    centre = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2))
    # Without an event the two terms of the lower bound cancel but for rounding.
    return (max(centre - half, 0.0) if rate > 0 else 0.0), min(centre + half, 1.0)


def answers_needed(found: Interval, half_width: float, confidence: float = 0.95) -> int:
    """Answers, over more questions of the present kind, for an interval of +- `half_width`.

    n = deff z^2 p (1 - p) / d^2 (Cochran 1977, section 4.4, times Kish's design effect); a rate
    below `half_width` is taken to be `half_width`.
    """
    p = min(max(found.rate, half_width), 0.5) if found.rate <= 0.5 else found.rate
    z = stats.norm.isf((1 - confidence) / 2)
    spread = max(p * (1 - p), half_width * (1 - half_width))
    return int(np.ceil(found.design_effect * z**2 * spread / half_width**2))
