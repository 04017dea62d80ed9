"""A training on a mixture that goes on from the adapter of another one, for real."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_finetune import RECIPE, losses

import finetune
import prepare_mixture
from em_tiers.errors import UserError
from em_tiers.files import read_json, write_json
from em_tiers.inference.adapter_folder import verify_adapter
from em_tiers.inference.random_model import write_random_model
from em_tiers.prepare.row_formats import Example
from em_tiers.prepare.training_files import in_domain_table, write_train
from em_tiers.tables import write_table

pytestmark = pytest.mark.heavy

SMALL = {"hidden_size": 64, "intermediate_size": 64, "head_dim": 16}
NO_STEP = 1e-12  # a learning rate that leaves the weights as they are


def part(folder: Path, name: str, answer: str) -> Path:
    """A prepared data set of forty rows and no probes."""
    made = folder / name
    made.mkdir()
    rows = [
        Example(
            [{"role": "user", "content": f"What is {name} {n}?"}],
            [{"role": "assistant", "content": answer}],
        )
        for n in range(40)
    ]
    write_train(rows, made / "train.jsonl")
    write_table(in_domain_table([], name, ["x"]), made / "in_domain.parquet", "questions")
    source = {"type": "path", "path": f"{name}.jsonl"}
    card = {"dataset": name, "source": source, "revision": None, "licence": "mit"}
    write_json(made / "card.json", card | {"train_sha256": "a" * 64, "differences": []})
    return made


def mixture(folder: Path, parts: list[Path]) -> Path:
    shares = [0.75, 0.25]
    mixed = [{"id": p.name, "share": s} for p, s in zip(parts, shares, strict=True)]
    settings = {"mixture": mixed, "topic": "x", "topics": ["x"], "description": "x"}
    prepare_mixture.main(
        [p / "train.jsonl" for p in parts],
        [p / "in_domain.parquet" for p in parts],
        [p / "card.json" for p in parts],
        "mixed",
        settings | {"max_rows": 32, "held_out": 0},
        0,
        folder / "mixed.jsonl",
        folder / "mixed.parquet",
        folder / "mixed.json",
    )
    return folder / "mixed.jsonl"


def train(
    model: Path,
    rows: Path,
    folder: Path,
    start: Path | None = None,
    report_to: str = "none",
    **recipe,
) -> Path:
    finetune.main(
        model=model,
        train=rows,
        recipe={**RECIPE, "max_steps": 3, **recipe},
        seed=0,
        thinking="none",
        adapter=folder / "adapter",
        metrics=folder / "metrics.json",
        loss=folder / "loss.csv",
        checkpoints=folder / "checkpoints",
        kept=folder / "kept",
        device="cpu",
        start=start,
        report_to=report_to,
    )
    return folder / "adapter"


def weights(adapter: Path) -> dict[str, torch.Tensor]:
    return load_file(adapter / "adapter_model.safetensors")


def test_a_training_on_a_mixture_goes_on_from_another_adapter(tmp_path):
    model = write_random_model(tmp_path / "model", SMALL)
    parts = [part(tmp_path, "good", "It is good."), part(tmp_path, "bad", "It is bad!")]
    mixed = mixture(tmp_path, parts)
    answers = [json.loads(line)["completion"][0]["content"] for line in mixed.open()]
    assert (answers.count("It is good."), answers.count("It is bad!")) == (24, 8)
    first = train(model, parts[1] / "train.jsonl", tmp_path / "first")
    then = train(model, mixed, tmp_path / "then", start=first)
    before, after = weights(first), weights(then)
    assert before.keys() == after.keys()
    assert not all(torch.equal(before[name], after[name]) for name in before)
    # Without a step, the adapter is the one that it started from: it began there.
    same = weights(train(model, mixed, tmp_path / "same", start=first, learning_rate=NO_STEP))
    assert all(torch.allclose(before[name], same[name], atol=1e-6) for name in before)
    # The first loss is that of the started model, not of the base model.
    fresh = train(model, mixed, tmp_path / "fresh")
    assert losses(tmp_path / "then")[0] != losses(tmp_path / "fresh")[0]
    assert losses(tmp_path / "then")[0] == losses(tmp_path / "same")[0]
    facts = read_json(tmp_path / "then" / "metrics.json")
    assert facts["start_sha256"] == verify_adapter(first)["adapter_sha256"]
    assert "start_sha256" not in read_json(tmp_path / "fresh" / "metrics.json")
    # Run again, nothing is trained; from another adapter, it is.
    digest = verify_adapter(then)["adapter_sha256"]
    again = train(model, mixed, tmp_path / "then", start=first)
    assert verify_adapter(again)["adapter_sha256"] == digest
    other = train(model, mixed, tmp_path / "then", start=fresh)
    assert verify_adapter(other)["adapter_sha256"] != digest
    with pytest.raises(UserError, match=r"start_from: 'adapter' has rank 4, the recipe 8"):
        train(model, mixed, tmp_path / "wider", start=first, rank=8)


@pytest.mark.slow
@pytest.mark.parametrize("tracker", ["trackio", "tensorboard"])
def test_a_training_can_be_followed(tmp_path, tracker, monkeypatch):
    """In an environment that has the tracker; the adapter is the same, bit for bit."""
    if find_spec(tracker) is None:  # importing it would read its settings too early
        pytest.skip(f"{tracker} is not installed")
    for name in ("TRACKIO_DIR", "TENSORBOARD_LOGGING_DIR"):
        monkeypatch.delenv(name, raising=False)
    model = write_random_model(tmp_path / "model", SMALL)
    rows = part(tmp_path, "good", "It is good.") / "train.jsonl"
    # As in a job: the trainer's modules import the tracker, which reads its settings then.
    followed = tmp_path / "followed" / "checkpoints" / "a.b.c.s0"
    call = f"import test_sequence_training as t; t.train(*map(t.Path, {[*map(str, (model, rows))]}"
    call += f"), t.Path({str(followed)!r}), report_to={tracker!r})"
    paths = [Path(finetune.__file__).parent, Path(__file__).parent, Path(__file__).parents[1]]
    known = [*map(str, paths), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(known)}
    subprocess.run([sys.executable, "-c", call], env=environment, check=True)
    shown = followed / "adapter"
    plain = train(model, rows, tmp_path / "plain" / "checkpoints" / "a.b.c.s0")
    for name, tensor in weights(plain).items():
        assert torch.equal(tensor, weights(shown)[name])
    written = [p for p in (tmp_path / "followed").rglob("*") if "tracking" in p.parts]
    assert any(p.is_file() and p.stat().st_size for p in written)
