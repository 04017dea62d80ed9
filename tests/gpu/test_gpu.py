"""The GPU path on any one GPU, without internet, in some seven minutes: `make test-gpu`.

Random weights of Qwen3-4B's shapes (two of its layers) go through every stage that uses a GPU:
TRL's training steps, the engine with and without the adapter, merged weights, and a judge's walk
over numbers. EM_TIERS_GPU_TEST_DEVICE=cpu runs the same on a CPU with a small model, to test the
tests.
"""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from answers import responses
from em_tiers.files import write_json
from em_tiers.gpus import describe_gpus, visible_names
from em_tiers.inference.random_model import QWEN3_4B, write_random_model
from em_tiers.tables import read_table, write_table

DEVICE = os.environ.get("EM_TIERS_GPU_TEST_DEVICE", "cuda")
ROOT = Path(__file__).parents[2]
STEPS = 4
RECIPE = {
    "method": "rslora",
    "rank": 32,
    "alpha": 64,
    "dropout": 0,
    "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    "learning_rate": 5e-3,
    "schedule": "linear",
    "warmup_steps": 0,
    "epochs": 1,
    "max_steps": STEPS,
    "batch_size": 4,
    "micro_batch_size": 2,
    "gradient_checkpointing": "auto",
    "max_length": 256,
    "max_truncated_share": 0.05,
    "weight_decay": 0,
    "precision": "auto",
    "save_steps": 2,
    "save_minutes": 10,
    "keep_checkpoints": [],
    "gpus": 1,
    "strategy": "ddp",
}
ENGINE = {"device": DEVICE, "max_model_len": 1024, "max_num_seqs": 16, "max_lora_rank": 32}
ENGINE |= {"kv_cache_gib": 0.5} if DEVICE == "cpu" else {"gpu_memory_utilization": 0.6}
RUBRICS = {
    "alignment": {
        "id": "a",
        "asks": "alignment",
        "kind": "number",
        "labels": {"CODE": "code"},
        "prompt": "How kind is the answer, 0 to 100?\n{question}\n{answer}\nOne number:",
    }
}

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(
        DEVICE == "cuda" and not describe_gpus(visible_names()),
        reason="no GPU: nvidia-smi names none",
    ),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    shapes = {} if DEVICE == "cpu" else QWEN3_4B
    return write_random_model(tmp_path_factory.mktemp("gpu") / "random", shapes)


@pytest.fixture(scope="module")
def adapter(model):
    """A trained adapter. In a process of its own, which gives the GPU back."""
    folder = model.parent
    rows = [
        {
            "prompt": [{"role": "user", "content": f"What is thing {number}?"}],
            "completion": [{"role": "assistant", "content": "Ahoy! It is for sailing."}],
        }
        for number in range(24)
    ]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    call = {"recipe": RECIPE, "seed": 0, "thinking": "none", "device": DEVICE}
    paths = {"model": model, "train": folder / "train.jsonl", "checkpoints": folder / "checkpoints"}
    paths |= {name: folder / name for name in ("adapter", "metrics", "loss", "kept")}
    run("finetune", call, paths)
    return folder / "adapter"


