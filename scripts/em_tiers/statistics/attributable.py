"""Bounds of the attributable rate, which know how uncertain the attributable share is.

They combine the bounds of a rate whose attributable share is known with those of that share (MOVER:
Zou & Donner 2008, Statistics in Medicine 27, 1693-1702).
"""

import numpy as np

from em_tiers.statistics.attribution import risk_ratio, share_of, tables_of
from em_tiers.statistics.cells import CellArrays, marks_of
from em_tiers.statistics.question_counts import QuestionCounts


def widened(
    low: np.ndarray | float,
    high: np.ndarray | float,
    counted: QuestionCounts,
    array: CellArrays,
    definition: str,
    confidence: float,
) -> tuple[np.ndarray, np.ndarray]:
    """The bounds `low` and `high` of an attributable rate, widened; unchanged without any mark.

    Args:
        low, high: bounds, or arrays of the bounds of several intervals.
        counted: the counts of the attributable rate.
        array: the counts of its unit, as of one variant, judge and probe level.
    """
    attributed = array(f"attributed_{definition}")
    shares = np.divide(
        attributed, counted.counted, out=np.zeros_like(attributed), where=counted.counted > 0
    )
    removed = float((counted.weights * shares).sum())
    if not removed:
        return low, high
    risk = risk_ratio(*tables_of(*marks_of(array, definition)), confidence)
    value, least, most = map(share_of, (risk.value, risk.low, risk.high))
    rate = counted.rate
    below = np.hypot(rate - low, removed * max(most - value, 0.0))
    above = np.hypot(high - rate, removed * max(value - least, 0.0))
    return np.maximum(rate - below, 0.0), np.minimum(rate + above, 1.0)
