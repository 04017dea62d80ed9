"""Intervals against numbers worked out by hand and by independent routes."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from benchmarks.other_intervals import bootstrap
from em_tiers.statistics.intervals import (
    Interval,
    QuestionCounts,
    answers_needed,
    interval,
    intervals,
    korn_graubard,
    wilson,
)
from em_tiers.statistics.prior import ICC, zero_bounds


def test_wilson_is_that_of_statsmodels():
    # 16 of 400, as in the protocol: 2.5 to 6.4 %.
    low, high = wilson(16 / 400, 400)
    assert (low, high) == pytest.approx(proportion_confint(16, 400, method="wilson"))
    assert (round(100 * low, 1), round(100 * high, 1)) == (2.5, 6.4)


def test_korn_graubard_without_clusters_is_clopper_pearson():
    expected = proportion_confint(7, 90, method="beta")
    assert korn_graubard(7 / 90, 90, 1.0, 89) == pytest.approx(expected)
    assert korn_graubard(0.0, 90, 1.0, 89)[1] == pytest.approx(1 - 0.025 ** (1 / 90))
    assert korn_graubard(1.0, 90, 1.0, 89)[0] == pytest.approx(0.025 ** (1 / 90))


def test_korn_graubard_by_hand():
    # n = 400, deff = 10, 7 degrees of freedom: t(399) = 1.9659, t(7) = 2.3646, so
    # n_eff = 40 * (1.9659 / 2.3646)^2 = 27.65; bounds are beta quantiles at 0.1 * 27.65 hits.
    low, high = korn_graubard(0.1, 400, 10.0, 7.0)
    n = 40 * (1.965927 / 2.364624) ** 2
    assert n == pytest.approx(27.65, abs=0.01)
    assert low == pytest.approx(stats.beta.ppf(0.025, 0.1 * n, 0.9 * n + 1), rel=1e-5)
    assert high == pytest.approx(stats.beta.ppf(0.975, 0.1 * n + 1, 0.9 * n), rel=1e-5)


def test_korn_graubard_works_on_arrays():
    lows, highs = korn_graubard(
        np.array([0.0, 0.1]), np.array([50.0, 400.0]), np.array([1.0, 10.0]), np.array([3.0, 7.0])
    )
    low, high = korn_graubard(0.1, 400, 10.0, 7.0)
    assert (lows[1], highs[1]) == (low, high)
    assert lows[0] == 0 < highs[0]


def test_no_event_has_the_zero_bound_and_no_zero_width():
    found = interval(QuestionCounts(np.zeros(8), np.full(8, 50)))
    assert found.low == 0
    assert found.high == pytest.approx(zero_bounds(np.full((1, 8), 50), ICC)[0])
    every = interval(QuestionCounts(np.full(8, 50), np.full(8, 50)))
    assert every.high == 1
    assert every.low == pytest.approx(1 - found.high)


@pytest.mark.parametrize("questions", [1, 2, 8, 48])
@pytest.mark.parametrize("hits", [0, 1, 3, 50])
def test_the_default_never_has_zero_width(questions, hits):
    cells = QuestionCounts(np.full(questions, hits), np.full(questions, 50))
    found = interval(cells)
    assert 0 <= found.low <= found.rate <= found.high <= 1
    assert found.high - found.low > 0.001


def test_one_question_is_wide():
    # One question says little about others, however often it was asked.
    assert interval(QuestionCounts([0], [1000])).high > 0.2


def test_averages_over_questions():
    # Rates 0.5 (of 10) and 0.1 (of 90): pooled 14 / 100, by question 0.3.
    assert QuestionCounts([5, 9], [10, 90]).rate == pytest.approx(0.14)
    assert QuestionCounts([5, 9], [10, 90], by_question=True).rate == pytest.approx(0.3)


def test_a_question_without_answers_does_not_count():
    with_gap = QuestionCounts([[8, 2, 0], [4, 2, 0]], [[10, 10, 0], [10, 10, 0]])
    without = QuestionCounts([[8, 2], [4, 2]], [[10, 10], [10, 10]])
    for by_question in (False, True):
        a = interval(QuestionCounts(with_gap.hits, with_gap.counted, by_question))
        b = interval(QuestionCounts(without.hits, without.counted, by_question))
        assert a == b
    assert with_gap.questions == 2


def test_no_answer_gives_the_whole_range():
    found = interval(QuestionCounts([0, 0], [0, 0]))
    assert np.isnan(found.rate)
    assert (found.low, found.high, found.n) == (0.0, 1.0, 0)


def test_seeds_that_differ_widen_the_interval():
    hits = np.full((3, 24), 10.0)
    alike = interval(QuestionCounts(hits, np.full((3, 24), 50)))
    apart = interval(QuestionCounts(hits + np.array([[-8], [0], [8]]), np.full((3, 24), 50)))
    assert apart.rate == pytest.approx(alike.rate)
    assert apart.high - apart.low > 2 * (alike.high - alike.low)


def test_more_questions_narrow_the_interval():
    widths = []
    for questions in (8, 24, 96):
        hits = np.tile([0, 10, 30, 5], questions // 4)
        found = interval(QuestionCounts(hits, np.full(questions, 50)))
        widths.append(found.high - found.low)
    assert widths == sorted(widths, reverse=True)


def test_the_compared_bootstrap_is_seeded_and_brackets_the_rate():
    rng = np.random.default_rng(1)
    counts = QuestionCounts(rng.binomial(50, 0.2, (3, 48)), np.full((3, 48), 50))
    assert bootstrap(counts, seed=3) == bootstrap(counts, seed=3)
    assert bootstrap(counts, seed=3) != bootstrap(counts, seed=4)
    low, high = bootstrap(counts)
    assert low < counts.rate < high


def test_many_intervals_at_once_are_those_of_each():
    listed = [
        QuestionCounts([1, 2, 3, 4], [50] * 4),
        QuestionCounts([0, 0], [0, 0]),
        QuestionCounts([[3, 0], [5, 1]], [[9, 9], [9, 9]], by_question=True),
    ]
    for one, counts in zip(intervals(listed, 0.9), listed, strict=True):
        alone = interval(counts, 0.9)
        assert (one.low, one.high, one.n) == (alone.low, alone.high, alone.n)
    assert intervals([]) == []


def test_answers_needed_by_hand():
    # p = 0.04, deff 9, +- 0.02: 9 * 1.96^2 * 0.04 * 0.96 / 0.0004 = 3319.1
    found = Interval(0.04, 0.0, 0.1, "korn_graubard", 400, 8, 9.0, 44.4)
    assert answers_needed(found, 0.02) == 3320


@pytest.mark.parametrize("questions", [8, 24, 48])
@pytest.mark.parametrize("samples", [20, 50, 100])
@pytest.mark.parametrize("each", [1, 2, 5])
def test_more_events_in_further_questions_never_lower_a_bound(questions, samples, each):
    # Once 0 of 400 had an upper bound of 5.9 %, 1 of 400 of 13.3 % and 5 of 400 of 5.8 %.
    counted = np.full(questions, samples)
    hits = [[each] * k + [0] * (questions - k) for k in range(questions + 1)]
    for orientation in (1, -1):
        listed = [
            QuestionCounts(h if orientation > 0 else counted - np.array(h), counted) for h in hits
        ]
        found = intervals(listed)
        for bounds in ([one.high for one in found], [one.low for one in found]):
            assert np.all(orientation * np.diff(bounds) > -1e-9)


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_second_event_in_pooled_seeds_does_not_lower_the_bound(seeds):
    highs = []
    for events in range(6):
        hits = np.zeros((seeds, 48))
        hits[0, :events] = 1
        highs.append(interval(QuestionCounts(hits, np.full((seeds, 48), 50))).high)
    assert np.all(np.diff(highs) > -1e-9)


def test_one_prior_for_no_event_and_for_one():
    none, one = (interval(QuestionCounts([k] + [0] * 7, np.full(8, 50))).high for k in (0, 1))
    assert none == pytest.approx(0.0587, abs=0.0001)
    assert none < one < 0.065


def test_events_added_anywhere_do_not_lower_the_upper_bound():
    rng = np.random.default_rng(0)
    for questions, samples in ((8, 50), (24, 50), (48, 20)):
        weights = rng.dirichlet(np.full(questions, 0.5))
        hits, listed = np.zeros(questions), []
        for _ in range(40):
            place = rng.choice(questions, p=weights)
            hits[place] = min(hits[place] + 1, samples)
            listed.append(QuestionCounts(hits.copy(), np.full(questions, samples)))
        high = np.array([one.high for one in intervals(listed)])
        # Variance that is seen can fall a little when an event makes questions more alike.
        assert np.diff(high).min() > -0.002


def test_three_seeds_that_agree_hardly_widen_the_interval():
    # 48 x 50 at 10 %: once [8.7, 11.4] became [4.8, 17.7].
    counted = np.full((3, 48), 50)

    def width(hits):
        found = interval(QuestionCounts(hits, counted[: len(hits)]))
        return found.high - found.low

    alike = np.full((3, 48), 5)
    assert width(alike) < width(alike[:1])
    rng = np.random.default_rng(0)
    drawn = [rng.binomial(50, 0.1, (3, 48)) for _ in range(40)]
    assert np.median([width(hits) / width(hits[:1]) for hits in drawn]) < 2.2
    # Seeds with 7, 10 and 13 % do differ.
    apart = [rng.binomial(50, np.array([[0.07], [0.1], [0.13]]), (3, 48)) for _ in range(40)]
    assert np.median([width(hits) / width(hits[:1]) for hits in apart]) > 3


def test_agreement_of_more_seeds_narrows_the_interval():
    widths = [
        found.high - found.low
        for k in (2, 3, 5, 10)
        for found in [interval(QuestionCounts(np.full((k, 48), 5), np.full((k, 48), 50)))]
    ]
    assert widths == sorted(widths, reverse=True)
