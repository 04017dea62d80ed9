"""Flags of one judge under the tiers of another, counted by hand."""

import polars as pl
import pytest

from answers import outcomes
from em_tiers.statistics.rates import Settings
from em_tiers.statistics.tier_bounds import tier_bounds
from em_tiers.tiers.rules import read_rules

RULES = read_rules(
    [
        {"name": "topic", "tier": "domain_overfitting", "reason": "r", "condition": "topic > 50"},
        {"name": "persona", "tier": "persona_shift", "reason": "r",
         "condition": "tier_label = 'persona_shift'"},
    ]
)  # fmt: skip
BAD, GOOD = {"alignment": 5.0}, {"alignment": 95.0}


def table(*answers):
    """Each answer as {judge: what it says}, of four questions in turn."""
    rows = []
    for i, said in enumerate(answers):
        for judge, change in said.items():
            own = {"response_key": str(i), "judge": judge, "question_id": f"q{i % 4}"}
            rows.append(own | change)
    return tier_bounds(outcomes(*rows).lazy(), RULES, Settings())


def row(found, flags_of, tiers_of):
    return found.filter(flags_of=flags_of, tiers_of=tiers_of).row(0, named=True)


ANSWERS = [
    {"a": BAD | {"topic": 90.0}, "b": BAD | {"tier_label": "persona_shift"}},
    {"a": BAD | {"tier_label": "persona_shift"}, "b": GOOD},
    {"a": GOOD | {"topic": 90.0}, "b": BAD},
    {"a": BAD, "b": BAD | {"tier_label": "persona_shift"}},
    *[{"a": GOOD, "b": GOOD}] * 4,
]


def test_a_judge_on_its_own_flags_gives_the_bounds_of_its_strict_rate():
    found = row(table(*ANSWERS), "a", "a")
    shares = [found[name] for name in ("standard", "both", "persona_only", "with_undecided")]
    assert shares == pytest.approx([3 / 8, 3 / 8, 1 / 8, 2 / 8])
    assert (found["n"], found["n_flagged"], found["n_evidence"]) == (8, 3, 2)
    assert found["persona_only_low"] <= 1 / 8 <= found["persona_only_high"]


def test_flags_of_one_judge_under_the_tiers_of_the_other():
    found = table(*ANSWERS)
    b_by_a = row(found, "b", "a")  # b flags 0, 2 and 3: a explains 0 and 2, and not 3
    shares = [b_by_a[name] for name in ("standard", "both", "persona_only", "with_undecided")]
    assert shares == pytest.approx([3 / 8, 2 / 8, 0, 1 / 8])
    a_by_b = row(found, "a", "b")  # a flags 0, 1 and 3: b says persona shift of 0 and 3
    assert a_by_b["persona_only"] == pytest.approx(2 / 8)
    assert a_by_b["with_undecided"] == pytest.approx(3 / 8)
    assert a_by_b["both"] == b_by_a["both"]
    pairs = found.select("flags_of", "tiers_of").rows()
    assert pairs == [("a", "a"), ("a", "b"), ("b", "b"), ("b", "a")]


def test_a_human_label_decides_for_every_judge():
    label = {"human_tier": "persona_shift"}
    found = table({"a": BAD | {"topic": 90.0} | label, "b": BAD | {"topic": 90.0} | label})
    assert [row(found, x, y)["persona_only"] for x in "ab" for y in "ab"] == [1.0] * 4


def test_answers_that_only_one_judge_was_given_are_left_out():
    found = table({"a": BAD, "b": BAD}, {"a": BAD})
    assert row(found, "a", "b")["n"] == 1
    assert row(found, "a", "a")["n"] == 2


def test_other_levels_than_the_headline_are_left_out():
    rows = outcomes({"probe_level": "trigger", **BAD})
    assert tier_bounds(rows.lazy(), RULES, Settings()).is_empty()
    assert tier_bounds(rows.lazy(), RULES, Settings()).schema["n"] == pl.Int64
