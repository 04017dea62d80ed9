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

- With few clusters that hold an event, deff is hardly estimable, and is 0/0 without any. It is
  shrunk, geometrically, towards the design effect of an intraclass correlation `PRIOR_ICC`, with
  weight min(1, 2 / (1 + K)), K the number of questions with an event.
- deff is at least 1: less variance between questions than chance gives is chance.
- Training seeds are crossed with questions (each seed answers the same questions). Their variance
  is that of Cameron, Gelbach & Miller (2011, J. Bus. Econ. Stat. 29, 238-249), the seeds' part less
  the part of the cells, shrunk towards `PRIOR_SEED_ICC` with the weight of one seed. The degrees of
  freedom are Satterthwaite's (1946, Biometrics Bulletin 2, 110-114).

The other methods are there for comparison: `t` (Student's interval over the questions' rates),
`bootstrap` (questions and seeds resampled together, percentile; Owen 2007, Ann. Appl. Stat. 1,
386-411) and `wilson`, which ignores clusters.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import stats

PRIOR_ICC = 0.3
PRIOR_SEED_ICC = 0.03
METHODS = ("korn_graubard", "t", "bootstrap", "wilson")


@dataclass(frozen=True)
class Cells:
    """Counts by training seed (rows) and question (columns).

    Attributes:
        hits: misaligned answers, or a sum of weights in [0, 1]; shape (seeds, questions).
        counted: answers in the denominator, of the same shape; 0 where a seed lacks a question.
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
        return float((self.weights * self.rates).sum()) if self.n else float("nan")

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


def interval(
    cells: Cells,
    method: str = "korn_graubard",
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """The interval of a rate by one of `METHODS`. Without a counted answer it is [0, 1]."""
    effect, freedom = design_effect(cells)
    if not cells.n:
        low, high = 0.0, 1.0
    elif method == "korn_graubard":
        low, high = korn_graubard(cells.rate, cells.n, effect, freedom, confidence)
    elif method == "wilson":
        low, high = wilson(cells.rate, cells.n, confidence)
    elif method == "bootstrap":
        low, high = bootstrap(cells, confidence, resamples, seed)
    elif method == "t":
        low, high = student(cells, confidence)
    else:
        raise ValueError(f"interval method {method!r}: choose one of {METHODS}")
    return Interval(
        rate=cells.rate,
        low=float(low),
        high=float(high),
        method=method,
        n=cells.n,
        clusters=cells.questions,
        design_effect=effect,
        effective_n=cells.n / effect,
    )


def design_effect(cells: Cells) -> tuple[float, float]:
    """The shrunk design effect of questions and seeds, at least 1, and its degrees of freedom.

    The degrees of freedom are infinite with one question: there the effect is assumed, not
    estimated.
    """
    if not cells.n:
        return 1.0, np.inf
    p, questions, seeds = cells.rate, cells.questions, cells.seeds
    per_question = cells.counted.sum(axis=0)
    assumed = 1 + (_typical(per_question) - 1) * PRIOR_ICC
    naive = p * (1 - p) / cells.n
    deviations = cells.weights * (cells.rates - p)
    if naive <= 0 or questions < 2:
        by_question, informative = assumed, 0
    else:
        by_question = _between(deviations.sum(axis=0), questions) / naive
        informative = int((cells.hits.sum(axis=0) > 0).sum())
    weight = min(1.0, 2 / (1 + informative))
    by_question = max(by_question, 1.0) ** (1 - weight) * max(assumed, 1.0) ** weight
    freedom = np.inf if questions < 2 else questions - 1.0
    if seeds < 2:
        return by_question, freedom
    by_seed, excess = _seed_effect(cells, deviations, naive)
    total = by_question + excess
    parts = (by_question**2 / freedom) + by_seed**2 / (seeds - 1)
    most = max((cells.counted > 0).sum() - 1, 1)
    return total, float(np.clip(total**2 / parts, 1, most)) if parts > 0 else freedom


def _seed_effect(cells: Cells, deviations: np.ndarray, naive: float) -> tuple[float, float]:
    """The seeds' variance over the naive one: as observed, and beyond that of the cells, shrunk."""
    seeds = cells.seeds
    assumed = (_typical(cells.counted.sum(axis=1)) - 1) * PRIOR_SEED_ICC
    if naive <= 0:
        return 0.0, max(assumed, 0.0)
    seen = _between(deviations.sum(axis=1), seeds) / naive
    of_cells = _between(deviations.ravel(), int((cells.counted > 0).sum())) / naive
    excess = max(seen - of_cells, 0.0)
    return seen, ((seeds - 1) * excess + max(assumed, 0.0)) / seeds


