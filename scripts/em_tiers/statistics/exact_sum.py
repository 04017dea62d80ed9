"""Sums that do not depend on the order of their parts.

Where a table is read in pieces, their order varies, and with it the last digits of a sum of floats:
tables made twice from the same answers would differ. Whole numbers have exact sums.
"""

import polars as pl

BITS = 40
UNITS = 2.0**BITS  # of `units_of` in one, unless it is asked for others


def exact_sum(weights: pl.Expr, bits: int = BITS) -> pl.Expr:
    """The sum of numbers, each taken as a multiple of 2 ** -`bits`; below 2 ** (63 - `bits`)."""
    return units_of(weights, bits).sum().cast(pl.Float64) / 2.0**bits


def units_of(weights: pl.Expr, bits: int = BITS) -> pl.Expr:
    """Numbers in whole units of 2 ** -`bits`."""
    return (weights * 2.0**bits).round().cast(pl.Int64)
