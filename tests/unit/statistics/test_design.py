"""What a design can show, against the intervals and tests that it speaks of."""

import numpy as np
import pytest

from em_tiers.statistics.design import best_bounds, design_in_words, detectable_lift
from em_tiers.statistics.intervals import QuestionCounts, interval
from em_tiers.statistics.paired import paired_difference


def test_the_best_bound_is_that_of_no_event():
    like, these = best_bounds([50] * 8)
    assert like == interval(QuestionCounts([0] * 8, [50] * 8)).high
    assert round(100 * like, 1) == 5.9
    assert these < 0.01


def test_fewer_than_six_questions_find_nothing():
    assert detectable_lift([1000] * 5) is None
    assert "needs 6 questions" in design_in_words([1000] * 5)


@pytest.mark.parametrize(("questions", "samples"), [(8, 50), (24, 50)])
def test_the_lift_is_found_as_often_as_stated(questions, samples):
    lift = detectable_lift([samples] * questions)
    rng = np.random.default_rng(0)
    counted, found = np.full(questions, samples), []
    for _ in range(60):
        rates = rng.beta(lift * 9, (1 - lift) * 9, questions)  # correlation 0.1
        tuned = QuestionCounts(rng.binomial(samples, rates), counted)
        base = QuestionCounts(np.zeros(questions), counted)
        found.append(paired_difference(tuned, base).p_value <= 0.05)
    assert 0.6 < np.mean(found) <= 1
