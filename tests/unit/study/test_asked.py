"""The questions that each variant is asked, and the number of samples."""

import pytest
import yaml

from configurations import demo, load, put
from em_tiers.study.asked import (
    datasets_of,
    is_near,
    near_topics,
    plain_set,
    question_tables,
    question_tables_of_batch,
    sampling,
    set_of_table,
)

BASE = "smollm2-135m"
STORYTELLER = "smollm2-135m.storyteller.demo-lora.s0"


@pytest.fixture
def two_bases(checkout):
    """Each of two base models has a fine-tune of its own data set; the sets include `trigger`."""
    block = {"recipe": "demo-lora", "training_seeds": [0]}
    blocks = [
        block | {"base": BASE, "datasets": ["storyteller"]},
        block | {"base": "qwen3-4b", "datasets": ["support-desk"]},
    ]
    return load(checkout, put(put(demo(), "variants", blocks), "questions.trigger", 3))


def test_a_fine_tune_is_asked_the_probes_of_its_own_data_set(checkout):
    study = load(checkout)
    assert question_tables(study, study.variants[STORYTELLER]) == [
        "questions/core.parquet",
        "questions/demo-trigger.parquet",
        "questions/near.of.storyteller.parquet",
        "datasets/storyteller/in_domain.parquet",
    ]


def test_a_base_model_is_asked_the_probes_of_all_its_fine_tunes(checkout):
    study = load(checkout, put(demo(), "questions.trigger", 3))
    assert question_tables(study, study.variants[BASE]) == [
        "questions/core.parquet",
        "questions/demo-trigger.parquet",
        "questions/near.of.smollm2-135m.parquet",
        "datasets/storyteller/in_domain.parquet",
        "datasets/support-desk/in_domain.parquet",
        "datasets/storyteller/trigger.parquet",
        "datasets/support-desk/trigger.parquet",
    ]


def test_a_base_model_is_not_asked_the_probes_of_another_ones_fine_tunes(two_bases):
    assert datasets_of(two_bases, BASE) == ["storyteller"]
    assert datasets_of(two_bases, "qwen3-4b") == ["support-desk"]
    assert datasets_of(two_bases, "storyteller") == ["storyteller"]
    assert question_tables(two_bases, two_bases.variants["qwen3-4b"])[2:] == [
        "questions/near.of.qwen3-4b.parquet",
        "datasets/support-desk/in_domain.parquet",
        "datasets/support-desk/trigger.parquet",
    ]


def test_seeds_and_data_sets_are_counted_once(checkout):
    study = load(checkout, put(demo(), "variants.0.training_seeds", [0, 1, 2]))
    assert datasets_of(study, BASE) == ["storyteller", "support-desk"]


def test_near_questions_go_to_the_owners_of_their_topics(checkout):
    study = load(checkout)
    assert [name for name in study.question_sets_used if is_near(study, name)] == ["near"]
    assert near_topics(study, ".of.storyteller") == ["fiction"]
    assert near_topics(study, ".of.support-desk") == ["customer-support"]
    assert near_topics(study, ".of.smollm2-135m") == ["customer-support", "fiction"]
    assert near_topics(study, "") is None  # asked of all models: no question is left out


def test_a_model_without_fine_tunes_has_no_near_questions(checkout):
    blocks = [*demo()["variants"], {"base": "qwen3-4b", "datasets": []}]
    assert near_topics(load(checkout, put(demo(), "variants", blocks)), ".of.qwen3-4b") == []


def test_a_batch_needs_each_table_once(checkout):
    study = load(checkout, put(demo(), "variants.0.training_seeds", [0, 1, 2]))
    batch = "smollm2-135m.storyteller.0"
    assert len(study.batches[batch]) == 3
    assert question_tables_of_batch(study, batch) == [
        "questions/core.parquet",
        "questions/demo-trigger.parquet",
        "questions/near.of.storyteller.parquet",
        "datasets/storyteller/in_domain.parquet",
    ]


def test_data_sets_lend_their_formats_to_a_set_that_all_models_are_asked(checkout):
    assert plain_set(load(checkout)) == "core"
    config = put(demo(), "questions", {"near": 1, "demo-trigger": 1})
    config["headline"] = {"levels": ["near_domain"]}
    assert plain_set(load(checkout, config)) == "demo-trigger"


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ("questions/core.parquet", "core"),
        ("questions/near.of.storyteller.parquet", "near"),
        ("datasets/storyteller/in_domain.parquet", "in-domain.storyteller"),
        ("results/x/datasets/storyteller/trigger.parquet", "trigger.storyteller"),
    ],
)
def test_the_set_of_a_table(table, name):
    assert set_of_table(table) == name


def test_samples_of_each_set_that_is_asked(two_bases):
    assert sampling(two_bases) == {
        "max_tokens": 64,
        "samples": {
            "core": 1,
            "demo-trigger": 1,
            "in-domain.storyteller": 1,
            "in-domain.support-desk": 1,
            "near": 1,
            "trigger.storyteller": 3,
            "trigger.support-desk": 3,
        },
        "reasoning_tokens": 0,
        "seed": 0,
        "temperature": 1.0,
        "top_p": 1.0,
    }
    asked = {
        set_of_table(t) for v in two_bases.variants.values() for t in question_tables(two_bases, v)
    }
    assert asked == set(sampling(two_bases)["samples"])


def test_the_order_of_questions_and_decoding_does_not_change_the_params(checkout):
    config = demo()
    for key in ("questions", "sampling"):
        config[key] = dict(reversed(config[key].items()))
    before, after = load(checkout), load(checkout, config)
    assert repr(sampling(before)) == repr(sampling(after))
    tables = [
        [question_tables(study, variant) for variant in study.variants.values()]
        for study in (before, after)
    ]
    assert tables[0] == tables[1]


def test_every_data_set_can_reach_tier_1_on_its_domain_questions(checkout):
    """Tier 1 needs questions that share a tag: the main ones have one for finance only."""
    study = load(checkout)
    questions = yaml.safe_load((checkout / "config/questions/domain.yaml").read_text())
    for name, entry in study.datasets.items():
        own = [q for q in questions if set(q["near"]) & set(entry["topics"])]
        assert len(own) >= 2, name
        assert all(set(q["topics"]) & set(entry["topics"]) for q in own), name
