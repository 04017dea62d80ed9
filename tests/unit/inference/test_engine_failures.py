"""Why an engine failed, from what its processes print."""

import ast
import os
import runpy
import subprocess
import sys

import pytest

from em_tiers.errors import TemporaryError
from em_tiers.inference.engine_failures import EngineOutput, end_error, start_error
from em_tiers.study.script_imports import SCRIPTS

START = RuntimeError(
    "Engine core initialization failed. See root cause above. Failed core proc(s): {}"
)
LINES = """\
(EngineCore pid=7) INFO 11-26 06:17:01 [core.py:90] Initializing a V1 LLM engine
(EngineCore pid=7) ERROR 11-26 06:17:07 [core.py:1510] EngineCore failed to start.
(EngineCore pid=7) ERROR 11-26 06:17:07 [core.py:1510] Traceback (most recent call last):
(EngineCore pid=7) ERROR 11-26 06:17:07 [core.py:1510]   File "core.py", line 1480, in run
(EngineCore pid=7) ERROR 11-26 06:17:07 [core.py:1510] {error}
(EngineCore pid=7) Traceback (most recent call last):
(EngineCore pid=7) {error}"""


def lines(error):
    return LINES.format(error=error).splitlines()


@pytest.mark.parametrize(
    ("printed", "remedy", "temporary"),
    [
        (
            "ValueError: To serve at least one request with the models's max seq len (40960), "
            "5.6 GiB KV cache is needed, which is larger than the available KV cache memory",
            "gpu_memory_utilization",
            False,
        ),
        (
            "ValueError: Free memory on device cuda:0 (3.1/79.2 GiB) on startup is less than "
            "desired GPU memory utilization (0.9, 71.3 GiB)",
            "another process uses the GPU",
            True,
        ),
        (
            "RuntimeError: Failed to find C compiler. Please specify via CC environment variable",
            "make check-gpu",
            True,
        ),
        (
            "RuntimeError: The NVIDIA driver on your system is too old (found version 12080)",
            "envs/README.md",
            True,
        ),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate", "tensor_parallel", True),
        ("AssertionError: Model Runner V2 does not", "VLLM_USE_V2_MODEL_RUNNER=0", True),
    ],
)
def test_the_cause_is_what_the_engine_printed(printed, remedy, temporary):
    found = start_error("models/m", START, lines(printed))
    kind, _, text = printed.partition(": ")
    assert str(found).startswith(f"engine: models/m: does not start: {kind.split('.')[-1]}: {text}")
    assert remedy in str(found)
    assert isinstance(found, TemporaryError) == temporary
    assert "\n" not in str(found)


def test_of_several_workers_the_one_that_failed_is_named():
    worker = [
        "(Worker_TP1 pid=9) ERROR 11-26 06:17:07 [multiproc_executor.py:953] WorkerProc failed.",
        "(Worker_TP1 pid=9) ERROR 11-26 06:17:07 [multiproc_executor.py:953] RuntimeError: NCCL",
    ]
    core = lines(
        "Exception: WorkerProc initialization failed due to an exception in a background process."
    )
    assert "does not start: RuntimeError: NCCL:" in str(start_error("m", START, worker + core))


def test_headers_that_are_missing_are_named_by_their_remedy():
    """gcc names the missing file; Python only says that gcc failed."""
    found = lines("subprocess.CalledProcessError: Command '['/usr/bin/gcc', 'main.c']' returned 1")
    output = ["main.c:5:10: fatal error: Python.h: No such file or directory", *found]
    assert "python3-devel" in str(start_error("m", START, output))


def test_an_error_of_this_process_is_its_own_cause():
    error = ValueError("1 validation error\n  max_model_len: too large")
    found = str(start_error("m", error, ["noise: RuntimeError: of another kind"]))
    assert "does not start: ValueError: 1 validation error max_model_len: too large: " in found


def test_a_killed_process_left_no_words():
    error = RuntimeError(f"{str(START)[:-2]}{{'EngineCore': -9}}")
    assert "raise the rule's mem_mb" in str(start_error("m", error, []))


def test_an_engine_that_dies_later_is_tried_again():
    dead = RuntimeError(
        "EngineCore encountered an issue. See stack trace (above) for the root cause."
    )
    found = end_error(dead, lines("torch.OutOfMemoryError: CUDA out of memory."))
    assert "OutOfMemoryError: CUDA out of memory." in str(found)
    assert "its process was killed: raise the rule's mem_mb" in str(end_error(dead, []))


def test_output_of_processes_is_kept_and_passed_on():
    """One that outlives the start goes on writing, to the terminal alone."""
    code = """
import subprocess, sys
from em_tiers.inference.engine_failures import EngineOutput
output = EngineOutput()
with output:
    print("early", flush=True)
    child = subprocess.Popen(["sh", "-c", "echo from the child; read line; echo late >&2"],
                             stdin=subprocess.PIPE)
    subprocess.run(["sh", "-c", "echo done"])
print("direct", flush=True)
child.communicate(b"go")
print(output.lines())
"""
    path = {"PYTHONPATH": str(SCRIPTS)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    first, kept = done.stdout.splitlines()
    assert first == "direct"
    assert ast.literal_eval(kept) == ["early", *ast.literal_eval(kept)[1:3], "late"]
    assert sorted(done.stderr.splitlines()) == ["done", "early", "from the child", "late"]


def test_no_start_means_no_waiting():
    assert EngineOutput().lines() == []


ENGINE_SCRIPTS = sorted(
    path.stem for path in SCRIPTS.glob("*.py") if "open_engine(" in path.read_text("utf-8")
)


class Untouched:
    """A snakemake object that no import may use."""

    def __getattr__(self, name):
        raise AssertionError(f"the job was started by an import: snakemake.{name}")


@pytest.mark.parametrize("script", ENGINE_SCRIPTS)
def test_a_spawned_process_imports_the_script_without_running_it(script, monkeypatch):
    """It runs Snakemake's preamble too, so that `snakemake` exists."""
    monkeypatch.setitem(sys.modules, "sklearn", None)  # the job leaves it out: undone at the end
    path = str(SCRIPTS / f"{script}.py")
    job = {"snakemake": Untouched()}
    runpy.run_path(path, init_globals=job, run_name="__mp_main__")
    with pytest.raises(AssertionError, match="was started"):
        runpy.run_path(path, init_globals=job, run_name="__main__")


def test_the_scripts_that_start_engines_were_found():
    assert set(ENGINE_SCRIPTS) == {"sample", "judge_vllm"}
