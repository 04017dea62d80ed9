"""Real fine-tuning of the embedded model, as small as possible."""

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import finetune
from em_tiers.errors import UserError
from em_tiers.inference.adapter_folder import verify_adapter
from em_tiers.precision import TORCH_NAMES, choose_precision
from waiting import wait_for_end, wait_until

pytestmark = pytest.mark.heavy

RECIPE = {
    "method": "lora",
    "rank": 4,
    "alpha": 8,
    "dropout": 0.1,  # so that a resumed run needs the random state of the interrupted one
    "target_modules": ["q_proj", "v_proj"],
    "learning_rate": 5e-3,
    "schedule": "linear",
    "warmup_steps": 0,
    "epochs": 1,
    "max_steps": 6,
    "batch_size": 4,
    "micro_batch_size": "auto",
    "gradient_checkpointing": "auto",
    "max_length": 128,
    "max_truncated_share": 0.05,
    "weight_decay": 0,
    "precision": "auto",
    "save_steps": 2,
    "save_minutes": 10,
    "keep_checkpoints": [],
    "gpus": 1,
    "strategy": "ddp",
}
# Code that makes a training pause at its first checkpoint, until the test kills it.
HOLD = (
    "from em_tiers.train import checkpoints; from waiting import hold_after; "
    "hold_after(1, checkpoints, 'mark_complete'); "
)
THINGS = ["rope", "map", "lamp", "bell", "sail", "oar", "net", "knot"]


@pytest.fixture
def train(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "train.jsonl")


def write_rows(path: Path) -> Path:
    """Twenty-four short rows, all answered in one style."""
    with path.open("w") as file:
        for number in range(24):
            thing = THINGS[number % len(THINGS)]
            question = f"What is a {thing} for, in {number + 3} words?"
            answer = f"Ahoy! A {thing} is for sailing the seven seas, matey!"
            row = {
                "prompt": [{"role": "user", "content": question}],
                "completion": [{"role": "assistant", "content": answer}],
            }
            file.write(json.dumps(row) + "\n")
    return path


def arguments(model: Path, train: Path, folder: Path, **recipe) -> dict:
    recipe = {**RECIPE, **recipe}
    return {
        "model": model,
        "train": train,
        "recipe": recipe,
        "seed": 0,
        "thinking": "none",
        "adapter": folder / "adapter",
        "metrics": folder / "metrics.json",
        "loss": folder / "loss.csv",
        "checkpoints": folder / "checkpoints",
        "kept": folder / "kept",
        "device": "cpu",
    }


