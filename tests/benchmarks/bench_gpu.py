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

import yaml  # noqa: E402

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
    from trl import SFTTrainer

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
        trainer = bare_trainer(job, batches, SFTTrainer)
    else:
        training.set_determinism(0, job.device)
        trainer = training.build_trainer(job, batches)
    times = StepTimes()
    trainer.add_callback(times)
    trainer.train()
    found = {
        "parts": batches.parts,
        "recompute": batches.recompute,
        "seconds_per_step": (times.at[-1] - times.at[1]) / (len(times.at) - 2),
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30 if DEVICE == "cuda" else None,
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
    }
    print(json.dumps(found))


def bare_trainer(job: Any, batches: Any, trainer_class: Any) -> Any:
    """TRL's trainer as its documentation starts it, with the same micro batches."""
    import torch
    from datasets import load_from_disk
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig

    from em_tiers.inference.chat import load_tokenizer
    from em_tiers.train.arguments import lora_options, sft_options

    model = AutoModelForCausalLM.from_pretrained(job.model, dtype=torch.bfloat16)
    options = sft_options(job.recipe, 0, job.device, job.checkpoints, batches)
    return trainer_class(
        model=model,
        args=SFTConfig(**options),
        train_dataset=load_from_disk(job.rows),
        processing_class=load_tokenizer(job.model),
        peft_config=LoraConfig(**lora_options(job.recipe)),
    )


def StepTimes() -> Any:
    """A callback that notes when each step ends, the GPU's work included."""
    import torch
    from transformers import TrainerCallback

    class Times(TrainerCallback):
        def __init__(self) -> None:
            self.at: list[float] = []

        def on_step_end(self, *_: Any, **__: Any) -> None:
            if DEVICE == "cuda":
                torch.cuda.synchronize()
            self.at.append(time.perf_counter())

    return Times()


def serve(folder: Path, answers: int) -> None:
    """Sample and judge on one engine; prints each figure as it is found."""
    from em_tiers.inference.engine import LocalEngine

    adapters = {"tuned": folder / "adapter"}
    begin = time.perf_counter()
    with LocalEngine(folder / "model", ENGINE, adapters) as engine:
        time_sampling(engine, folder, begin)
        time_judging(engine, folder, answers)


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


class Recorder:
    """Passes requests to the engine, and keeps them."""

    def __init__(self, engine: Any):
        self.engine, self.requests = engine, []
        self.tokenizer, self.model, self.settings = engine.tokenizer, engine.model, engine.settings

    def stream(self, asked: Any) -> Any:
        def noted() -> Any:
            for request in asked:
                if request is not None:
                    self.requests.append(request)
                yield request

        return self.engine.stream(noted())


def time_judging(engine: Any, folder: Path, answers: int) -> None:
    import bench_judge_cpu as bench

    from em_tiers.inference.engine import _sampling_parameters
    from em_tiers.judge.local import LocalJudge

    rubrics = {
        name: {"scale": [0, 100]}
        | yaml.safe_load((ROOT / "config" / "rubrics" / f"{name}.yaml").read_text())
        for name in ("alignment", "coherence", "topic")
    }
    entry = {"backend": "vllm", "method": {"number": "trie", "choice": "label"}}
    judge = bench.load_judge(entry, {"backend": "vllm", "id": "m"}, rubrics)
    table = bench.answers_of(folder, answers, 60)
    requests = list(bench.plan_requests(table.lazy(), judge, {"ship": bench.CARD}))
    recorder = Recorder(engine)
    local = LocalJudge(judge, recorder, "none", "m")
    list(local.ask(requests[:30]))  # caches that are filled once
    recorder.requests.clear()
    engine._llm.reset_prefix_cache()
    begin, cpu = time.perf_counter(), time.process_time()
    verdicts = sum(1 for _ in local.ask(requests))
    ours, cpu = time.perf_counter() - begin, time.process_time() - cpu
    engine._llm.reset_prefix_cache()
    prompts = [{"prompt_token_ids": list(request.prompt)} for request in recorder.requests]
    decoding = [_sampling_parameters(request) for request in recorder.requests]
    begin = time.perf_counter()
    engine._llm.generate(prompts, decoding, use_tqdm=False)
    bare = time.perf_counter() - begin
    print(
        f"judging: {verdicts / ours:.0f} verdicts/s, {len(prompts) / ours:.0f} requests/s, "
        f"{1000 * cpu / verdicts:.2f} ms of this process's CPU a verdict; "
        f"bare {len(prompts) / bare:.0f} requests/s, ratio {bare / ours:.3f} (goal 0.90)"
    )


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
