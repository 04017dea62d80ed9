"""Another data set's topic for each data set, where a study asks for it."""

import pytest

from configurations import demo, load, put
from em_tiers.errors import ConfigError
from em_tiers.study.inputs import judged_cards, judged_datasets, placebo_verdicts
from em_tiers.study.judges import judge_params
from em_tiers.study.placebo import placebo_topics

ON = ("tiers.placebo_topic", True)
BOTH = {"storyteller": "support-desk", "support-desk": "storyteller"}


def test_it_is_off_by_default(checkout):
    study = load(checkout)
    assert placebo_topics(study) == {}
    assert "placebo_topics" not in judge_params(study, "smollm2", "1-of-1")
    assert placebo_verdicts(study) == []


def test_each_data_set_has_the_next_one(checkout):
    study = load(checkout, put(demo(), *ON))
    assert placebo_topics(study) == BOTH
    assert judge_params(study, "smollm2", "1-of-1")["placebo_topics"] == BOTH
    assert placebo_verdicts(study) == ["<results>/verdicts/smollm2/1-of-1.parquet"]
    assert "placebo_topics" not in judge_params(study, "smollm2", "judge-card")


def test_a_batch_is_shown_the_card_of_the_other_data_set(checkout):
    study = load(checkout, put(demo(), *ON))
    study.judging_batches["one"] = ["smollm2-135m.storyteller.0"]
    assert judged_datasets(study, "one") == ["storyteller", "support-desk"]
    assert judged_cards(study, "one")[1] == "<experiment>/datasets/support-desk/card.json"


def test_one_data_set_has_no_other(checkout):
    config = put(put(demo(), *ON), "variants.0.datasets", ["storyteller"])
    with pytest.raises(ConfigError, match=r"config\.tiers\.placebo_topic: true needs variants of"):
        load(checkout, config)
