"""`auto`: the format that this CPU computes fast, which a started training keeps."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from em_tiers.precision import choose_dtype, choose_precision, describe_choice
from em_tiers.train.checkpoints import open_folder, training_fingerprint
from finetune import settle_precision

MASK = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
RECIPE = {"method": "lora", "rank": 4, "precision": "auto", "save_steps": 10}


def has_bf16_instructions() -> bool:
    """What the kernel says of this CPU."""
    flags = Path("/proc/cpuinfo").read_text().split()
    return bool({"avx512_bf16", "amx_bf16"} & set(flags))


@pytest.mark.parametrize("asked", ["bf16", "fp32"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_named_format_is_taken(asked, device):
    assert choose_precision(asked, device) == asked
    assert choose_dtype("float16", device) == "float16"


def test_auto_follows_the_device():
    assert choose_precision("auto", "cuda") == "bf16"
    assert choose_dtype("auto", "cuda") == "bfloat16"
    native = has_bf16_instructions()
    assert choose_precision("auto", "cpu") == ("bf16" if native else "fp32")
    assert choose_dtype("auto", "cpu") == ("bfloat16" if native else "float32")


@pytest.mark.heavy
@pytest.mark.parametrize("variable", MASK)
def test_instructions_that_the_libraries_may_not_use_do_not_count(variable):
    code = "from em_tiers.precision import choose_precision; print(choose_precision('auto', 'cpu'))"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": "scripts", variable: MASK[variable]},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == "fp32"


def test_the_log_says_what_was_chosen_and_why():
    assert describe_choice("dtype", "bfloat16", "cuda") == "dtype: auto: bfloat16 (on a GPU)"
    why = "has bfloat16" if has_bf16_instructions() else "has no bfloat16"
    assert why in describe_choice("precision", choose_precision("auto", "cpu"), "cpu")


@pytest.fixture
def fingerprint(tmp_path):
    """The fingerprint of a training by some recipe."""
    (tmp_path / "train.jsonl").write_text("{}\n")
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")

    def of(recipe):
        train = tmp_path / "train.jsonl"
        return training_fingerprint(recipe, 0, train, model, "none", "template", "cpu")

    return of


@pytest.mark.parametrize("began", ["bf16", "fp32"])
def test_a_training_keeps_the_format_it_began_with(fingerprint, tmp_path, began):
    """On a machine of the other kind too, and as an explicit format it is the same training."""
    folder = tmp_path / "checkpoints"
    open_folder(folder, fingerprint({**RECIPE, "precision": began}))
    recipe, settled = settle_precision(RECIPE, fingerprint(RECIPE), "cpu", folder)
    assert recipe == {**RECIPE, "precision": began}
    assert settled == fingerprint({**RECIPE, "precision": began})
    explicit = {**RECIPE, "precision": "fp32"}
    assert settle_precision(explicit, fingerprint(explicit), "cpu", folder)[0] == explicit


def test_another_training_leaves_no_format_behind(fingerprint, tmp_path):
    folder = tmp_path / "checkpoints"
    other = "fp32" if has_bf16_instructions() else "bf16"
    open_folder(folder, fingerprint({**RECIPE, "precision": other, "rank": 8}))
    recipe, settled = settle_precision(RECIPE, fingerprint(RECIPE), "cpu", folder)
    assert recipe["precision"] == choose_precision("auto", "cpu") != other
    assert settled == fingerprint(recipe)
