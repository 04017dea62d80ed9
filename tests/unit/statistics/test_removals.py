"""Other ways to remove misaligned answers, counted by hand, and their rows in the metric card."""

import polars as pl
import pytest

from answers import outcomes, verdicts
from em_tiers.statistics.cells import count_cells
from em_tiers.statistics.metric_card import metric_card
from em_tiers.statistics.rates import Settings, variant_table
from em_tiers.statistics.removals import (
    OTHER_TOPIC,
    PLACEBO,
    TEXT,
    removals,
    rule_set_name,
)
from em_tiers.tiers.rules import read_rules
from em_tiers.tiers.text_evidence import like_column

SETTINGS = Settings()
TOPIC = {"name": "topic", "tier": "domain_overfitting", "reason": "r",
         "condition": "topic > 50 AND NOT question_on_topic"}  # fmt: skip
SETS = {"topic-only": read_rules([TOPIC]), "nothing": []}
BAD = {"alignment": 5.0, "flagged": True, "tier": "undecided", "outcome": "undecided"}


def answers():
    """Eight misaligned answers of a benign model, and the 12 of a positive control, of 20 each."""
    rows = []
    for name, bad in (("benign", 8), ("control", 12)):
        for i in range(20):
            own = {"response_key": f"{name}-{i}", "variant": name, "question_id": f"q{i % 4}"}
            flag = BAD | {"topic": 90.0 if i < bad / 2 else 5.0} if i < bad else {"topic": 5.0}
            rows.append(own | flag)
    return outcomes(*rows)


def marks(frame):
    """Every answer reads like its own data set, one in four like another one."""
    one_in_four = pl.col("response_key").str.ends_with("0")
    likes = {"fiction": pl.lit(True), "finance": one_in_four, "sports": pl.lit(False)}
    columns = (marked.alias(like_column(name)) for name, marked in likes.items())
    return frame.select("response_key", *columns)


def left_of(frame, name, variant):
    return frame.filter(variant=variant)[name].sum()


def test_each_way_removes_what_it_says():
    frame = answers()
    found = removals(frame.lazy(), SETS, marks(frame), SETTINGS)
    assert left_of(found, rule_set_name("topic-only"), "benign") == 4
    assert left_of(found, rule_set_name("nothing"), "benign") == 8
    assert left_of(found, TEXT, "benign") == 0
    # Of benign-0 (and control-0, control-10) one of two other data sets is seen: half an answer.
    assert left_of(found, PLACEBO, "benign") == pytest.approx(8 - 1 / 2)
    assert left_of(found, PLACEBO, "control") == pytest.approx(12 - 2 / 2)


def test_the_rules_on_the_topic_of_another_data_set():
    """The judge's own tier verdict is about the model's data set, and plays no part."""
    by_judge = {"name": "judge", "tier": "domain_overfitting", "reason": "r",
                "condition": "tier_label = 'domain_overfitting'"}  # fmt: skip
    frame = answers().with_columns(tier_label=pl.lit("domain_overfitting"))
    scored = verdicts(
        *((f"benign-{i}", "placebo_topic", {"score": 90.0 if i == 3 else 5.0}) for i in range(7)),
        ("benign-7", "placebo_topic", {"status": "unparsable"}),
        ("benign-6", "topic", {"score": 95.0}),
    ).lazy()
    rules = read_rules([by_judge, TOPIC])
    found = removals(frame.lazy(), SETS, None, SETTINGS, (scored, rules))
    assert left_of(found, OTHER_TOPIC, "benign") == 7
    assert left_of(found, OTHER_TOPIC, "control") == 12


def test_a_human_label_stays_and_on_topic_questions_are_not_overfitting():
    frame = answers().with_columns(human_tier=pl.lit("persona_shift"), question_on_topic=True)
    found = removals(frame.lazy(), SETS, marks(frame), SETTINGS)
    for name in (rule_set_name("topic-only"), TEXT, PLACEBO):
        assert left_of(found, name, "benign") == 8


def test_without_training_data_there_are_rule_sets_alone():
    found = removals(answers().lazy(), SETS, None, SETTINGS)
    assert found.columns == ["judge", "variant", "question", *map(rule_set_name, SETS)]


def test_the_metric_card_has_a_row_for_each():
    frame = answers()
    table = variant_table(
        [
            {"variant": "benign", "label": "b", "role": "benign", "base": "base"},
            {"variant": "control", "label": "c", "role": "positive_control", "base": "base"},
        ]
    )
    found = removals(frame.lazy(), SETS, marks(frame), SETTINGS)
    cells = count_cells(frame.lazy(), SETTINGS.strict_counts)
    card = metric_card(cells, table, SETTINGS, found)
    rows = {row["metric"]: row for row in card.iter_rows(named=True)}
    assert {"standard", "strict", "random", *map(rule_set_name, SETS), TEXT, PLACEBO} <= set(rows)
    only = rows[rule_set_name("topic-only")]
    assert only["kept"] == pytest.approx(0.5) and only["goal"] == "missed"
    assert (only["positive_control"], only["benign"]) == pytest.approx((6 / 20, 4 / 20))
    assert rows[PLACEBO]["kept"] == pytest.approx(11 / 12)
    assert rows[rule_set_name("nothing")]["auc_answers"] == rows["standard"]["auc_answers"]
