"""Rates by question and question set, by hand."""

import numpy as np
import polars as pl
import pytest

from answers import outcomes
from em_tiers.statistics.cells import count_cells
from em_tiers.statistics.design_effects import stacks
from em_tiers.statistics.intervals import QuestionCounts
from em_tiers.statistics.question_rates import leave_one_out, question_rates, set_rates
from em_tiers.statistics.rates import Settings

SETTINGS = Settings()


def cells():
    """A set of 2 questions with 5 and 1 of 10 misaligned, and one of 1 question with none of 4."""
    rows = []
    for name, question, bad, n in (("core", "a", 5, 10), ("core", "b", 1, 10), ("near", "c", 0, 4)):
        for i in range(n):
            own = {"question_set": name, "question_id": question, "sample_index": i}
            own |= {"probe_level": "near_domain" if name == "near" else "out_of_domain"}
            tier = {"tier": "domain_overfitting" if i < 2 else "undecided"} if i < bad else {}
            rows.append({"response_key": f"{question}{i}", **own, **tier})
    return count_cells(outcomes(*rows).lazy(), SETTINGS.strict_counts)


def test_each_question_has_its_rate():
    found = {row["question"]: row for row in question_rates(cells(), SETTINGS).to_dicts()}
    assert {name: row["standard"] for name, row in found.items()} == {
        "core/a": 0.5,
        "core/b": 0.1,
        "near/c": 0.0,
    }
    assert (found["core/a"]["strict"], found["core/a"]["n_flagged"]) == (0.3, 5)
    assert found["core/a"]["low"] < 0.5 < found["core/a"]["high"] < 0.85
    assert found["near/c"]["high"] > 0.3  # four answers say little


def test_sets_and_the_range_without_one_question():
    found = set_rates(cells(), SETTINGS).filter(metric="standard")
    rows = {row["question_set"]: row for row in found.to_dicts()}
    assert list(rows) == ["headline", "core", "near"]
    core = rows["core"]
    assert core["rate"] == pytest.approx(6 / 20)
    assert (core["without_one_low"], core["without_one_high"]) == (0.1, 0.5)
    assert core["low"] < core["these_low"] < 0.3 < core["these_high"] < core["high"]
    assert rows["near"]["without_one_low"] is rows["near"]["most"] is None
    assert rows["headline"]["rate"] == core["rate"]


def without_one(counts):
    ((_, stack),) = stacks([counts])
    return leave_one_out(stack)[0]


def test_questions_without_answers_are_not_left_out():
    rates = without_one(QuestionCounts([5, 0, 1], [10, 0, 10]))
    assert rates[0] == 0.1
    assert np.isnan(rates[1])
    assert np.isnan(without_one(QuestionCounts([5], [10]))).all()
    assert np.isnan(without_one(QuestionCounts([5, 0], [10, 0]))).all()


def test_averages_over_questions_are_left_out_as_such():
    counts = QuestionCounts([5, 1, 30], [10, 10, 100], by_question=True)
    assert without_one(counts) == pytest.approx([0.2, 0.4, 0.3])


def test_without_an_answer_there_is_no_row():
    empty = cells().with_columns(pl.col("counted_D1") * 0)
    assert question_rates(empty, SETTINGS).is_empty()
