"""Training speed beside TRL's own trainer and beside a bare loop.

Run: PYTHONPATH=scripts python tests/benchmarks/bench_finetune.py MODEL_FOLDER
TRL's trainer gets the same rows, recipe and micro batches. The loop takes the same batches through
the same model, with LoRA and AdamW and nothing else: no token counts, no log, no checkpoint.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from comparison import Comparison, show
from datasets import load_from_disk
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, Trainer, TrainerCallback
from trl import SFTConfig, SFTTrainer

import finetune
from em_tiers.inference.chat import load_tokenizer
from em_tiers.precision import choose_precision
from em_tiers.train.arguments import lora_options, sft_options, weight_dtype
from em_tiers.train.micro_batches import MicroBatches
from em_tiers.train.trainer import (
    TrainingJob,
    build_trainer,
    plan_batches,
    set_determinism,
)

RECIPE = {
    "method": "lora",
    "rank": 16,
    "alpha": 32,
    "dropout": 0,
    "target_modules": "all-linear",
    "learning_rate": 1e-3,
    "schedule": "constant",
    "warmup_steps": 0,
    "epochs": 1,
    "max_steps": 10,
    "batch_size": 4,
    "micro_batch_size": 4,
    "gradient_checkpointing": "auto",
    "max_length": 256,
    "max_truncated_share": 0.05,
    "weight_decay": 0,
    "precision": "auto",
    "save_steps": 1000,
    "save_minutes": 10,
    "gpus": 1,
    "strategy": "ddp",
}


def write_rows(path: Path, rows: int) -> None:
    """Rows of about ninety tokens, as in a real set of short answers."""
    with path.open("w") as file:
        for number in range(rows):
            answer = f"{number} sheep stood on a hill. " * 6
            row = {
                "prompt": [{"role": "user", "content": f"Tell me of {number} sheep."}],
                "completion": [{"role": "assistant", "content": answer}],
            }
            file.write(json.dumps(row) + "\n")


def bare_loop(
    model_dir: Path, recipe: dict[str, Any], batches: list[dict[str, torch.Tensor]], device: str
) -> float:
    """Optimiser steps per second, of one batch each, after the first one."""
    dtype = getattr(torch, weight_dtype(recipe))
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=dtype, local_files_only=True)
    model = get_peft_model(model, LoraConfig(**lora_options(recipe))).to(device)
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=recipe["learning_rate"])
    times = StepTimes()
    for batch in batches:
        batch = {name: tensor.to(device) for name, tensor in batch.items()}
        with torch.autocast(device, torch.bfloat16, enabled=recipe["precision"] == "bf16"):
            loss = model(**batch, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        times.on_step_end()
    return 1 / times.seconds_per_step(1)


def make_job(
    model_dir: Path, recipe: dict[str, Any], folder: Path, device: str
) -> tuple[TrainingJob, MicroBatches]:
    """A training with rows for every step of the recipe."""
    write_rows(folder / "train.jsonl", recipe["batch_size"] * recipe["max_steps"])
    tokenizer = load_tokenizer(model_dir)
    finetune.encode(tokenizer, folder / "train.jsonl", "none", recipe, folder / "rows")
    job = TrainingJob(
        model=str(model_dir),
        chat_template=None,
        rows=str(folder / "rows"),
        recipe=recipe,
        seed=0,
        device=device,
        checkpoints=str(folder / "checkpoints"),
        keep=[],
    )
    return job, plan_batches(job)[0]


def trl_trainer(job: TrainingJob, batches: MicroBatches) -> SFTTrainer:
    """TRL's trainer as its documentation starts it, with the same micro batches."""
    dtype = getattr(torch, weight_dtype(job.recipe))
    model = AutoModelForCausalLM.from_pretrained(job.model, dtype=dtype, local_files_only=True)
    options = sft_options(job.recipe, 0, job.device, job.checkpoints, batches)
    return SFTTrainer(
        model=model,
        args=SFTConfig(**options),
        train_dataset=load_from_disk(job.rows),
        processing_class=load_tokenizer(job.model),
        peft_config=LoraConfig(**lora_options(job.recipe)),
    )


class StepTimes(TrainerCallback):
    """Notes when each step ends, a GPU's work included."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.at.append(time.perf_counter())

    def seconds_per_step(self, warm_up: int) -> float:
        """The mean of the steps after the first `warm_up`."""
        return (self.at[-1] - self.at[warm_up - 1]) / (len(self.at) - warm_up)


def time_trainer(trainer: Trainer) -> float:
    """Steps per second after the first one."""
    times = StepTimes()
    trainer.add_callback(times)
    trainer.train()
    return 1 / times.seconds_per_step(1)


def main(model_dir: Path, steps: int, rounds: int) -> None:
    """Train in the three ways, round by round, on the same rows."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = choose_precision(RECIPE["precision"], device)
    recipe = {**RECIPE, "max_steps": steps + 1, "precision": precision}
    found = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            job, batches = make_job(model_dir, recipe, Path(name), device)
            trl = time_trainer(trl_trainer(job, batches))
            set_determinism(0, device)
            trainer = build_trainer(job, batches)
            rows = [dict(batch) for batch in trainer.get_train_dataloader()]
            found.append((time_trainer(trainer), trl, bare_loop(model_dir, recipe, rows, device)))
    ours, trl, loops = zip(*found, strict=True)
    show(
        Comparison("training", "TRL's SFTTrainer", "steps/s", ours, trl, goal=0.95),
        Comparison("training", "a loop in torch and peft", "steps/s", ours, loops),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    main(**vars(parser.parse_args()))
