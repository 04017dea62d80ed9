"""What a configuration that is sound means: its variants, its batches, its params."""

import pytest

from configurations import demo, load, put
from em_tiers.errors import ConfigError
from em_tiers.study.load import without_cosmetics


def test_variants_of_the_demo(checkout):
    study = load(checkout)
    assert list(study.variants) == [
        "smollm2-135m",
        "smollm2-135m.storyteller.demo-lora.s0",
        "smollm2-135m.support-desk.demo-lora.s0",
    ]
    assert [v.label for v in study.variants.values()][1] == "Storyteller, seed 0"
    assert list(study.batches) == [
        "smollm2-135m",
        "smollm2-135m.storyteller.0",
        "smollm2-135m.support-desk.0",
    ]
    assert study.judging_batches == {"1-of-1": list(study.batches)}


def test_checkpoints_are_variants_of_their_own(checkout):
    study = load(checkout, put(demo(), "variants.0.checkpoints", [10]))
    steps = {v.variant: v.checkpoint_step for v in study.variants.values() if v.dataset}
    assert steps["smollm2-135m.storyteller.demo-lora.s0.step10"] == 10
    assert steps["smollm2-135m.storyteller.demo-lora.s0"] is None


def test_params_hold_no_cosmetics_and_one_key_order():
    left = without_cosmetics({"b": {"label": "x", "z": 1, "a": 2}, "a": 1, "comment": "c"})
    assert list(left) == ["a", "b"]
    assert list(left["b"]) == ["a", "z"]


def test_a_brace_in_the_path_of_the_workflow_is_refused(checkout):
    place = checkout.rename(checkout.with_name("a{b}"))
    with pytest.raises(ConfigError, match=r"a\{b\}: Snakemake reads a brace .* move the workflow"):
        load(place)