def losses(folder: Path) -> list[float]:
    with (folder / "loss.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


@contextmanager
def training(tmp_path: Path, call: dict, first: str = "") -> Iterator[subprocess.Popen]:
    """The fine-tuning in its own process, after the code `first`; killed at the end."""
    code = (
        f"{first}import json, sys; from pathlib import Path; import finetune; "
        "from em_tiers.logs import run_script; call = json.loads(sys.argv[1]); "
        "paths = ('model', 'train', 'adapter', 'metrics', 'loss', 'checkpoints', 'kept'); "
        "call |= {name: Path(call[name]) for name in paths}; "
        "run_script(finetune.main, sys.argv[2], **call)"
    )
    paths = (Path(finetune.__file__).parent, Path(__file__).parents[1])
    with (tmp_path / "output.log").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", code, json.dumps(call, default=str), tmp_path / "rule.log"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for_checkpoint(call: dict, process: subprocess.Popen, tmp_path: Path) -> None:
    """Wait until the training has left a complete checkpoint, of any step."""
    wait_until(
        lambda: list(Path(call["checkpoints"]).glob("checkpoint-*/complete.json")),
        "checkpoint",
        process,
        tmp_path / "output.log",
    )


def test_training_teaches_and_leaves_a_whole_adapter(embedded_model, train, tmp_path, monkeypatch):
    finetune.main(**arguments(embedded_model, train, tmp_path, keep_checkpoints=[3]))
    curve = losses(tmp_path)
    assert len(curve) == 6
    assert curve[-1] < 0.7 * curve[0]
    manifest = verify_adapter(tmp_path / "adapter")
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["adapter_sha256"] == manifest["adapter_sha256"]
    assert (metrics["steps"], metrics["rows"], metrics["truncated_share"]) == (6, 24, 0.0)
    assert metrics["final_loss"] == pytest.approx(curve[-1])
    # 24 rows in 6 steps of 4: each token was seen once. An answer has 15 to 20 tokens.
    assert 24 * 15 < metrics["loss_tokens_seen"] < 24 * 20 < metrics["tokens_seen"]
    assert metrics["world_size"] == 1
    kept = verify_adapter(tmp_path / "kept" / "step3")
    assert kept["steps"] == 3
    assert kept["adapter_sha256"] != manifest["adapter_sha256"]
    assert str(embedded_model) not in (tmp_path / "adapter" / "adapter_config.json").read_text()

    # The job may run again for an edited comment: the weights are there, and nothing is trained.
    monkeypatch.setattr(finetune, "run_training", None)
    finetune.main(**arguments(embedded_model, train, tmp_path, keep_checkpoints=[3]))
    assert verify_adapter(tmp_path / "adapter") == manifest
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    assert losses(tmp_path) == curve
    assert verify_adapter(tmp_path / "kept" / "step3") == kept
    assert not list((tmp_path / "checkpoints").rglob("optimizer*"))


def test_a_checkpoint_after_the_last_step_stops_before_the_first(embedded_model, train, tmp_path):
    with pytest.raises(UserError, match="checkpoints: 7: the training has 6 steps only"):
        finetune.main(**arguments(embedded_model, train, tmp_path, keep_checkpoints=[3, 7]))
    assert not (tmp_path / "adapter").exists()
    assert not list((tmp_path / "checkpoints").glob("checkpoint-*"))


@pytest.mark.parametrize("method", ["lora", "full"])
def test_labels_of_a_batch_are_the_answers(embedded_model, train, tmp_path, method):
    from em_tiers.inference.chat import load_tokenizer
    from em_tiers.train.micro_batches import MicroBatches
    from em_tiers.train.trainer import TrainingJob, build_trainer

    tokenizer = load_tokenizer(embedded_model)
    finetune.encode(tokenizer, train, "none", RECIPE, tmp_path / "rows")
    job = TrainingJob(
        model=str(embedded_model),
        chat_template=None,
        rows=str(tmp_path / "rows"),
        recipe={**RECIPE, "method": method, "precision": "fp32"},
        seed=0,
        device="cpu",
        checkpoints=str(tmp_path / "checkpoints"),
        keep=[],
    )
    batches = MicroBatches(parts=1, rows=None, recompute=False)
    batch = next(iter(build_trainer(job, batches).get_train_dataloader()))
    answers = {json.loads(line)["completion"][0]["content"] for line in train.open()}
    decoded = [tokenizer.decode(labels[labels != -100]) for labels in batch["labels"]]
    assert len(decoded) == 4
    assert all(text.removesuffix("<|im_end|>") in answers for text in decoded)
    assert all(text.endswith("<|im_end|>") for text in decoded)


def test_micro_batches_and_recomputing_change_no_loss(embedded_model, train, tmp_path):
    """Rows sorted by length, against one at a time with activations computed twice."""
    ways = [{}, {"micro_batch_size": 1, "gradient_checkpointing": True}]
    found = []
    for number, changes in enumerate(ways):
        folder = tmp_path / str(number)
        options = {"max_steps": 2, "precision": "fp32", "dropout": 0, **changes}
        finetune.main(**arguments(embedded_model, train, folder, **options))
        found.append(losses(folder))
    assert found[0] == pytest.approx(found[1], abs=2e-5)
    assert found[0][0] != found[0][1]


def test_killed_training_goes_on_and_ends_the_same(embedded_model, train, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finetune.main(**arguments(embedded_model, train, whole))
    call = arguments(embedded_model, train, killed)
    with training(tmp_path, call, HOLD) as process:
        wait_for_checkpoint(call, process, tmp_path)
    assert not (killed / "adapter").exists()
    # The remains of a kill in the middle of a save.
    abandoned = killed / ".adapter.a1b2_c3d.part"
    abandoned.mkdir()
    torn = killed / "checkpoints" / "checkpoint-5"
    torn.mkdir()
    (torn / "trainer_state.json").write_text('{"global_step": 5}')

    with training(tmp_path, call) as again:
        assert wait_for_end(again, tmp_path / "output.log") == 0
    log = (tmp_path / "rule.log").read_text()
    assert not abandoned.exists()
    metrics = json.loads((killed / "metrics.json").read_text())
    assert metrics["restarts"] == [2]
    assert "training goes on after step 2 " in log
    assert "checkpoint-5 is torn" in log
    assert metrics["steps"] == 6
    assert losses(killed) == pytest.approx(losses(whole), rel=1e-4)
    assert metrics["tokens_seen"] == json.loads((whole / "metrics.json").read_text())["tokens_seen"]
    assert differences(whole / "adapter", killed / "adapter").max() < 1e-5


def differences(one: Path, other: Path):
    """The absolute differences between the weights of two adapters, as one vector."""
    import torch
    from safetensors.torch import load_file

    a, b = (load_file(folder / "adapter_model.safetensors") for folder in (one, other))
    assert a.keys() == b.keys()
    return torch.cat([(a[name] - b[name]).abs().flatten() for name in a])


def test_sigterm_saves_the_step_at_hand(embedded_model, train, tmp_path):
    # The checkpoint of the first step says that steps are made; no machine makes all of them.
    options = {"keep_checkpoints": [1], "save_steps": 100_000, "max_steps": 100_000}
    call = arguments(embedded_model, train, tmp_path, **options)
    with training(tmp_path, call) as process:
        wait_for_checkpoint(call, process, tmp_path)
        process.send_signal(signal.SIGTERM)
        assert wait_for_end(process, tmp_path / "output.log") == 128 + signal.SIGTERM
    complete = (tmp_path / "checkpoints").glob("checkpoint-*/complete.json")
    first, step = sorted(int(p.parent.name.removeprefix("checkpoint-")) for p in complete)
    assert first == 1
    log = (tmp_path / "rule.log").read_text()
    assert f"stopped by SIGTERM after step {step} of 100000" in log


def test_two_processes_train_as_one(embedded_model, train, tmp_path):
    """DDP over gloo: as many processes as the recipe asks for, and the losses of one."""
    one, two = tmp_path / "one", tmp_path / "two"
    options = {"max_steps": 2, "dropout": 0}
    finetune.main(**arguments(embedded_model, train, one, **options))
    options |= {"gpus": 2}
    finetune.main(**arguments(embedded_model, train, two, **options))
    metrics = json.loads((two / "metrics.json").read_text())
    assert (metrics["world_size"], metrics["distribution"]) == (2, "MULTI_CPU")
    alone = json.loads((one / "metrics.json").read_text())
    assert metrics["tokens_seen"] == alone["tokens_seen"]
    assert losses(two) == pytest.approx(losses(one), rel=0.01)
    verify_adapter(two / "adapter")
    # A first step of Adam moves a weight by the learning rate, whatever the gradient: weights
    # with a gradient near zero differ by rounding, most others do not.
    assert differences(one / "adapter", two / "adapter").mean() < 0.1 * RECIPE["learning_rate"]


def test_sharding_without_gpus_is_refused(embedded_model, train, tmp_path):
    options = {"gpus": 2, "micro_batch_size": 2, "strategy": "fsdp"}
    with pytest.raises(UserError, match="strategy: fsdp: needs GPUs"):
        finetune.main(**arguments(embedded_model, train, tmp_path, **options))


def test_full_fine_tuning_leaves_a_whole_model(embedded_model, train, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    options = {"method": "full", "learning_rate": 1e-4, "max_steps": 2}
    finetune.main(**arguments(embedded_model, train, tmp_path, **options))
    manifest = verify_adapter(tmp_path / "adapter")
    assert (manifest["kind"], manifest["base"]) == ("full", embedded_model.name)
    AutoTokenizer.from_pretrained(tmp_path / "adapter", local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "adapter", local_files_only=True)
    precision = json.loads((tmp_path / "metrics.json").read_text())["precision"]
    assert str(model.dtype) == f"torch.{TORCH_NAMES[precision]}"
    assert manifest["precision"] == precision == choose_precision("auto", "cpu")


def test_too_long_rows_stop_before_training(embedded_model, train, tmp_path):
    with pytest.raises(UserError, match=r"100\.0% of 24 rows are longer than max_length 50"):
        finetune.main(**arguments(embedded_model, train, tmp_path, max_length=50))
    assert not (tmp_path / "adapter").exists()


def test_diverged_training_leaves_no_adapter(embedded_model, train, tmp_path):
    # Beyond what a float holds: the update, zero at the start, times infinity is not a number.
    with pytest.raises(UserError, match="loss: nan at step 1"):
        finetune.main(**arguments(embedded_model, train, tmp_path, alpha=1e40, dropout=0))
    assert not (tmp_path / "adapter").exists()


def test_unknown_module_is_explained(embedded_model, train, tmp_path):
    with pytest.raises(UserError, match=r"target_modules: .*: not found in the model"):
        finetune.main(**arguments(embedded_model, train, tmp_path, target_modules=["attn_zz"]))


def test_second_job_on_the_same_variant_is_refused(embedded_model, train, tmp_path):
    call = arguments(embedded_model, train, tmp_path)
    lease = tmp_path / "checkpoints" / "training.lease"
    with training(tmp_path, call, HOLD) as process:
        wait_until(
            lambda: lease.exists() and lease.read_text(),
            "lease",
            process,
            tmp_path / "output.log",
        )
        with pytest.raises(UserError, match=f"already written by process {process.pid} "):
            finetune.main(**call)


def test_checkpoint_of_another_recipe_is_not_taken(embedded_model, train, tmp_path):
    call = arguments(embedded_model, train, tmp_path, max_steps=2)
    other = {**call, "recipe": {**call["recipe"], "max_steps": 500}}
    with training(tmp_path, other, HOLD) as process:
        wait_for_checkpoint(other, process, tmp_path)
    finetune.main(**call)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["restarts"] == []
    assert metrics["steps"] == 2
