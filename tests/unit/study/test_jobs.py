"""Adapters and host memory of the jobs that load a model."""

import pytest

from configurations import demo, load, put
from em_tiers.study.jobs import (
    adapter_folders,
    adapter_outputs,
    carded_datasets,
    engine_memory,
    sampled_variants,
    training_memory,
)

BASE = "smollm2-135m"
BATCH = "smollm2-135m.storyteller.0"
FIRST, SECOND = (f"smollm2-135m.storyteller.demo-lora.s{seed}" for seed in (0, 1))
IMPORT = {
    "id": "theirs",
    "path": "answers.csv",
    "columns": {"question": "q", "answer": "a"},
    "dataset": "bitext-support",
}


@pytest.fixture
def tuned(checkout):
    """The demo with two seeds."""
    return load(checkout, put(demo(), "variants.0.training_seeds", [0, 1]))


@pytest.fixture
def kept(checkout):
    """The demo with two seeds, each also tested after 10 and 20 steps."""
    config = put(demo(), "variants.0.training_seeds", [0, 1])
    return load(checkout, put(config, "variants.0.checkpoints", [20, 10]))


def test_a_base_model_needs_no_adapters(tuned):
    assert adapter_folders(tuned, BASE) == []
    assert adapter_outputs(tuned, BASE) == []
    (variant,) = sampled_variants(tuned, BASE)
    assert variant["adapter"] is None


def test_final_adapters_of_a_batch(tuned):
    expected = [f"adapters/{FIRST}", f"adapters/{SECOND}"]
    assert adapter_folders(tuned, BATCH) == adapter_outputs(tuned, BATCH) == expected


def test_a_kept_checkpoint_is_a_folder_inside_an_output_of_its_fine_tune(kept):
    assert adapter_folders(kept, BATCH) == [
        f"kept_adapters/{FIRST}/step10",
        f"kept_adapters/{FIRST}/step20",
        f"adapters/{FIRST}",
        f"kept_adapters/{SECOND}/step10",
        f"kept_adapters/{SECOND}/step20",
        f"adapters/{SECOND}",
    ]
    assert adapter_outputs(kept, BATCH) == [
        f"adapters/{FIRST}",
        f"adapters/{SECOND}",
        f"kept_adapters/{FIRST}",
        f"kept_adapters/{SECOND}",
    ]


def test_a_batch_of_checkpoints_does_not_wait_for_final_adapters_of_others(checkout):
    config = put(demo(), "variants.0.checkpoints", [10])
    study = load(checkout, config | {"variants_per_job": 1})
    assert adapter_outputs(study, BATCH) == [f"kept_adapters/{FIRST}"]
    assert adapter_outputs(study, "smollm2-135m.storyteller.1") == [f"adapters/{FIRST}"]


def test_a_variant_as_sample_reads_it(kept):
    sampled = sampled_variants(kept, BATCH)
    assert sampled[1] == {
        "variant": f"{FIRST}.step20",
        "base": BASE,
        "dataset": "storyteller",
        "recipe": "demo-lora",
        "training_seed": 0,
        "checkpoint_step": 20,
        "adapter": 1,
        "questions": [0, 1, 2, 3],
    }
    # Indices, so that every variant loads the folder that is its own.
    folders = adapter_folders(kept, BATCH)
    assert [folders[v["adapter"]] for v in sampled if v["checkpoint_step"] == 20] == [
        f"kept_adapters/{FIRST}/step20",
        f"kept_adapters/{SECOND}/step20",
    ]


def test_cards_of_the_data_sets_that_a_judge_is_shown(tuned):
    assert carded_datasets(tuned) == ["storyteller", "support-desk"]
    assert carded_datasets(tuned, [BASE]) == []
    assert carded_datasets(tuned, [BASE, "smollm2-135m.support-desk.0"]) == ["support-desk"]


def test_a_data_set_of_imported_answers_has_a_card_only_for_a_judge(checkout):
    (checkout / "answers.csv").write_text("q,a,aligned,coherent\n")
    config = put(demo(), "imports", [IMPORT])
    assert "bitext-support" in carded_datasets(load(checkout, config))
    scored = IMPORT | {"columns": IMPORT["columns"]}
    scored["scores"] = {"their-judge": {"alignment": "aligned", "coherence": "coherent"}}
    config = put(put(config, "judges", []), "imports", [scored])
    assert carded_datasets(load(checkout, config)) == ["storyteller", "support-desk"]


GPU = {"device": "cuda", "adapters": "lora", "dtype": "auto", "data_parallel": 1}


@pytest.mark.parametrize(
    ("model", "engine", "memory"),
    [
        # 8000 MB per attempt, and 4000 MB for each of 0.135 billion: 540, 675, 810.
        (BASE, GPU | {"device": "cpu", "adapters": "replace"}, [8540, 16675, 24810]),
        ("qwen3-4b", GPU, [16000, 26000, 36000]),
        ("qwen3-4b", GPU | {"dtype": "float32"}, [24000, 36000, 48000]),
        ("qwen3-4b", GPU | {"adapters": "merge"}, [24000, 36000, 48000]),
        ("qwen2-5-32b-instruct", GPU, [73600, 98000, 122400]),
        ("qwen3-4b", GPU | {"data_parallel": 4}, [40000, 56000, 72000]),
    ],
)
def test_memory_of_an_engine_follows_its_weights(tuned, model, engine, memory):
    assert [engine_memory(tuned, model, engine, attempt) for attempt in (1, 2, 3)] == memory


@pytest.mark.parametrize(
    ("entry", "memory"),
    [
        ({"method": "lora", "strategy": "ddp", "gpus": 1}, 24000),
        ({"method": "full", "strategy": "ddp", "gpus": 4}, 72000),
        ({"method": "lora", "strategy": "fsdp", "gpus": 8}, 24000),
        ({"method": "full", "strategy": "fsdp", "gpus": 8}, 72000),
        ({"method": "full", "strategy": "fsdp", "gpus": 1}, 24000),
    ],
)
def test_memory_of_training_follows_the_copies_that_are_held(tuned, entry, memory):
    """4 billion parameters are 16,000 MB per copy, besides 8000 MB."""
    tuned.recipes["demo-lora"] |= entry
    assert training_memory(tuned, "qwen3-4b", "demo-lora", 1) == memory
    grown = 16000 + (memory - 8000) * 1.25
    assert training_memory(tuned, "qwen3-4b", "demo-lora", 2) == grown