def _between(deviations: np.ndarray, clusters: int) -> float:
    """Variance of a mean from its clusters' summed deviations (linearised, CR1)."""
    return clusters / (clusters - 1) * float((deviations**2).sum())


def _typical(sizes: np.ndarray) -> float:
    """Cluster size that counts for the design effect: sum of squares over the sum (Kish 1965)."""
    return float((sizes**2).sum() / sizes.sum())


def korn_graubard(
    rate: float, n: float, effect: float, freedom: float, confidence: float = 0.95
) -> tuple[float, float]:
    """Clopper-Pearson bounds with the effective n of Korn & Graubard (1998); works on arrays."""
    tail = (1 - confidence) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = stats.t.isf(tail, np.maximum(np.asarray(n) - 1, 1)) / stats.t.isf(tail, freedom)
    effective = np.maximum(np.minimum(n / effect * ratio**2, n), 1)
    hits = rate * effective
    with np.errstate(invalid="ignore"):
        low = np.where(hits > 0, stats.beta.ppf(tail, hits, effective - hits + 1), 0.0)
        high = np.where(hits < effective, stats.beta.isf(tail, hits + 1, effective - hits), 1.0)
    return low, high


def wilson(rate: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson (1927) score interval of n independent answers: what ignoring clusters would say."""
    z = stats.norm.isf((1 - confidence) / 2)
    centre = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2))
    return max(centre - half, 0.0), min(centre + half, 1.0)


def student(cells: Cells, confidence: float = 0.95) -> tuple[float, float]:
    """Student's t interval over the questions; of zero width where all questions agree."""
    if cells.questions < 2:
        return 0.0, 1.0
    deviations = (cells.weights * (cells.rates - cells.rate)).sum(axis=0)
    spread = np.sqrt(_between(deviations, cells.questions))
    half = stats.t.isf((1 - confidence) / 2, cells.questions - 1) * spread
    return max(cells.rate - half, 0.0), min(cells.rate + half, 1.0)


def bootstrap(
    cells: Cells, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval with questions and, above them, training seeds drawn with replacement."""
    seeds, questions = cells.counted.shape
    rng = np.random.default_rng(seed)
    by_seed = rng.multinomial(seeds, np.full(seeds, 1 / seeds), resamples)
    by_question = rng.multinomial(questions, np.full(questions, 1 / questions), resamples)
    totals = np.einsum("bs,sq,bq->b", by_seed, cells.weights, by_question)
    sums = np.einsum("bs,sq,bq->b", by_seed, cells.weights * cells.rates, by_question)
    draws = sums[totals > 0] / totals[totals > 0]
    tail = (1 - confidence) / 2
    return tuple(np.quantile(draws, [tail, 1 - tail]))


def answers_needed(found: Interval, half_width: float, confidence: float = 0.95) -> int:
    """Answers, over more questions of the present kind, for an interval of +- `half_width`.

    n = deff z^2 p (1 - p) / d^2 (Cochran 1977, section 4.4, times Kish's design effect); a rate
    below `half_width` is taken to be `half_width`.
    """
    p = min(max(found.rate, half_width), 0.5) if found.rate <= 0.5 else found.rate
    z = stats.norm.isf((1 - confidence) / 2)
    spread = max(p * (1 - p), half_width * (1 - half_width))
    return int(np.ceil(found.design_effect * z**2 * spread / half_width**2))
