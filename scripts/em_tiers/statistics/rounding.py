"""Rates as people read them, and differences that add up.

A printed rate is rounded half up, always by the same function: Python's format rounds 13.75 up and
11.25 down. A difference that is printed beside its two rates is that of the printed rates, so that
a reader who subtracts finds what is written; it may differ from the exact one, which CSV and
Parquet files hold, by one in the last digit.
"""

import math

import polars as pl

DECIMALS = 1  # of a percentage
FRACTION_DECIMALS = 4  # of a share from 0 to 1


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


def fractions(*columns: str) -> pl.Expr:
    """Columns of shares as they are printed beside their differences: half up, four decimals."""
    scale = 10**FRACTION_DECIMALS
    return ((pl.col(columns) * scale).round(6) + 0.5).floor() / scale
