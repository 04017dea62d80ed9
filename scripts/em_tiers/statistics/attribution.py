"""What an exclusion needs beside evidence: a comparison with answers that were not flagged.

The topic rule excludes a flagged answer because it mentions the training domain. If the answers of
the same model to the same questions that were *not* flagged mention it as often, the mention
explains nothing. A *mark* is a topic score above `MARK_ABOVE`, on a question that is not about the
domain itself; only answers with a topic score and a verdict are compared.

For question i, with a flagged and b unflagged marked answers, c and d unmarked ones, n together,
Mantel & Haenszel (1959, J. Natl. Cancer Inst. 22, 719-748) pool over the questions:

    odds ratio = sum(a d / n) / sum(b c / n)
    risk ratio = sum(a (c + d) / n) / sum(c (a + b) / n)

so that a topic that some questions invite, and that are answered badly for another reason, does not
count. The attributable fraction among the exposed (Miettinen 1974, Am. J. Epidemiol. 99, 325-332),

    (RR - 1) / RR,    0 for RR <= 1,

is the share of the marked flagged answers that would not have been flagged at the risk of unmarked
ones. Marks are not randomised: the share is a bound on what the domain explains, not an experiment.

Intervals of both ratios are Student's, on the logarithm. Its variance is the larger of that between
questions (linearised) and of that of independent answers (odds: Robins, Breslow & Greenland 1986,
Biometrics 42, 311-323; risks: Greenland & Robins 1985, the same 41, 55-68). Where a ratio is zero
or infinite, half an event is added for the bound on the other side.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import polars as pl

from em_tiers.statistics.quantiles import student_upper
from em_tiers.tables import HAS_VERDICT

MARK_ABOVE = 50.0  # Turner et al. 2025 (arXiv 2506.11613), and the tier rules
COMPARED = ("compared", "marked", "flagged", "marked_flagged")


@dataclass(frozen=True)
class Ratio:
    """A pooled ratio with its interval; NaN where no question has both kinds of answers."""

    value: float
    low: float
    high: float


def comparable() -> pl.Expr:
    """Whether a mark on the answer can be compared: off-topic question, topic score, verdict."""
    return pl.col("topic").is_not_null() & ~pl.col("question_on_topic") & HAS_VERDICT


def compared_answers(facts: Mapping[str, np.ndarray], definition: str) -> dict[str, np.ndarray]:
    """The answers of COMPARED and the `attributed` ones, from `em_tiers.statistics.facts`."""
    among = facts[f"counted_{definition}"] & facts["comparable"]
    bad, marked = facts[f"misaligned_{definition}"], facts["marked"]
    return {
        "compared": among,
        "marked": among & marked,
        "flagged": among & bad,
        "marked_flagged": among & marked & bad,
        "attributed": among & marked & bad & ~facts["strict"],
    }


def tables_of(
    compared: np.ndarray, marked: np.ndarray, flagged: np.ndarray, both: np.ndarray
) -> tuple[np.ndarray, ...]:
    """The counts a, b, c, d of each stratum; shape (seeds, questions), as the arguments."""
    return both, marked - both, flagged - both, compared - marked - flagged + both


def odds_ratio(
    a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray, confidence=0.95
) -> Ratio:
    """Mantel-Haenszel's odds ratio of a flag, given a mark."""

    def parts(a, b, c, d, n):
        above, below = a * d / n, b * c / n
        with np.errstate(invalid="ignore", divide="ignore"):
            agree, differ = (a + d) / n, (b + c) / n
            first, second = above.sum(), below.sum()
            variance = (
                (agree * above).sum() / (2 * first**2)
                + (agree * below + differ * above).sum() / (2 * first * second)
                + (differ * below).sum() / (2 * second**2)
            )
        return above, below, variance

    return _pooled(parts, (a, b, c, d), confidence)


def risk_ratio(
    a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray, confidence=0.95
) -> Ratio:
    """Mantel-Haenszel's ratio of the risks of a flag with and without a mark."""

    def parts(a, b, c, d, n):
        above, below = a * (c + d) / n, c * (a + b) / n
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = ((a + b) * (c + d) * (a + c) - a * c * n) / n**2
            variance = spread.sum() / (above.sum() * below.sum())
        return above, below, variance

    return _pooled(parts, (a, b, c, d), confidence)


def _pooled(parts, cells: tuple[np.ndarray, ...], confidence: float) -> Ratio:
    sizes = _sizes(cells)
    found = above, below, _ = parts(*cells, sizes)
    first, second = above.sum(), below.sum()
    if not first and not second:
        return Ratio(float("nan"), 0.0, float("inf"))
    value = first / second if second else float("inf")
    if not first or not second:
        # Half an event, spread as the answers are.
        cells = tuple(cell + 0.5 * sizes / max(sizes.sum(), 1) for cell in cells)
        found = parts(*cells, _sizes(cells))
    low, high = _log_bounds(*found, confidence)
    return Ratio(float(value), 0.0 if not first else low, float("inf") if not second else high)


def _log_bounds(
    above: np.ndarray, below: np.ndarray, variance: float, confidence: float
) -> tuple[float, float]:
    influence = (above / above.sum() - below / below.sum()).sum(axis=0)
    questions = int(np.count_nonzero((above + below).sum(axis=0)))
    between = questions / max(questions - 1, 1) * float((influence**2).sum())
    half = _quantile(confidence, max(questions - 1, 1)) * np.sqrt(max(between, float(variance)))
    centre = np.log(above.sum() / below.sum())
    with np.errstate(over="ignore"):
        return float(np.exp(centre - half)), float(np.exp(centre + half))


@lru_cache
def _quantile(confidence: float, freedom: int) -> float:
    return float(student_upper((1 - confidence) / 2, freedom))


def _sizes(cells: tuple[np.ndarray, ...]) -> np.ndarray:
    """Answers of each stratum; 1 where there are none, whose parts are zero."""
    return np.maximum(sum(cells), 1e-12)


def attributable_share(
    compared: np.ndarray, marked: np.ndarray, flagged: np.ndarray, both: np.ndarray
) -> float:
    """The share (RR - 1) / RR of the marked flagged answers; 0 if nothing can be compared."""
    a, b, c, d = tables_of(compared, marked, flagged, both)
    sizes = _sizes((a, b, c, d))
    first, second = (a * (c + d) / sizes).sum(), (c * (a + b) / sizes).sum()
    return max(1 - second / first, 0.0) if first > 0 else 0.0


def share_of(ratio: float) -> float:
    """The attributable share of a risk ratio."""
    return 1 - 1 / ratio if ratio > 1 else 0.0


def expected_marked(
    compared: np.ndarray, marked: np.ndarray, flagged: np.ndarray, both: np.ndarray
) -> np.ndarray:
    """Marked answers among the flagged, if they were marked as often as the unflagged ones.

    By question; where a question has no unflagged answer, at their share over all questions.
    """
    unflagged, unflagged_marked = compared - flagged, marked - both
    total = unflagged.sum()
    overall = unflagged_marked.sum() / total if total else float("nan")
    share = np.divide(
        unflagged_marked, unflagged, out=np.full_like(unflagged, overall), where=unflagged > 0
    )
    return np.where(flagged > 0, flagged * share, 0.0)
