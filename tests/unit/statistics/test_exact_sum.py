"""Sums that are the same in whatever order their parts come."""

import math

import numpy as np
import polars as pl
import pytest

from em_tiers.statistics.exact_sum import exact_sum


@pytest.mark.parametrize(("bits", "most"), [(40, 1.0), (56, 1e-4)])
def test_the_order_does_not_matter(bits, most):
    weights = np.random.default_rng(0).uniform(0, most, 100_000)
    orders = [weights, weights[::-1], np.sort(weights), np.sort(weights)[::-1]]
    sums = {
        pl.DataFrame({"w": order}).select(exact_sum(pl.col("w"), bits)).item() for order in orders
    }
    assert len({float(order.cumsum()[-1]) for order in orders}) > 1  # as floats they differ
    assert len(sums) == 1
    assert sums.pop() == pytest.approx(math.fsum(weights), rel=1e-9)


def test_missing_weights_add_nothing():
    frame = pl.DataFrame({"w": [0.5, None, 0.25]})
    assert frame.select(exact_sum(pl.col("w"))).item() == 0.75
    assert frame.clear().select(exact_sum(pl.col("w"))).item() == 0
