"""Sums that do not depend on the order of their parts.

Where a table is read in pieces, their order varies, and with it the last digits of a sum of floats:
tables made twice from the same answers would differ. Whole numbers have exact sums.
"""

import polars as pl


def exact_sum(weights: pl.Expr, bits: int = 40) -> pl.Expr:
    """The sum of numbers, each taken as a multiple of 2 ** -`bits`; below 2 ** (63 - `bits`)."""
    scale = 2.0**bits
    return (weights * scale).round().cast(pl.Int64).sum().cast(pl.Float64) / scale
