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
  small more often than too large. Both cases use one prior (`em_tiers.statistics.prior`), under
  which no event gives the exact upper bound of beta-binomial answers. The correction for the
  degrees of freedom fades with the weight of the prior, because an assumed part is not estimated.
- Few events more do not lower the upper bound: it is at least that of the `LEADING` questions with
  most events, if these had at most `MOST` each and the others none, and likewise for the lower
  bound and the other answers.
- deff is at least 1: less variance between questions than chance gives is chance.
- The variance of training seeds, and its assumed value, are in
  `em_tiers.statistics.design_effects`.

This interval is for *questions like these*: its target is the rate over all questions that one
might have asked. `em_tiers.statistics.these_questions` has the interval for the very questions
asked.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from em_tiers.statistics.design_effects import Stack, design_effects, stacks
from em_tiers.statistics.quantiles import beta_lower, beta_upper, normal_upper, student_upper
from em_tiers.statistics.question_counts import QuestionCounts

LEADING = 5
MOST = 5.0
AT_ONCE = 1024  # rates whose arrays are in memory together
METHOD = "korn_graubard"
_KNOWN: dict[bytes, "Interval"] = {}


@dataclass(frozen=True, slots=True)
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
    """The interval of each rate; those of one shape are computed together, for speed.

    Equal counts are computed once in a process: those of one definition at several probe levels,
    and those that the tables of rates, differences and question sets share.
    """
    keys = [_identity(counts, confidence) for counts in listed]
    new: dict[bytes, QuestionCounts] = {}
    for key, counts in zip(keys, listed, strict=True):
        if key not in _KNOWN:
            new.setdefault(key, counts)
    _KNOWN.update(zip(new, _intervals(list(new.values()), confidence), strict=True))
    return [_KNOWN[key] for key in keys]


def _identity(counts: QuestionCounts, confidence: float) -> bytes:
    """A digest, since the counts of a large study would take too much memory as keys."""
    told = repr((counts.hits.shape, counts.by_question, confidence)).encode()
    numbers = counts.hits.tobytes() + counts.counted.tobytes()
    return hashlib.blake2b(told + numbers, digest_size=16).digest()


def _intervals(listed: Sequence[QuestionCounts], confidence: float) -> list[Interval]:
    found: list[Interval | None] = [None] * len(listed)
    for places, stack in stacks(listed, AT_ONCE):
        effects = design_effects(stack)
        low, high = _bounds(stack, effects, confidence)
        _widen(stack, low, high, confidence)
        rates = np.where(stack.n > 0, stack.rate, np.nan)
        for i, place in enumerate(places):
            found[place] = Interval(
                rate=float(rates[i]),
                low=float(low[i]),
                high=float(high[i]),
                method=METHOD,
                n=int(stack.n[i]),
                clusters=int(stack.questions[i]),
                design_effect=float(effects[0][i]),
                effective_n=float(stack.n[i] / effects[0][i]),
            )
    return found


def _bounds(
    stack: Stack, effects: tuple[np.ndarray, np.ndarray, np.ndarray], confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    low, high = korn_graubard(stack.rate, stack.n, *effects, confidence)
    return np.where(stack.n > 0, low, 0.0), np.where(stack.n > 0, high, 1.0)


def _widen(stack: Stack, low: np.ndarray, high: np.ndarray, confidence: float) -> None:
    """Keep bounds, in place, at least as wide as those of the leading questions' few events."""
    for sign, bound, wider in ((1, high, np.maximum), (-1, low, np.minimum)):
        events = stack.hits if sign > 0 else stack.counted - stack.hits
        by_question = events.sum(axis=1)
        some = np.count_nonzero(by_question, axis=1)
        place = np.argsort(np.argsort(-by_question, axis=1, kind="stable"), axis=1)
        for k in range(1, LEADING + 1):
            used = np.flatnonzero((some > k) & (sign * (stack.rate - 0.5) <= 0))
            if not len(used):
                continue
            kept = events[used] * (place[used] < k)[:, None, :]
            of_question = np.maximum(kept.sum(axis=1, keepdims=True), 1.0)
            kept = kept * np.minimum(1.0, MOST / of_question)
            counted = stack.counted[used]
            hits = kept if sign > 0 else counted - kept
            part = Stack(hits, counted, stack.by_question[used])
            found = _bounds(part, design_effects(part), confidence)[1 if sign > 0 else 0]
            bound[used] = wider(bound[used], found)


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
    ratio = student_upper(tail, np.maximum(np.asarray(n) - 1, 1)) / student_upper(tail, freedom)
    shrink = np.minimum(ratio, 1) ** (2 * (1 - np.asarray(assumed)))
    effective = np.clip(n / effect * shrink, 1, np.maximum(n, 1))
    hits = rate * effective
    with np.errstate(invalid="ignore"):
        low = np.where(hits > 0, beta_lower(tail, hits, effective - hits + 1), 0.0)
        high = np.where(hits < effective, beta_upper(tail, hits + 1, effective - hits), 1.0)
    return low, high


def wilson(rate: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson (1927) score interval of n independent answers, which ignores clusters."""
    z = normal_upper((1 - confidence) / 2)
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
    z = normal_upper((1 - confidence) / 2)
    spread = max(p * (1 - p), half_width * (1 - half_width))
    return int(np.ceil(found.design_effect * z**2 * spread / half_width**2))
