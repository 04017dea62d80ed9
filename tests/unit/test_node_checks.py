"""What a node lacks is said with its remedy; nothing that a check meets ends the report."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from check_gpu import main
from em_tiers import node_checks
from em_tiers.gpus import Gpu
from show_gpu_checks import format_table

A100 = Gpu("NVIDIA A100-SXM4-40GB", 40.0, 8.0, "570.124.06")
V100 = Gpu("Tesla V100-SXM2-32GB", 32.0, 7.0, "535.1")
SCRIPTS = Path(__file__).parents[2] / "scripts"
NEED = {"what": "judge big", "gpus": 2, "least_gib": 42.3, "full_gib": 57.8, "bf16": True}
HEAD = "| NVIDIA-SMI 570.124.06   Driver Version: 570.124.06     CUDA Version: {} |"


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A folder of commands that hides those of this machine; returns a function that adds one."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def add(name, script):
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    return add


@pytest.mark.parametrize(
    ("highest", "cuda", "state"),
    [
        ("13.0", "13.0", "ok"),
        ("12.8", "13.0", "FAILED"),
        ("12.8", "12.9", "ok"),
        ("13.0", None, "FAILED"),
    ],
)
def test_the_driver_must_be_new_enough_for_torch(path, highest, cuda, state):
    """Within one major version of CUDA an older driver will do."""
    path("nvidia-smi", f"echo '{HEAD.format(highest)}'")
    found = node_checks.check_driver([A100], cuda)
    assert found["state"] == state
    assert f"570.124.06, up to CUDA {highest}" in found["seen"]


def test_a_job_whose_gpus_no_driver_knows(path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    seen = node_checks.check_driver([], "13.0")["seen"]
    assert seen == "the job was given GPU 0,1, but there is no nvidia-smi"


def test_a_compiler_is_tried_with_the_headers_of_this_python(path, tmp_path, monkeypatch):
    missing = node_checks.check_compiler()
    assert missing["seen"] == "gcc, clang: not found"
    path("gcc", "echo 'probe.c:1:10: fatal error: Python.h: No such file or directory' >&2; exit 1")
    found = node_checks.check_compiler()
    assert found["seen"].startswith("no Python.h in ")
    assert "-devel" in found["remedy"]
    monkeypatch.setenv("CC", "nvcc-from-nowhere")
    assert node_checks.check_compiler()["seen"] == "nvcc-from-nowhere: not found"


def test_memory_and_bfloat16():
    need = node_checks.Need(2, 42.3, 57.8, True)
    assert node_checks.check_memory([A100] * 2, "judge big", need)["state"] == "FAILED"
    big = Gpu("H100", 79.6, 9.0, "580")
    assert node_checks.check_memory([big] * 2, "judge big", need)["state"] == "ok"
    assert node_checks.check_bf16([big, V100])["state"] == "FAILED"


def test_what_the_engine_probe_says_becomes_rows():
    names = ("engine", "logprob_token_ids", "seeds", "LoRA")
    printed = {"engine": [True, "12 tokens"], "LoRA": [False, "the adapter changes nothing"]}
    done = subprocess.CompletedProcess([], 0, "noise\n" + json.dumps(printed) + "\n", "")
    rows = node_checks.read_engine_probe(done, names)
    assert [row["state"] for row in rows] == ["ok", "FAILED"]
    died = subprocess.CompletedProcess([], 1, "", "Traceback\nRuntimeError: no kernel image\n")
    rows = node_checks.read_engine_probe(died, names)
    assert rows[0]["seen"] == "RuntimeError: no kernel image"
    assert [row["state"] for row in rows[1:]] == ["skipped"] * 3


def test_folders_are_written_to(tmp_path):
    found = node_checks.check_folder("results", tmp_path / "new", 0)
    assert found["state"] == "ok"
    full = node_checks.check_folder("results", tmp_path, 1e9)
    assert (full["state"], "1000000000 GB wanted" in full["seen"]) == ("FAILED", True)
    (tmp_path / "file").touch()
    assert node_checks.check_folder("x", tmp_path / "file" / "below", 0)["state"] == "FAILED"


def test_a_machine_without_gpus_says_so_job_by_job(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # use_own_caches sets them; undone after the test.
    for name in [n for n in os.environ if n.endswith(("_CACHE_HOME", "_CACHE_DIR", "_CACHE_ROOT"))]:
        monkeypatch.delenv(name)
    reports = {"gpu": Path("gpu.json"), "a100": Path("a100.json")}
    main([NEED], 0, reports["gpu"])
    rows = {row["check"]: row for row in json.loads(reports["gpu"].read_text())["rows"]}
    assert rows["judge big"]["seen"].startswith("needs 2 GPUs of 48 GB (80 GB for full speed)")
    assert {rows[name]["state"] for name in ("judge big", "engine", "LoRA", "Triton kernel")} == {
        "skipped"
    }
    assert rows["results"]["state"] == "ok"
    table = format_table(reports)
    assert "a100" in table
    assert "no report" in table
    assert "- gpu: C compiler: load a compiler module" in table
    assert "did not finish" not in table
    heads = table.splitlines()[0]
    assert heads.split() == ["partition", "node", "check", "state", "seen"]


@pytest.mark.parametrize("earlier", [False, True])
def test_a_check_that_did_not_finish_passed_nothing(earlier, tmp_path):
    """As where sbatch fails: nothing was reported, or by an earlier check only."""
    if earlier:
        row = {"check": "driver", "state": "ok", "seen": "580", "remedy": ""}
        (tmp_path / "gpu.json").write_text(json.dumps({"node": "n1", "rows": [row]}))
    script = SCRIPTS / "show_gpu_checks.py"
    done = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "passed" not in done.stdout
    assert "the check did not finish" in done.stdout
    assert ("no report" in done.stdout) is not earlier
