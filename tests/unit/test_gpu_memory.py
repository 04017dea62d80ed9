"""GPU memory that models need, against GPUs as nvidia-smi describes them."""

import os
import re
from pathlib import Path

import pytest

from em_tiers.errors import TemporaryError
from em_tiers.gpu_memory import (
    card_of,
    check_gpus,
    engine_need,
    find_shortage,
    gib_of,
    training_need,
    weights_of,
)
from em_tiers.gpus import Gpu, describe_gpus
from em_tiers.inference.engine_settings import complete_settings

ONE = complete_settings({"device": "cuda"})
TWO = complete_settings({"device": "cuda", "tensor_parallel": 2})
A100_40 = Gpu("NVIDIA A100-SXM4-40GB", 40.0, 8.0, "580.65.06")
A100_80 = Gpu("NVIDIA A100-SXM4-80GB", 80.0, 8.0, "580.65.06")
V100 = Gpu("Tesla V100-SXM2-32GB", 32.0, 7.0, "535.1")
LORA = {"method": "lora", "precision": "auto", "strategy": "ddp", "gpus": 1}


def test_a_judge_of_32b_on_two_cards():
    """65.6 GB of weights are 61.1 GiB: (1.05 x 30.5 + 4 + 2) / 0.9 = 42.3 GiB on each card."""
    need = engine_need(gib_of(32.8), TWO)
    assert need.least_gib == pytest.approx(42.3, abs=0.05)
    assert need.describe() == "2 GPUs of 48 GB (80 GB for full speed)"
    assert find_shortage(need, [A100_80] * 2) is None
    assert find_shortage(need, [A100_40] * 2) == (
        "needs 2 GPUs of 48 GB (80 GB for full speed), but this node has 2 of 40 GB "
        "(NVIDIA A100-SXM4-40GB)"
    )
    assert "this node has 1 of 80 GB" in find_shortage(need, [A100_80])
    assert "this node has 2 of 40 GB" in find_shortage(need, [A100_80, A100_40])
    assert "this node has none" in find_shortage(need, [])


def test_old_gpus_do_not_compute_bfloat16():
    need = engine_need(gib_of(4.0), ONE)
    assert "Tesla V100-SXM2-32GB has 7.0" in find_shortage(need, [V100])
    fp32 = engine_need(gib_of(4.0, 4), ONE | {"dtype": "float32"})
    assert find_shortage(fp32, [V100]) is None


@pytest.mark.parametrize(
    ("recipe", "card"),
    [
        (LORA, 24),  # 7.5 GiB of weights and 8
        (LORA | {"precision": "fp32"}, 32),
        (LORA | {"method": "full"}, 80),  # 59.6 GiB of weights, gradients and moments
        (LORA | {"method": "full", "strategy": "fsdp", "gpus": 4}, 32),
        (LORA | {"gpus": 4}, 24),
    ],
)
def test_training_4b(recipe, card):
    assert card_of(training_need(4.0, recipe).least_gib) == card


def test_weights_of_a_real_folder(embedded_model):
    """SmolLM2-135M has 134,515,008 parameters, as bfloat16 on disk."""
    assert weights_of(embedded_model, "bfloat16") == (134515008, 134515008 * 2 / 2**30)
    assert weights_of(embedded_model, "float32")[1] == 134515008 * 4 / 2**30


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """An nvidia-smi that prints what a node's would, and notes what it was asked."""

    def install(printed):
        file = tmp_path / "nvidia-smi"
        file.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\ncat <<END\n{printed}\nEND\n')
        file.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        return tmp_path / "asked"

    return install


def test_gpus_are_read_from_nvidia_smi(nvidia_smi, monkeypatch):
    asked = nvidia_smi("NVIDIA A100-SXM4-40GB, 40960, 8.0, 580.65.06\n" * 2)
    assert describe_gpus(["2", "3"]) == [A100_40] * 2
    assert "--id=2,3" in asked.read_text()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    need = engine_need(gib_of(32.8), TWO)
    with pytest.raises(TemporaryError, match=r"^big in bf16 needs 2 GPUs of 48 GB .* or add GPUs"):
        check_gpus("big in bf16", need, "add GPUs")
    check_gpus("small", engine_need(1, TWO), "add GPUs")


@pytest.mark.parametrize("printed", ["No devices were found", "NVIDIA Unknown, [N/A], 8.0, 580"])
def test_gpus_that_nvidia_smi_cannot_describe_are_not_judged(nvidia_smi, printed, caplog):
    nvidia_smi(printed)
    assert describe_gpus([]) == []
    check_gpus("m", engine_need(1000, TWO), "add GPUs")


DOCUMENTED = {
    "Qwen3-4B": 4.0,
    "a model of 8 billion parameters": 8.0,
    "a model of 15 billion parameters": 15.0,
    "Qwen2.5-32B-Instruct": 32.8,
}


def test_the_documented_table_is_what_jobs_compare():
    text = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text("utf-8")
    table = text.partition("| model | job |")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    assert {row[0] for row in rows} == set(DOCUMENTED)
    for model, job, needs, full in rows:
        size = DOCUMENTED[model]
        parallel = re.search(r"tensor_parallel: (\d)", job)
        engine = complete_settings(
            {"device": "cuda", "tensor_parallel": int((parallel or "11")[1])}
        )
        need = training_need(size, LORA) if "LoRA" in job else engine_need(gib_of(size), engine)
        assert need.describe() == needs + (f" ({full} for full speed)" if full else ""), model
