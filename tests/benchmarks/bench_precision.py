"""Whether `auto` chooses the faster number format on this CPU: training and sampling, as ratios.

Each format runs twice, in a process of its own, on the same steps and requests; the faster run
counts, since the first ones meet a cold disk. A format that this CPU cannot run has no speed:

    PYTHONPATH=scripts python tests/benchmarks/bench_precision.py MODEL_FOLDER [--masked]

`--masked` hides the instructions beyond AVX2 from torch and oneDNN, as on most laptops. Where bf16
is emulated a training step takes a minute; lower --steps there.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from em_tiers.precision import TORCH_NAMES, choose_precision

MASK = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
STAGES = ("training", "sampling")


def main(model: Path, masked: bool, steps: int, tokens: int) -> None:
    """Print the speed of each format and of auto, and auto over the faster of the two."""
    environment = os.environ | (MASK if masked else {})
    for stage in STAGES:
        speeds = dict.fromkeys(("auto", *TORCH_NAMES), 0.0)
        for precision in (*speeds, *reversed(speeds)):
            size = steps if stage == "training" else tokens
            command = [sys.executable, __file__, str(model), "--run", stage, precision, str(size)]
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            # Where AMX is hidden from torch but not from vLLM, bf16 ends like this.
            if done.returncode == -signal.SIGILL and precision != "auto":
                continue
            if done.returncode:
                sys.exit(done.stderr or f"{' '.join(command)} ended with {done.returncode}")
            speeds[precision] = max(speeds[precision], float(done.stdout.splitlines()[-1]))
        best = max(speeds[name] for name in TORCH_NAMES)
        shown = {name: round(speed, 3) or None for name, speed in speeds.items()}
        unit = "steps/s" if stage == "training" else "tokens/s"
        result = {"stage": stage, "masked": masked, unit: shown}
        print(json.dumps(result | {"auto_over_best": round(speeds["auto"] / best, 3)}), flush=True)


def train(model: Path, precision: str, steps: int) -> float:
    """Optimiser steps a second of the project's trainer."""
    from bench_finetune import RECIPE, make_job, time_trainer

    from em_tiers.train.trainer import build_trainer, set_determinism

    # The first step warms up and is not counted.
    recipe = {**RECIPE, "max_steps": steps + 1, "precision": choose_precision(precision, "cpu")}
    with tempfile.TemporaryDirectory() as folder:
        job, batches = make_job(model, recipe, Path(folder), "cpu")
        set_determinism(0, "cpu")
        return time_trainer(build_trainer(job, batches))


def sample(model: Path, precision: str, tokens: int) -> float:
    """Generated tokens per second of the project's engine with 32 concurrent requests."""
    from em_tiers.inference.chat import render_prompt
    from em_tiers.inference.engine import EngineRequest, LocalEngine

    dtype = TORCH_NAMES.get(precision, precision)
    with LocalEngine(model, {"device": "cpu", "dtype": dtype, "max_model_len": 1024}) as engine:
        prompt = render_prompt(
            engine.tokenizer, [{"role": "user", "content": "Describe a harbour."}], "none"
        )

        def ask(name: str, length: int) -> float:
            requests = [
                EngineRequest(f"{name} {number}", tuple(prompt), length, temperature=1, seed=number)
                for number in range(32)
            ]
            began = time.perf_counter()
            written = sum(answer.completion_tokens for answer in engine.stream(requests))
            return written / (time.perf_counter() - began)

        ask("warm-up", 4)
        return ask("measured", tokens)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--masked", action="store_true")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--run", nargs=3, metavar=("STAGE", "PRECISION", "SIZE"))
    options = parser.parse_args()
    if options.run:
        stage, precision, size = options.run
        print({"training": train, "sampling": sample}[stage](options.model, precision, int(size)))
    else:
        main(options.model, options.masked, options.steps, options.tokens)
