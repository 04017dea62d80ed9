"""What a configuration that is sound means: its variants, its batches, its params."""

from configurations import demo, load, put
from em_tiers.study.load import without_cosmetics


def test_variants_of_the_demo(checkout):
    study = load(checkout)
    assert list(study.variants) == [
        "smollm2-135m",
        "smollm2-135m.storyteller.demo-lora.s0",
        "smollm2-135m.support-desk.demo-lora.s0",
    ]
    assert [v.label for v in study.variants.values()][1] == "Storyteller, seed 0"
    assert list(study.batches) == ["smollm2-135m-0"]


def test_a_variant_at_the_end_changes_the_last_batch_only(checkout):
    config = put(demo(), "variants_per_job", 2)
    before = load(checkout, config).batches
    longer = put(config, "variants.0.training_seeds", [0, 1])
    after = load(checkout, put(longer, "variants.0.datasets", ["storyteller"])).batches
    assert before["smollm2-135m-0"] == after["smollm2-135m-0"]
    assert set(after) == {"smollm2-135m-0", "smollm2-135m-1"}


def test_checkpoints_are_variants_of_their_own(checkout):
    study = load(checkout, put(demo(), "variants.0.checkpoints", [10]))
    steps = {v.variant: v.checkpoint_step for v in study.variants.values() if v.dataset}
    assert steps["smollm2-135m.storyteller.demo-lora.s0.step10"] == 10
    assert steps["smollm2-135m.storyteller.demo-lora.s0"] is None


def test_params_hold_no_cosmetics_and_one_key_order():
    left = without_cosmetics({"b": {"label": "x", "z": 1, "a": 2}, "a": 1, "comment": "c"})
    assert list(left) == ["a", "b"]
    assert list(left["b"]) == ["a", "z"]
