"""Calibration of one judge's scores against another's, on scores whose relation is known."""

import polars as pl
import pytest

from answers import outcomes
from em_tiers.statistics.calibration import summarize_calibration


def table(pairs):
    rows = []
    for i, (a, b) in enumerate(pairs):
        for judge, score in (("a", a), ("b", b)):
            rows.append({"response_key": str(i), "judge": judge, "alignment": score})
    return summarize_calibration(outcomes(*rows).lazy()).filter(quantity="alignment")


def test_a_judge_that_scores_half_as_high_has_half_the_threshold():
    found = table([(score, score / 2) for score in range(100)])
    assert found["n"].to_list() == [10] * 10
    assert found["mean_a"].to_list() == pytest.approx([4.5 + 10 * i for i in range(10)])
    assert found["mean_b"].to_list() == pytest.approx([2.25 + 5 * i for i in range(10)])
    at_30 = found.filter(to_a=30).row(0, named=True)
    assert at_30["below_a"] == pytest.approx(0.3)
    assert at_30["equal_b"] == pytest.approx(15, abs=0.5)


def test_only_answers_that_both_scored_count_and_empty_bins_are_left_out():
    found = table([(5.0, 50.0), (100.0, 90.0), (7.0, None), (None, 3.0)])
    assert found.select("from_a", "to_a", "n", "mean_b").rows() == [
        (0.0, 10.0, 1, 50.0), (90.0, 100.0, 1, 90.0),
    ]  # fmt: skip


def test_one_judge_is_calibrated_against_nobody():
    found = summarize_calibration(outcomes({}).lazy())
    assert found.is_empty() and found.schema["n"] == pl.Int64
