"""Rates as people read them: percent with one decimal, and differences that add up.

Every printed percentage is rounded half up, by the same function: Python's format rounds 13.75 up
and 11.25 down. A difference that is printed beside its two rates is that of the printed rates, so
that a reader who subtracts finds what is written; it may differ from the exact one, which the CSV
files hold, by 0.1 point.
"""

import math

DECIMALS = 1  # of a percentage


def rounded(value: float) -> float:
    """A share in percent, half up at one decimal."""
    scale = 10**DECIMALS
    # Sums of shares may be a little below the tie that they stand for.
    return math.floor(round(100 * value * scale, 6) + 0.5) / scale


def percent(value: float | None) -> str:
    """A share in percent; a dash for None, where there is none."""
    return "–" if value is None else f"{rounded(value):.{DECIMALS}f}"


def points_between(first: float, second: float) -> str:
    """The first share minus the second in points, as the difference of the printed ones."""
    difference = rounded(first) - rounded(second)
    return f"{difference:.{DECIMALS}f}".replace(f"-{0:.{DECIMALS}f}", f"{0:.{DECIMALS}f}")
