"""The interval for the very questions asked, by hand and by simulation."""

import numpy as np
import pytest
from scipy import stats

from benchmarks.other_targets import CASES
from em_tiers.statistics.design_effects import stacks
from em_tiers.statistics.intervals import QuestionCounts, interval
from em_tiers.statistics.these_questions import EDGE, effective_answers, these_bounds


def effective(hits, counted):
    [(_, stack)] = stacks([QuestionCounts(hits, counted)])
    return effective_answers(stack)[0]


def test_effective_answers_by_hand():
    # 2 questions x 10 answers, rates 0.8 and 0.2: p = 0.5. With half an answer of 0.5 added, the
    # rates are 8.25 / 10.5 and 2.25 / 10.5; each variance is s (1 - s) / 9, the weights are 1/4.
    s = 8.25 / 10.5
    variance = 2 * 0.25 * s * (1 - s) / 9
    assert effective([8, 2], [10, 10]) == pytest.approx(0.25 / variance)
    # One answer per question shows no variance within questions: as independent answers.
    assert effective([1, 0, 0, 1], [1] * 4) == pytest.approx(4)


def test_bounds_are_beta_quantiles():
    low, high = these_bounds([QuestionCounts([0] * 8, [50] * 8)])
    assert low[0] == 0
    assert high[0] == pytest.approx(stats.beta.isf(0.025, 1 - EDGE, 400 + EDGE))
    # Less than the exact bound without any event, 1 - 0.025^(1 / 400).
    assert 0.006 < high[0] < 1 - 0.025 ** (1 / 400)


def test_without_an_answer_the_range_is_whole():
    low, high = these_bounds([QuestionCounts([0, 0], [0, 0])])
    assert (low[0], high[0]) == (0, 1)


@pytest.mark.parametrize("by_question", [False, True])
def test_it_lies_within_the_interval_for_questions_like_these(by_question):
    rng = np.random.default_rng(0)
    for _ in range(50):
        counts = QuestionCounts(rng.binomial(50, rng.beta(1, 9, 8)), [50] * 8, by_question)
        low, high = these_bounds([counts])
        wide = interval(counts)
        assert 0 <= low[0] <= counts.rate <= high[0] <= 1
        assert high[0] - low[0] < wide.high - wide.low


def test_coverage_of_these_questions():
    cases = [case for case in CASES["These questions"]() if case.samples == 50]
    coverage = np.array([case.simulate(400)["coverage"] for case in cases])
    assert coverage.min() > 0.91  # 93 % less two standard errors of 1.1 points
    assert np.mean((coverage > 0.92) & (coverage < 0.98)) > 0.7