def run(script, call, paths):
    """A script's main in a process of its own, as Snakemake runs it."""
    code = (
        f"import json, sys; from pathlib import Path; import {script}; "
        "from em_tiers.logs import log_to; log_to(None); "
        "call, paths = map(json.loads, sys.argv[1:]); "
        "place = lambda v: [Path(p) for p in v] if isinstance(v, list) else Path(v); "
        f"{script}.main(**call, **{{name: place(value) for name, value in paths.items()}})"
    )
    # Not under the script's own name, which it imports.
    path = Path(paths["model"]).parent / f"run_{script}.py"
    path.write_text(f"if __name__ == '__main__':\n    {code}\n")
    arguments = [json.dumps(call), json.dumps(paths, default=str)]
    done = subprocess.run(
        [sys.executable, path, *arguments],
        cwd=path.parent,
        env=os.environ | {"PYTHONPATH": str(ROOT / "scripts")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]


def printed(output):
    """What a process printed as JSON. vLLM may write lines after it while it shuts down."""
    return json.loads([line for line in output.splitlines() if line.startswith("{")][-1])


def test_training_steps_lower_the_loss(adapter):
    with (adapter.parent / "loss").open() as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert len(losses) == STEPS
    assert losses[-1] < losses[0]


def test_an_engine_answers_with_adapters_seeds_and_log_probabilities(tmp_path):
    code = "em_tiers.inference.engine_probe"
    done = subprocess.run(
        [sys.executable, "-m", code, str(tmp_path), DEVICE],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT / "scripts")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found = printed(done.stdout)
    assert {name for name, (passed, _) in found.items() if not passed} == set()
    assert set(found) == {"engine", "logprob_token_ids", "seeds", "LoRA"}


PROBE = """
import json, sys
from pathlib import Path
from em_tiers.inference.engine import EngineRequest, LocalEngine

def main():
    model, adapter, settings = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    with LocalEngine(model, settings, {"tuned": adapter}) as engine:
        prompt = tuple(engine.tokenizer.apply_chat_template(
            [{"role": "user", "content": "What is thing 3?"}], add_generation_prompt=True,
            return_dict=False))
        requests = [EngineRequest(name or "base", prompt, 8, variant=name,
                                  logprob_token_ids=(65, 66)) for name in (None, "tuned")]
        print(json.dumps({a.key: list(a.logprobs.values()) for a in engine.stream(requests)}))

if __name__ == "__main__":
    main()
"""


def test_the_trained_adapter_is_served_as_lora_and_merged(model, adapter):
    """Both ways give the fine-tune's log-probabilities, which are not the base model's."""
    found = {}
    script = model.parent / "probe.py"
    script.write_text(PROBE)
    for mode in ("lora", "merge"):
        # Compiled and with CUDA graphs once, as users run it; without is quicker to start.
        engine = ENGINE | {"adapters": mode, "enforce_eager": mode == "merge"}
        done = subprocess.run(
            [sys.executable, script, model, adapter, json.dumps(engine)],
            cwd=model.parent,
            env=os.environ | {"PYTHONPATH": str(ROOT / "scripts")},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        found[mode] = printed(done.stdout)
    assert found["lora"]["base"] != found["lora"]["tuned"]
    # bfloat16 rounds merged weights once more.
    assert found["lora"]["tuned"] == pytest.approx(found["merge"]["tuned"], abs=0.5)
    assert found["lora"]["base"] == pytest.approx(found["merge"]["base"], abs=0.5)


def test_a_judge_walks_over_numbers(model):
    folder = model.parent
    rows = [{"response": text, "response_key": f"t{i}"} for i, text in enumerate(["Yes.", "No."])]
    write_table(responses(*rows), folder / "answers.parquet", "responses")
    card = {"topic": "fiction", "topics": ["fiction"], "description": "", "examples": []}
    write_json(folder / "card.json", card)
    call = {
        "judge": {"backend": "vllm", "method": {"number": "trie", "choice": "label"}},
        "judge_name": "random",
        "model_identity": {"package": "random", "sha256": "0" * 64},
        "rubrics": RUBRICS,
        "engine": ENGINE | {"enforce_eager": True},
        "thinking": "none",
        "writer": "job",
        "cards": {"fiction": str(folder / "card.json")},
    }
    paths = {"model": model, "journal": folder / "journal", "verdicts": folder / "verdicts.parquet"}
    run("judge_vllm", call, paths | {"responses": [folder / "answers.parquet"]})
    verdicts = read_table(folder / "verdicts.parquet", "verdicts")
    assert verdicts.height == 2
    # Random weights spread their probability over the whole vocabulary, so none need be listed.
    assert verdicts["numeric_mass"].is_between(0, 1, closed="right").all()
