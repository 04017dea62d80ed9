"""Bounds of the attributable rate, which know how uncertain the attributable share is.

They combine the bounds of a rate whose attributable share is known with those of that share (MOVER:
Zou & Donner 2008, Statistics in Medicine 27, 1693-1702).
"""

import numpy as np
import polars as pl

from em_tiers.statistics.attribution import risk_ratio, share_of, tables_of
from em_tiers.statistics.cells import ATTRIBUTABLE, cell_arrays, cells_of, marks_of


def widened(
    low: float, high: float, part: pl.DataFrame, definition: str, confidence: float
) -> tuple[float, float]:
    """The bounds `low` and `high` of an attributable rate, widened; unchanged without any mark.

    Args:
        part: the cells of one unit, as of one variant, judge and probe level.
    """
    counted = cells_of(part)[definition, ATTRIBUTABLE]
    attributed = cell_arrays(part)(f"attributed_{definition}")
    shares = np.divide(
        attributed, counted.counted, out=np.zeros_like(attributed), where=counted.counted > 0
    )
    removed = float((counted.weights * shares).sum())
    if not removed:
        return low, high
    risk = risk_ratio(*tables_of(*marks_of(part, definition)), confidence)
    value, least, most = map(share_of, (risk.value, risk.low, risk.high))
    rate = counted.rate
    below = np.hypot(rate - low, removed * max(most - value, 0.0))
    above = np.hypot(high - rate, removed * max(value - least, 0.0))
    return max(float(rate - below), 0.0), min(float(rate + above), 1.0)
