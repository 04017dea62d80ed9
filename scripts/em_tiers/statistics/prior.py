"""What is assumed of questions and seeds where the data say little.

A design effect between questions cannot be estimated from few events in few questions, and the
estimate is too small more often than too large: the questions that matter were not drawn. How
little the data say is measured by the skewness of a mean of Q questions whose rates are spread like
a gamma variable, 2 sqrt(1 / K - 1 / Q), with K = (sum x)^2 / sum x^2 the number of questions that
share the events x (or the other answers, if those are shared by fewer). The prior has the weight

    s = d^2 / (d^2 + SKEWED^2),    d = 1 / K - 1 / Q + 1 / Q^3,

near 1 if one question has all events, near 0 if many share them equally; the last term keeps it
where two or three questions happen to agree.

The correlation that is assumed is `ICC` for single events. It rises to `ICC` + `ICC_RISE` with the
size sum x^2 / sum x of the cluster of an event: questions differ, if several events come together.
"""

import numpy as np
import scipy

ICC = 0.3
ICC_RISE = 0.5
RISE_POWER = 0.7
SKEWED = 0.08
ZERO_TAIL = 0.025
STEPS = 60  # Newton needs fewer than ten
SMALL_STEP = 1e-8  # what is left after it is of the order of its square


def sharing_questions(events: np.ndarray) -> np.ndarray:
    """How many questions (last axis) share the events: (sum x)^2 / sum x^2; 1 without events."""
    squares = (events**2).sum(axis=-1)
    total = events.sum(axis=-1)
    return np.divide(total**2, squares, out=np.ones_like(total), where=squares > 0)


def assumed_share(hits: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """The weight of the prior, from 0 to 1; arguments of shape (..., questions)."""
    questions = np.maximum((counted > 0).sum(axis=-1), 1)
    sharing = np.minimum(sharing_questions(hits), sharing_questions(counted - hits))
    skew = np.maximum(1 / sharing - 1 / questions, 0) + 1 / questions**3
    return skew**2 / (skew**2 + SKEWED**2)


def assumed_icc(hits: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """The intraclass correlation that is assumed, of events or of the other answers."""
    rare = 2 * hits.sum(axis=-1) <= counted.sum(axis=-1)
    events = np.where(rare[..., None], hits, counted - hits)
    total = events.sum(axis=-1)
    size = np.divide((events**2).sum(axis=-1), total, out=np.ones_like(total), where=total > 0)
    return ICC + ICC_RISE * (1 - np.maximum(size, 1) ** -RISE_POWER)


def assumed_effects(sizes: np.ndarray, icc: np.ndarray | float) -> np.ndarray:
    """The design effects of `sizes` answers to each question that correlate by `icc`, at least 1.

    Chosen so that n / deff independent answers without an event give the same upper bound as
    `zero_bounds`. Shapes: (sets, questions) and (sets,) or a number; 0 for a missing question.
    """
    answers = sizes.sum(axis=-1)
    none = np.where(answers > 0, np.log1p(-np.where(answers > 0, zero_bounds(sizes, icc), 0)), 0)
    return np.maximum(1.0, answers * none / np.log(ZERO_TAIL))


def zero_bounds(sizes: np.ndarray, icc: np.ndarray | float, tail: float = ZERO_TAIL) -> np.ndarray:
    """The rates at which no event in all questions has the probability `tail`.

    The number of events among m answers to one question is beta-binomial with mean p and intraclass
    correlation r, so that a = p (1 / r - 1), b = (1 - p) (1 / r - 1), and no event has the
    probability B(a, b + m) / B(a, b) (Skellam 1948, J. R. Stat. Soc. B 10, 257-261). Its logarithm
    is concave in b and nearly linear in log b, where Newton's method finds b.
    """
    sizes = np.asarray(sizes, float)
    total = np.broadcast_to(1 / np.asarray(icc, float) - 1, sizes.shape[:-1])
    found = np.empty(sizes.shape[:-1])
    alike = np.all(sizes == sizes[..., :1], axis=-1)
    # Mostly each question has as many answers: then all have the same part in the logarithm.
    for rows, width in ((alike, 1), (~alike, sizes.shape[-1])):
        if np.any(rows):
            log_b = _log_b(sizes[rows][:, :width], sizes.shape[-1] / width, total[rows], tail)
            found[rows] = -np.expm1(log_b - np.log(total[rows]))
    return np.where((sizes > 0).any(axis=-1), found, 1.0)


def _log_b(sizes: np.ndarray, times: float, total: np.ndarray, tail: float) -> np.ndarray:
    """log b of `zero_bounds`, each question standing for so many; shape (sets,)."""
    digamma, gammaln = scipy.special.digamma, scipy.special.gammaln  # imported at first use
    whole = (gammaln(total[:, None] + sizes) - gammaln(total)[:, None]).sum(axis=-1) * times
    target, asked = whole + np.log(tail), (sizes > 0).any(axis=-1)
    log_b = np.log(total) - 0.1
    for _ in range(STEPS):
        b = np.exp(log_b)
        each = b[:, None] + sizes
        value = (gammaln(each) - gammaln(b)[:, None]).sum(axis=-1) * times - target
        slope = (digamma(each) - digamma(b)[:, None]).sum(axis=-1) * times * b
        step = np.where(asked, value / np.where(asked, slope, 1), 0)
        log_b = np.minimum(log_b - np.clip(step, -5, 5), np.log(total) - 1e-15)
        if not np.any(np.abs(step) > SMALL_STEP):
            break
    return log_b
