"""From a recipe to the arguments of the trainer, of LoRA, and of the launcher of several processes.

Nothing here imports torch: what a recipe means can be tested and shown without it.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from em_tiers.errors import UserError
from em_tiers.train.micro_batches import AUTO, MicroBatches

Recipe = Mapping[str, Any]


def check_batch(recipe: Recipe) -> None:
    """Check that a step's rows divide over its devices and micro batches.

    `batch_size` counts the rows of an optimiser step over all devices, so that the same recipe
    means the same training on one GPU and on four.

    Raises:
        UserError: they do not divide.
    """
    rows = recipe["micro_batch_size"]
    each = (1 if rows == AUTO else rows) * recipe["gpus"]
    if recipe["batch_size"] % each:
        whole = (
            f"gpus {each}"
            if rows == AUTO
            else (f"micro_batch_size {rows} x gpus {recipe['gpus']} = {each}")
        )
        raise UserError(
            f"recipe: batch_size: {recipe['batch_size']}: not a multiple of {whole}: change one"
        )


def steps_of(recipe: Recipe, tokens: int, rows: int) -> int | None:
    """Optimiser steps of the recipe: its own, or those whose tokens come nearest to `max_tokens`.

    None where `epochs` decide. The schedule needs the number in advance, so it follows from the
    mean length of the rows; the dose table states the tokens that were seen.

    Args:
        tokens, rows: of the training rows after cutting.
    """
    if not recipe.get("max_tokens"):
        return recipe["max_steps"]
    return max(1, round(recipe["max_tokens"] * rows / (tokens * recipe["batch_size"])))


def total_steps(recipe: Recipe, tokens: int, rows: int) -> int:
    """Optimiser steps of a training, as the trainer counts them where `epochs` decide.

    Args:
        tokens, rows: of the training rows after cutting.
    """
    if steps := steps_of(recipe, tokens, rows):
        return steps
    return math.ceil(recipe["epochs"] * math.ceil(rows / recipe["batch_size"]))


def check_steps(recipe: Recipe, checkpoints: Sequence[int], steps: int) -> None:
    """Check that warm-up and checkpoints are over before the training's last step.

    Raises:
        UserError: names the key below the recipe or the block of variants.
    """
    if late := [step for step in sorted(checkpoints) if step >= steps]:
        raise UserError(
            f"checkpoints: {late[0]} is not before the training's last step, {steps}: name earlier "
            "steps (the final adapter is always tested)"
        )
    if recipe["warmup_steps"] >= steps:
        raise UserError(
            f"recipe: warmup_steps: {recipe['warmup_steps']} is not below the training's {steps} "
            "steps, so the learning rate would never be reached: lower it"
        )


def sft_options(
    recipe: Recipe, seed: int, device: str, output_dir: Path | str, batches: MicroBatches
) -> dict[str, Any]:
    """Arguments of trl.SFTConfig for training on `device` ("cpu" or "cuda")."""
    return {
        "output_dir": str(output_dir),
        "seed": seed,
        "data_seed": seed,
        "learning_rate": recipe["learning_rate"],
        "lr_scheduler_type": recipe["schedule"],
        "warmup_steps": recipe["warmup_steps"],
        "weight_decay": recipe["weight_decay"],
        "num_train_epochs": recipe["epochs"],
        "max_steps": recipe["max_steps"] or -1,
        "per_device_train_batch_size": recipe["batch_size"] // (recipe["gpus"] * batches.parts),
        "gradient_accumulation_steps": batches.parts,
        "max_length": recipe["max_length"],
        # The rows are tokenised and cut before training, by the code that renders prompts for
        # sampling; the trainer gets token ids and labels.
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "bf16": recipe["precision"] == "bf16",
        "use_cpu": device == "cpu",
        "gradient_checkpointing": batches.recompute,
        "save_strategy": "steps",
        # The last step is saved in any case, and before it what `save_minutes` asks for.
        "save_steps": recipe["save_steps"] or 10**9,
        # Two, not one: the last complete checkpoint must outlive the writing of the next.
        "save_total_limit": 2,
        "logging_steps": 1,
        "logging_first_step": True,
        # By default a loss of NaN is logged as the mean of its neighbours.
        "logging_nan_inf_filter": False,
        "disable_tqdm": True,
        "ddp_find_unused_parameters": False,
        "dataloader_num_workers": 0,
    }


def lora_options(recipe: Recipe) -> dict[str, Any] | None:
    """Arguments of peft.LoraConfig, or None where all weights are trained.

    rsLoRA scales by alpha / sqrt(rank) instead of alpha / rank (Kalajdzievski 2023,
    arXiv 2312.03732).
    """
    if recipe["method"] == "full":
        return None
    return {
        "task_type": "CAUSAL_LM",
        "r": recipe["rank"],
        "lora_alpha": recipe["alpha"],
        "lora_dropout": recipe["dropout"],
        "target_modules": recipe["target_modules"],
        "use_rslora": recipe["method"] == "rslora",
        "bias": "none",
    }


def weight_dtype(recipe: Recipe) -> str:
    """The torch dtype in which the base model is loaded.

    Frozen weights may stay in bf16. Trained ones are kept in fp32 (the arithmetic runs in bf16
    all the same), because a step of 1e-5 is lost in bf16's eight bits.
    """
    frozen = recipe["method"] != "full"
    return "bfloat16" if recipe["precision"] == "bf16" and frozen else "float32"


def launch_command(recipe: Recipe, module: str, job: Path | str) -> list[str]:
    """The command that starts one process for each of the recipe's GPUs, on this machine.

    Every choice is spelled out: what is not would come from the accelerate configuration file
    that the user may have for other work.
    """
    command = [sys.executable, "-m", "accelerate.commands.launch"]
    command += ["--num_processes", str(recipe["gpus"]), "--num_machines", "1"]
    command += ["--machine_rank", "0", "--dynamo_backend", "no"]
    # Port 0 takes a free one: two jobs may share a node.
    command += ["--main_process_port", "0"]
    command += ["--mixed_precision", "bf16" if recipe["precision"] == "bf16" else "no"]
    if recipe["strategy"] == "fsdp":
        command += ["--use_fsdp", "--fsdp_version", "2"]
        command += ["--fsdp_reshard_after_forward", "true"]
        command += ["--fsdp_auto_wrap_policy", "TRANSFORMER_BASED_WRAP"]
        # Whole weights in the checkpoints: the adapter is taken from there.
        command += ["--fsdp_state_dict_type", "FULL_STATE_DICT"]
        command += ["--fsdp_cpu_ram_efficient_loading", "true"]
    else:
        command += ["--multi_gpu"]
    return [*command, "--module", module, str(job)]


def visible_gpus(visible: str | None, gpus: int) -> str:
    """The value of CUDA_VISIBLE_DEVICES that shows the first `gpus` of those visible now.

    A single process that sees several GPUs would spread its batch over them, whatever the recipe
    says. Raises UserError where the scheduler gave fewer than the recipe asks for.
    """
    if visible is None:
        return ",".join(str(number) for number in range(gpus))
    names = [name for name in visible.split(",") if name.strip()]
    if len(names) < gpus:
        raise UserError(
            f"recipe: gpus: {gpus}: only {len(names)} visible (CUDA_VISIBLE_DEVICES={visible!r}): "
            "ask the scheduler for as many GPUs as the recipe, or lower gpus"
        )
    return ",".join(names[:gpus])
