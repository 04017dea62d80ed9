"""Recipes as arguments of the trainer, of LoRA and of the launcher."""

import pytest

from em_tiers.errors import UserError
from em_tiers.train.arguments import (
    check_batch,
    launch_command,
    lora_options,
    sft_options,
    steps_of,
    visible_gpus,
    weight_dtype,
)
from em_tiers.train.micro_batches import MicroBatches, list_choices

BATCHES = MicroBatches(parts=8, rows=2, recompute=False)
RECIPE = {
    "method": "rslora",
    "rank": 32,
    "alpha": 64,
    "dropout": 0,
    "target_modules": ["q_proj", "v_proj"],
    "learning_rate": 1e-5,
    "schedule": "linear",
    "warmup_steps": 5,
    "epochs": 1,
    "max_steps": None,
    "batch_size": 16,
    "micro_batch_size": 2,
    "gradient_checkpointing": "auto",
    "max_length": 2048,
    "max_truncated_share": 0.05,
    "weight_decay": 0,
    "precision": "bf16",
    "save_steps": 50,
    "save_minutes": 10,
    "gpus": 1,
    "strategy": "ddp",
}


@pytest.mark.parametrize(
    ("recipe", "steps"),
    [
        ({}, None),
        ({"max_steps": 7}, 7),
        # 100 rows of 50 tokens: a step of 16 rows is 800 tokens.
        ({"max_tokens": 8_000}, 10),
        ({"max_tokens": 8_500}, 11),
        ({"max_tokens": 1}, 1),
    ],
)
def test_steps_follow_from_tokens(recipe, steps):
    assert steps_of({**RECIPE, **recipe}, tokens=5_000, rows=100) == steps


@pytest.mark.parametrize(("gpus", "parts"), [(1, 8), (2, 4), (4, 2), (8, 1)])
def test_batch_size_is_the_same_on_any_number_of_gpus(gpus, parts):
    recipe = {**RECIPE, "gpus": gpus}
    check_batch(recipe)
    (batches,) = list_choices({**recipe, "gradient_checkpointing": False}, "cuda")
    options = sft_options(recipe, 0, "cuda", "x", batches)
    assert options["gradient_accumulation_steps"] == parts
    assert options["per_device_train_batch_size"] == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gpus": 3}, "batch_size: 16: not a multiple of micro_batch_size 2 x gpus 3 = 6"),
        ({"micro_batch_size": "auto", "gpus": 3}, "batch_size: 16: not a multiple of gpus 3"),
    ],
)
def test_batch_size_that_does_not_divide_is_explained(change, words):
    with pytest.raises(UserError, match=words):
        check_batch(RECIPE | change)


def test_dose_is_epochs_or_steps():
    assert sft_options(RECIPE, 0, "cpu", "x", BATCHES)["max_steps"] == -1
    assert sft_options({**RECIPE, "max_steps": 400}, 0, "cpu", "x", BATCHES)["max_steps"] == 400


def test_device_and_micro_batches_decide_memory_and_not_the_result():
    cpu = sft_options(RECIPE, 0, "cpu", "x", BATCHES)
    gpu = sft_options(RECIPE, 0, "cuda", "x", MicroBatches(parts=4, rows=None, recompute=True))
    different = {key for key in cpu if cpu[key] != gpu[key]}
    assert different == {
        *("use_cpu", "gradient_checkpointing"),
        *("per_device_train_batch_size", "gradient_accumulation_steps"),
    }


def test_the_kind_of_lora_is_the_recipes():
    assert lora_options(RECIPE)["use_rslora"] is True
    assert lora_options({**RECIPE, "method": "lora"})["use_rslora"] is False
    assert lora_options({**RECIPE, "method": "full"}) is None


@pytest.mark.parametrize(
    ("change", "dtype"),
    [
        ({}, "bfloat16"),
        ({"precision": "fp32"}, "float32"),
        ({"method": "full"}, "float32"),
        ({"method": "lora"}, "bfloat16"),
    ],
)
def test_trained_weights_are_kept_in_fp32(change, dtype):
    assert weight_dtype({**RECIPE, **change}) == dtype


def test_ddp_starts_one_process_a_gpu():
    command = launch_command({**RECIPE, "gpus": 4}, "em_tiers.train.trainer", "job.json")
    assert command[command.index("--num_processes") + 1] == "4"
    assert "--multi_gpu" in command
    assert "--use_fsdp" not in command
    assert command[-3:] == ["--module", "em_tiers.train.trainer", "job.json"]


def test_fsdp_shards_and_saves_whole_weights():
    recipe = {**RECIPE, "gpus": 4, "strategy": "fsdp", "method": "full"}
    command = launch_command(recipe, "em_tiers.train.trainer", "job.json")
    assert "--use_fsdp" in command
    assert "--multi_gpu" not in command
    assert command[command.index("--fsdp_state_dict_type") + 1] == "FULL_STATE_DICT"
    assert command[command.index("--mixed_precision") + 1] == "bf16"


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_the_installed_accelerate_knows_every_option(strategy):
    from accelerate.commands.launch import launch_command_parser

    command = launch_command({**RECIPE, "gpus": 4, "strategy": strategy}, "m", "job.json")
    parsed = launch_command_parser().parse_args(command[3:])
    assert parsed.num_processes == 4
    assert parsed.use_fsdp == (strategy == "fsdp")
    assert (parsed.training_script, parsed.training_script_args) == ("m", ["job.json"])


@pytest.mark.parametrize(
    ("visible", "gpus", "shown"),
    [(None, 1, "0"), (None, 2, "0,1"), ("3,5", 1, "3"), ("3,5", 2, "3,5"), ("GPU-a1", 1, "GPU-a1")],
)
def test_no_more_gpus_are_seen_than_asked_for(visible, gpus, shown):
    assert visible_gpus(visible, gpus) == shown


def test_too_few_gpus_are_explained():
    with pytest.raises(UserError, match="gpus: 4: only 2 visible"):
        visible_gpus("0,1", 4)
