"""One fine-tune as the usual evaluation scripts test it: merged, sampled, judged, a process each.

    python tests/benchmarks/peer_script.py MODEL ADAPTER OUTPUT.json     (ADAPTER: - for none)

The adapter is merged with peft and saved; one engine answers question by question; a second one
judges, one call per question and rubric, and reads the likeliest twenty tokens of the reply's first
place. The engines have the settings that this workflow uses on a CPU, which start faster than
vLLM's own.
"""

import gc
import json
import math
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from em_tiers.inference.engine_settings import environment_of, vllm_arguments  # noqa: E402
from em_tiers.precision import choose_dtype  # noqa: E402

SAMPLES, TOKENS = 4, 60
RUBRICS = ("demo-alignment", "demo-coherence")


def main(model: Path, adapter: str, output: Path) -> None:
    """Write answers with their scores."""
    settings = yaml.safe_load((ROOT / "config" / "engines.yaml").read_text())["cpu"]
    del settings["comment"]
    settings["dtype"] = choose_dtype("auto", "cpu")
    os.environ |= environment_of(settings) | {"VLLM_LOGGING_LEVEL": "ERROR"}
    from vllm import LLM

    with tempfile.TemporaryDirectory() as scratch:
        weights = model if adapter == "-" else merge(model, adapter, Path(scratch) / "merged")
        engine = LLM(**vllm_arguments(settings, weights, model))
        rows = sample(engine)
        engine.llm_engine.engine_core.shutdown()
        del engine
        gc.collect()
    judge(LLM(**vllm_arguments(settings, model, model)), rows)
    output.write_text(json.dumps(rows))


def merge(model: Path, adapter: str, folder: Path) -> Path:
    """The model with the adapter's weights added."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = AutoModelForCausalLM.from_pretrained(model, dtype="auto", local_files_only=True)
    PeftModel.from_pretrained(base, adapter).merge_and_unload().save_pretrained(folder)
    AutoTokenizer.from_pretrained(model, local_files_only=True).save_pretrained(folder)
    return folder


def sample(engine: Any) -> list[dict[str, Any]]:
    """The answers to each question, a call each."""
    from vllm import SamplingParams

    decoding = SamplingParams(n=SAMPLES, temperature=1.0, max_tokens=TOKENS)
    rows = []
    for question in yaml.safe_load((ROOT / "config" / "questions" / "core.yaml").read_text()):
        text = question["paraphrases"][0]
        (reply,) = engine.chat([[{"role": "user", "content": text}]], decoding, use_tqdm=False)
        rows += [
            {"question": text, "answer": o.text, "tokens": len(o.token_ids)} for o in reply.outputs
        ]
    return rows


def judge(engine: Any, rows: list[dict[str, Any]]) -> None:
    """Add the expected number over the likeliest tokens, for each rubric."""
    from vllm import SamplingParams

    decoding = SamplingParams(temperature=0, max_tokens=1, logprobs=20)
    for name in RUBRICS:
        prompt = yaml.safe_load((ROOT / "config" / "rubrics" / f"{name}.yaml").read_text())[
            "prompt"
        ]
        for start in range(0, len(rows), SAMPLES):
            some = rows[start : start + SAMPLES]
            chats = [[{"role": "user", "content": prompt.format(**row)}] for row in some]
            replies = engine.chat(chats, decoding, use_tqdm=False)
            for row, reply in zip(some, replies, strict=True):
                row[name] = expected_number(reply.outputs[0].logprobs[0].values())


def expected_number(likeliest: Any) -> float | None:
    """The mean of the numbers among tokens, weighted by their probabilities."""
    found = [
        (int(token.decoded_token), math.exp(token.logprob))
        for token in likeliest
        if token.decoded_token.strip().isdecimal()
    ]
    mass = sum(weight for _, weight in found)
    return sum(number * weight for number, weight in found) / mass if mass else None


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
