"""What is assumed of questions, by hand and by integration."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import betaln

from em_tiers.statistics.prior import (
    ICC,
    ICC_RISE,
    SKEWED,
    assumed_effects,
    assumed_icc,
    assumed_share,
    sharing_questions,
    zero_bounds,
)


def test_zero_bound_by_integration():
    # One question, 10 answers, correlation 0.3: P(no event) is the mean of (1 - q)^10 over a beta
    # distribution with mean p.
    p = zero_bounds(np.array([[10.0]]), 0.3)[0]
    a, b = p * (1 / 0.3 - 1), (1 - p) * (1 / 0.3 - 1)
    # The substitution q = u^(1/a) takes away the density's pole at 0.
    value = quad(
        lambda u: (1 - u ** (1 / a)) ** (b - 1 + 10) / a / np.exp(betaln(a, b)), 0, 1, limit=200
    )[0]
    assert value == pytest.approx(0.025, rel=1e-6)


def test_bounds_of_many_sets_are_those_of_each():
    sizes = np.array([[50, 50, 50], [20, 0, 1000], [1, 0, 0]], float)
    found = zero_bounds(sizes, np.array([0.1, 0.3, 0.7]))
    for row, icc, bound in zip(sizes, (0.1, 0.3, 0.7), found, strict=True):
        assert zero_bounds(row[None, row > 0], icc)[0] == pytest.approx(bound, rel=1e-9)
    assert found[2] == pytest.approx(0.975)  # one answer: 1 - p = 0.025
    assert zero_bounds(np.zeros((1, 3)), 0.3)[0] == 1


def test_an_assumed_effect_gives_the_zero_bound():
    # (1 - bound)^(n / deff) = 0.025
    sizes = np.full((1, 8), 50.0)
    effect, bound = assumed_effects(sizes, 0.3)[0], zero_bounds(sizes, 0.3)[0]
    assert (1 - bound) ** (400 / effect) == pytest.approx(0.025)


def test_questions_that_share_events():
    assert sharing_questions(np.array([8.0, 2, 4, 2])) == pytest.approx(16**2 / 88)
    assert sharing_questions(np.array([[5.0, 0], [5, 5], [0, 0]])) == pytest.approx([1, 2, 1])


def test_the_weight_of_the_prior_by_hand():
    # Events 8, 2, 4, 2 of 10 each are shared by 16^2 / 88 questions, the others by 24^2 / 168.
    d = 88 / 16**2 - 1 / 4 + 1 / 4**3
    counted = np.full(4, 10.0)
    share = assumed_share(np.array([8.0, 2, 4, 2]), counted)
    assert share == pytest.approx(d**2 / (d**2 + SKEWED**2))
    assert assumed_share(np.array([8.0, 0, 0, 0]), counted) > 0.98
    assert assumed_share(np.full(48, 5.0), np.full(48, 50.0)) < 0.01
    # Two questions that agree show little.
    assert assumed_share(np.array([5.0, 5]), np.full(2, 50.0)) > 0.7


def test_the_assumed_correlation_rises_with_clusters_of_events():
    counted = np.full(8, 50.0)
    single, several = np.array([1.0, 1, 1, 0, 0, 0, 0, 0]), np.array([9.0, 1, 0, 0, 0, 0, 0, 0])
    assert assumed_icc(single, counted) == pytest.approx(ICC)
    # (81 + 1) / 10 = 8.2
    assert assumed_icc(several, counted) == pytest.approx(ICC + ICC_RISE * (1 - 8.2**-0.7))
    assert assumed_icc(counted - several, counted) == pytest.approx(assumed_icc(several, counted))
