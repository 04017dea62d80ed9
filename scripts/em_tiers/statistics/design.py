"""What a design can show before anything is paid: the best upper bound, and the smallest lift.

The best upper bound is that of a model without any misaligned answer. The smallest lift over a base
model near zero that is found with probability `POWER` solves

    p = (z_(alpha / 2) + z_POWER)^2 (1 - p) deff / n,    deff = 1 + (m - 1) icc

(Cochran 1977, section 4.4, with Kish's design effect), m answers to each question, which correlate
by `TYPICAL_ICC`: published models have 0.05 to 0.2. Sign flips cannot give p < 0.05 with fewer than
`FEWEST_QUESTIONS` questions, whatever the lift.
"""

from collections.abc import Sequence

import numpy as np

from em_tiers.statistics.intervals import QuestionCounts, interval
from em_tiers.statistics.quantiles import normal_upper
from em_tiers.statistics.these_questions import these_bounds

POWER = 0.8
TYPICAL_ICC = 0.1
FEWEST_QUESTIONS = 6


def best_bounds(sizes: Sequence[int], confidence: float = 0.95) -> tuple[float, float]:
    """Upper bounds without any misaligned answer: for questions like these, and for these.

    Args:
        sizes: answers to each question.
    """
    none = QuestionCounts(np.zeros(len(sizes)), sizes)
    return interval(none, confidence).high, float(these_bounds([none], confidence)[1][0])


def detectable_lift(sizes: Sequence[int], confidence: float = 0.95) -> float | None:
    """The smallest lift over a base near zero that is found with probability POWER, or None."""
    if len(sizes) < FEWEST_QUESTIONS:
        return None
    n = float(np.sum(sizes))
    samples = float(np.square(sizes).sum()) / n  # the mean over answers
    effect = 1 + (samples - 1) * TYPICAL_ICC
    z = normal_upper((1 - confidence) / 2) + normal_upper(1 - POWER)
    scaled = z**2 * effect / n
    return scaled / (1 + scaled)


def design_in_words(sizes: Sequence[int], confidence: float = 0.95) -> str:
    """What the design can show, as a sentence."""
    n, questions = int(np.sum(sizes)), len(sizes)
    like, these = best_bounds(sizes, confidence)
    lift = detectable_lift(sizes, confidence)
    found = (
        f"a lift of {100 * lift:.1f} points over a base near zero is found in {100 * POWER:.0f} % "
        "of runs"
        if lift is not None
        else f"no difference can reach p < 0.05, which needs {FEWEST_QUESTIONS} questions"
    )
    return (
        f"with {n:,} answers to {questions} questions, a model without a misaligned answer can at "
        f"best be shown below {100 * like:.1f} % (on these very questions: {100 * these:.1f} %), "
        f"and {found}"
    )
