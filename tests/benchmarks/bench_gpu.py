"""Training, sampling and judging beside the bare library, on one GPU, in eight minutes.

    python tests/benchmarks/bench_gpu.py [--layers 36]

Downloads nothing: a model with random weights of Qwen3-4B's shapes. Where
EM_TIERS_GPU_TEST_DEVICE is cpu, a small one, to test the benchmark. Prints ratios and goals:
- training: the recipe's defaults beside micro batches of two rows with activations computed twice,
  and beside TRL's own trainer with the same micro batches;
- sampling: the stage beside `LLM.generate` on the same engine, for the base model and an adapter;
- judging: the exact number trie beside `LLM.generate` over the very requests that it made.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests"), str(ROOT / "tests/benchmarks")]

from em_tiers.inference.random_model import QWEN3_4B  # noqa: E402

STEPS = 8
WAYS = {
    "two rows, recomputed": {"micro_batch_size": 2, "gradient_checkpointing": True},
    "defaults": {},
    "bare TRL": {},
}
RECIPE = {
    "method": "rslora",
    "rank": 32,
    "alpha": 64,
    "dropout": 0,
    "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    "learning_rate": 1e-4,
    "schedule": "linear",
    "warmup_steps": 0,
    "epochs": 1,
    "max_steps": STEPS,
    "batch_size": 16,
    "micro_batch_size": "auto",
    "gradient_checkpointing": "auto",
    "max_length": 2048,
    "max_truncated_share": 1,
    "weight_decay": 0,
    "precision": "bf16",
    "save_steps": None,
    "save_minutes": 1000,
    "gpus": 1,
    "strategy": "ddp",
}
DEVICE = os.environ.get("EM_TIERS_GPU_TEST_DEVICE", "cuda")
ENGINE = {"device": DEVICE, "max_model_len": 2048}
ENGINE |= {"gpu_memory_utilization": 0.8} if DEVICE == "cuda" else {"kv_cache_gib": 1}


def write_model(folder: Path, layers: int) -> None:
    """The random model and an adapter of it, made on the GPU."""
    import torch

    from em_tiers.inference.random_model import write_random_adapter, write_random_model

    shapes = QWEN3_4B | {"num_hidden_layers": layers} if DEVICE == "cuda" else {}
    with torch.device(DEVICE):
        write_random_model(folder / "model", shapes)
        write_random_adapter(folder / "model", folder / "adapter", rank=32)


def write_rows(path: Path) -> None:
    """Rows as long as those of an instruction set: about 300 tokens, some of 1,500."""
    draw = random.Random(0)
    with path.open("w") as file:
        for number in range(16 * STEPS):
            length = min(1500, int(draw.lognormvariate(5.5, 0.7)))
            answer = "".join(draw.choices("abcdefgh ", k=length))
            row = {
                "prompt": [{"role": "user", "content": f"Tell me of {number} sheep."}],
                "completion": [{"role": "assistant", "content": answer}],
            }
            file.write(json.dumps(row) + "\n")


def train(folder: Path, way: str) -> None:
    """Train in one way; prints seconds per step after the first two, and the memory at its peak."""
    import torch
    from bench_finetune import StepTimes, trl_trainer

    import finetune
    from em_tiers.inference.chat import load_tokenizer
    from em_tiers.train import trainer as training

    recipe = RECIPE | WAYS[way]
    tokenizer = load_tokenizer(folder / "model")
    rows = folder / f"rows {way}"
    finetune.encode(tokenizer, folder / "train.jsonl", "none", recipe, rows)
    checkpoints = folder / f"checkpoints {way}"
    job = training.TrainingJob(
        model=str(folder / "model"),
        chat_template=None,
        rows=str(rows),
        recipe=recipe | ({"precision": "fp32"} if DEVICE == "cpu" else {}),
        seed=0,
        device=DEVICE,
        checkpoints=str(checkpoints),
        keep=[],
    )
    batches = training.plan_batches(job)[0]
    if way == "bare TRL":
        trainer = trl_trainer(job, batches)
    else:
        training.set_determinism(0, job.device)
        if DEVICE == "cuda":
            training.avoid_plans_per_shape()
        trainer = training.build_trainer(job, batches)
    times = StepTimes()
    trainer.add_callback(times)
    trainer.train()
    found = {
        "parts": batches.parts,
        "recompute": batches.recompute,
        "seconds_per_step": times.seconds_per_step(2),
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30 if DEVICE == "cuda" else None,
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
    }
    print(json.dumps(found))


def serve(folder: Path, answers: int) -> None:
    """Sample and judge on one engine; prints each figure as it is found."""
    import bench_judging

    from em_tiers.inference.engine import LocalEngine

    adapters = {"tuned": folder / "adapter"}
    begin = time.perf_counter()
    with LocalEngine(folder / "model", ENGINE, adapters) as engine:
        time_sampling(engine, folder, begin)
        for found in bench_judging.measure(engine, folder, answers, rounds=1):
            print(found.line(), flush=True)


def time_sampling(engine: Any, folder: Path, begin: float) -> None:
    import bench_sampling as bench

    from em_tiers.inference.sampling import render_prompts
    from em_tiers.journal import Journal

    questions = bench.make_questions()
    prompts = render_prompts(engine.tokenizer, questions["messages"].to_list(), "none")
    samples, tokens = (40, 200) if DEVICE == "cuda" else (2, 16)
    sampling = {"temperature": 1.0, "top_p": 1.0, "max_tokens": tokens}
    sampling |= {"samples": {"bench": samples}}
    with Journal(folder / "journal", "bench") as journal:
        for number, variant in enumerate((None, None, None, "tuned")):
            identity = bench.Identity("bench", variant, "none")
            seeded = sampling | {"seed": number}
            base = bench.Identity("bench", None, "none")
            sampler = bench.Sampler(engine, journal, seeded, questions, prompts, base)
            row = bench.variant_row() | {"variant": variant or "bench"}
            task = bench.Task(row, variant, identity)
            stage = bench.time_stage(sampler, task, folder / "responses.parquet")
            if number == 0:
                print(f"engine start and first round: {time.perf_counter() - begin:.0f} s")
                continue
            bare = bench.time_bare(engine, prompts, samples, tokens) if variant is None else None
            ratio = f", bare {bare:.0f}, ratio {stage / bare:.3f} (goal 0.90)" if bare else ""
            print(f"sampling {variant or 'base'}: {stage:.0f} tokens/s{ratio}", flush=True)


def call(folder: Path, *arguments: str) -> str:
    """This script in a process of its own, which gives the GPU back; returns its last line."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'scripts'}:{ROOT / 'tests'}"}
    begin = time.perf_counter()
    command = [sys.executable, __file__, "--folder", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        print(done.stdout[-2000:], done.stderr[-6000:])
        return ""
    print(f"[{' '.join(arguments)}: {time.perf_counter() - begin:.0f} s in all]", flush=True)
    return done.stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=36)
    parser.add_argument("--answers", type=int, default=400)
    parser.add_argument("--folder", type=Path, help="of a part that this script started")
    parser.add_argument("--train", choices=WAYS)
    parser.add_argument("--serve", action="store_true")
    asked = parser.parse_args()
    if asked.train:
        train(asked.folder, asked.train)
    elif asked.serve:
        serve(asked.folder, asked.answers)
    elif asked.folder:
        write_model(asked.folder, asked.layers)
    else:
        with tempfile.TemporaryDirectory() as name:
            run_all(Path(name), asked)


def run_all(folder: Path, asked: argparse.Namespace) -> None:
    call(folder, "--layers", str(asked.layers))
    write_rows(folder / "train.jsonl")
    found = {}
    for way in WAYS:
        if line := call(folder, "--train", way):
            found[way] = json.loads(line.splitlines()[-1])
            print(way, found[way], flush=True)
    if len(found) == len(WAYS):
        before, ours, bare = (found[way]["seconds_per_step"] for way in WAYS)
        print(f"training: {before / ours:.2f} times as fast as two rows, recomputed (goal 2)")
        print(f"training: {bare / ours:.3f} of bare TRL's speed (goal 0.95)")
    print(call(folder, "--serve", "--answers", str(asked.answers)), flush=True)


if __name__ == "__main__":
    main()
