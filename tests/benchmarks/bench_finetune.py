"""Training speed as a ratio: the project's trainer against a bare loop, in one run.

The bare loop takes the same batches through the same model, with LoRA and AdamW and nothing else:
no token counts, no log, no checkpoint. Absolute times differ from machine to machine; the ratio
is the cost of the trainer. Run it by hand:

    PYTHONPATH=scripts python tests/benchmarks/bench_finetune.py MODEL_FOLDER [STEPS]
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

import finetune
from em_tiers.inference.chat import load_tokenizer
from em_tiers.precision import choose_precision
from em_tiers.train.arguments import lora_options, weight_dtype
from em_tiers.train.trainer import (
    ResponseTrainer,
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
    """Seconds for one optimiser step a batch."""
    dtype = getattr(torch, weight_dtype(recipe))
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=dtype, local_files_only=True)
    model = get_peft_model(model, LoraConfig(**lora_options(recipe))).to(device)
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=recipe["learning_rate"])
    began = time.monotonic()
    for batch in batches:
        batch = {name: tensor.to(device) for name, tensor in batch.items()}
        with torch.autocast(device, torch.bfloat16, enabled=recipe["precision"] == "bf16"):
            loss = model(**batch, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    loss.item()  # waits for a GPU
    return time.monotonic() - began


def make_trainer(
    model_dir: Path, recipe: dict[str, Any], folder: Path, device: str
) -> ResponseTrainer:
    """The project's trainer with rows for every step of the recipe."""
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
    set_determinism(0, device)
    return build_trainer(job, plan_batches(job)[0])


def compare(model_dir: Path, steps: int) -> dict[str, Any]:
    """Time both on the same batches, the bare loop first."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = choose_precision(RECIPE["precision"], device)
    recipe = {**RECIPE, "max_steps": steps, "precision": precision}
    with tempfile.TemporaryDirectory() as name:
        trainer = make_trainer(model_dir, recipe, Path(name), device)
        batches = [dict(batch) for batch in trainer.get_train_dataloader()]
        bare = bare_loop(model_dir, recipe, batches, device)
        trainer.train()
        ours = trainer.state.log_history[-2]["seconds"]
    return {
        "device": device,
        "precision": precision,
        "steps": steps,
        "bare_steps_per_s": steps / bare,
        "trainer_steps_per_s": steps / ours,
        "trainer_over_bare": bare / ours,
    }


if __name__ == "__main__":
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 10
    print(json.dumps(compare(Path(sys.argv[1]), steps), indent=2))
