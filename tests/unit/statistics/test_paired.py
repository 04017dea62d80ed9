"""Paired differences: interval and p-value from the same tests, by hand and by simulation."""

import itertools

import numpy as np
import pytest

from benchmarks.coverage_simulation import Case, draw
from em_tiers.statistics.intervals import Interval, QuestionCounts, wilson
from em_tiers.statistics.paired import correlation_of, mover, paired_difference
from em_tiers.statistics.sign_flips import flip_test


def sign_flip(differences, seed=0):
    return flip_test(differences, np.full(np.shape(differences), 1.0), seed=seed)[0]


def flip_bounds(differences, weights, level):
    return flip_test(differences, weights, level)[1]


def proportion(hits, n):
    low, high = wilson(hits / n, n)
    return Interval(hits / n, low, high, "wilson", n, 1, 1.0, n)


def test_mover_is_newcombes_score_interval():
    # Newcombe 1998, table II, method 10: 56/70 - 48/80 = 0.2 has the interval 0.0524 to 0.3339.
    low, high = mover(proportion(56, 70), proportion(48, 80), 0.0)
    assert (round(low, 4), round(high, 4)) == (0.0524, 0.3339)


def test_correlation_narrows_and_never_closes_the_interval():
    pair = proportion(56, 70), proportion(48, 80)
    widths = [np.diff(mover(*pair, r))[0] for r in (0.0, 0.4, 0.8)]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] > 0.1


def test_correlation_bounds():
    assert correlation_of([0.1, 0.2, 0.3], [0.1, 0.2, 0.3]) == 0.8
    assert correlation_of([0.1, 0.2, 0.3], [0.3, 0.2, 0.1]) == 0
    assert correlation_of([0.0, 0.0, 0.0], [0.3, 0.2, 0.1]) == 0


def test_sign_flips_by_hand():
    # 3 questions: 8 sign patterns; only +++ and --- reach the sum 6: p = 2 / 8.
    assert sign_flip(np.array([1.0, 2.0, 3.0])) == 0.25
    # Sums that reach |1 + 2 - 1| = 2: of (+-1, +-2, +-1) 4, 2, 2, 0, 0, -2, -2, -4: p = 6 / 8.
    assert sign_flip(np.array([1.0, 2.0, -1.0])) == 0.75
    assert sign_flip(np.zeros(5)) == 1.0


def test_many_questions_are_drawn_with_a_seed():
    differences = np.random.default_rng(0).normal(0.3, 1, 40)
    first = sign_flip(differences, seed=1)
    assert first == sign_flip(differences, seed=1)
    assert 0 < first < 0.3


@pytest.mark.parametrize("questions", [5, 6, 8, 12, 13, 30])
def test_flip_bounds_invert_the_sign_flips(questions):
    rng = np.random.default_rng(questions)
    for _ in range(20):
        differences = rng.normal(0.1, 0.3, questions) / questions
        weights = np.full(questions, 1 / questions)
        low, high = flip_bounds(differences, weights, 0.05)
        assert low <= differences.sum() <= high
        for tested in np.linspace(-0.5, 0.7, 25):
            p_value = sign_flip(differences - tested * weights)
            assert (p_value > 0.05) == (low <= tested <= high)


def test_flip_bounds_by_hand():
    # 2 questions and level 1/2: a p-value of at most 2 of 4 patterns. Subset means are 0.1 and 0.3.
    found = flip_bounds(np.array([0.05, 0.15]), np.array([0.5, 0.5]), 0.5)
    assert found == pytest.approx((0.1, 0.3))
    # 2 / 2^5 is more than 0.05: five questions reject nothing.
    assert flip_bounds(np.full(5, 0.02), np.full(5, 0.2), 0.05) == (-np.inf, np.inf)


def paired(first, second, samples=50):
    return paired_difference(
        *(QuestionCounts(h, np.full(np.shape(h), samples)) for h in (first, second))
    )


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_interval_excludes_zero_exactly_if_the_p_value_says_so(seeds):
    rng = np.random.default_rng(seeds)
    seen = set()
    for questions, base, lift, icc in itertools.product(
        (4, 8, 16), (0.0, 0.05), (0.0, 0.03, 0.1), (0.0, 0.1)
    ):
        case = Case(questions, 50, seeds, base + lift, icc if base + lift else 0.0, 0.0)
        for hits in draw(case, 3, rng):
            found = paired(hits, rng.binomial(50, base, questions))
            assert found.low <= found.difference <= found.high
            assert found.low < found.high
            excluded = found.low > 0 or found.high < 0
            assert excluded == (found.p_value <= 0.05)
            seen.add(excluded)
    assert seen == {True, False}


def test_a_lift_that_the_p_value_finds_is_found_by_the_interval():
    # 24 x 50, base 0.3 %, lift 3 points, ICC .05: once p < .05 in 99 % of the runs, while the
    # interval excluded zero in 43 %.
    rng = np.random.default_rng(0)
    base = draw(Case(24, 50, 1, 0.003, 0.0, 0.0), 30, rng)[:, 0]
    tuned = draw(Case(24, 50, 1, 0.033, 0.05, 0.0), 30, rng)[:, 0]
    found = [paired(*pair) for pair in zip(tuned, base, strict=True)]
    assert np.mean([one.low > 0 for one in found]) > 0.9


def test_two_rates_of_zero_have_an_interval_with_width():
    found = paired(np.zeros(8), np.zeros(8))
    assert (found.difference, found.p_value) == (0, 1)
    assert found.low < 0 < found.high


def test_questions_weigh_as_in_the_difference():
    # 8 questions with 100 answers and 8 with 20: the difference of pooled rates is the estimate
    # that the bounds enclose, not the mean over questions.
    sizes = np.repeat([100, 20], 8)
    tuned = QuestionCounts(np.repeat([40, 0], 8), sizes)
    base = QuestionCounts(np.zeros(16), sizes)
    found = paired_difference(tuned, base)
    assert found.difference == pytest.approx(320 / 960)
    assert found.low < 320 / 960 < found.high
