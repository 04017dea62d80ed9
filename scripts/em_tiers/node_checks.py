"""What a node with GPUs must have for the workflow's jobs: each check gives a row with a remedy."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from em_tiers.gpu_memory import OLDEST_CAPABILITY, Need, find_shortage
from em_tiers.gpus import VISIBLE, Gpu

OK, FAILED, SKIPPED = "ok", "FAILED", "skipped"
NO_GPU = "no GPU here"
_COMPILER_S, _TRITON_S, _ENGINE_S = 60, 120, 400
SCRIPTS = Path(__file__).parents[1]


def row(check: str, state: str, seen: str, remedy: str = "") -> dict[str, str]:
    """One line of the report; a remedy belongs to a failed check only."""
    return {"check": check, "state": state, "seen": seen, "remedy": remedy}


def check_driver(gpus: Sequence[Gpu], cuda: str | None) -> dict[str, str]:
    """The driver against the CUDA version that torch was built for (None: a CPU build)."""
    if not gpus:
        given = os.environ.get(VISIBLE)
        seen = f"the job was given GPU {given}, but " if given else ""
        seen += (
            "nvidia-smi finds no GPU" if shutil.which("nvidia-smi") else "there is no nvidia-smi"
        )
        remedy = (
            "a machine with an NVIDIA GPU and its driver; on a cluster, a partition with GPUs "
            "(max_gpu in slurm/site.yaml); try gpu: word: gres there if the job was given no GPU"
        )
        return row("driver", FAILED, seen, remedy)
    highest = _driver_cuda()
    seen = f"{gpus[0].driver}, up to CUDA {highest or '?'}; torch is built for {cuda or 'the CPU'}"
    if cuda is None:
        remedy = "this environment has no CUDA: make setup-gpu"
        return row("driver", FAILED, seen, remedy)
    if highest and int(highest.split(".")[0]) < int(cuda.split(".")[0]):
        remedy = (
            f"a newer driver, or an environment for CUDA {highest.split('.')[0]} (envs/README.md)"
        )
        return row("driver", FAILED, seen, remedy)
    return row("driver", OK, seen)


def _driver_cuda() -> str | None:
    """The highest CUDA version that the driver runs, as nvidia-smi's head says."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(["nvidia-smi"], capture_output=True, text=True, timeout=60)
        found = re.search(r"CUDA(?: UMD)? Version: *([\d.]+)", done.stdout)
        return found[1] if found else None
    return None


def check_bf16(gpus: Sequence[Gpu]) -> dict[str, str]:
    if not gpus:
        return row("bfloat16", SKIPPED, NO_GPU)
    lowest = min(gpus, key=lambda gpu: gpu.capability)
    seen = f"{lowest.name}, compute capability {lowest.capability}"
    if lowest.capability < OLDEST_CAPABILITY:
        return row("bfloat16", FAILED, seen, "GPUs of compute capability 8.0 or newer (Ampere)")
    return row("bfloat16", OK, seen)


def check_memory(gpus: Sequence[Gpu], what: str, need: Need) -> dict[str, str]:
    """The memory of a job's GPUs against what one of the study's jobs needs."""
    if not gpus:
        return row(what, SKIPPED, f"needs {need.describe()}: {NO_GPU}")
    if shortage := find_shortage(need, gpus):
        remedy = "another partition, gpu: model in slurm/site.yaml, or more GPUs per job"
        return row(what, FAILED, shortage, remedy)
    return row(what, OK, f"needs {need.describe()}, has {len(gpus)} of {gpus[0].memory_gib:.0f} GB")


def check_compiler() -> dict[str, str]:
    """Compile a file that needs Python's headers, as Triton does on the node."""
    named = os.environ.get("CC") or next(filter(shutil.which, ("gcc", "clang", "cc")), None)
    if not named or not shutil.which(named):
        remedy = "load a compiler module, or name a compiler in CC, where Snakemake is started"
        return row("C compiler", FAILED, f"{named or 'gcc, clang'}: not found", remedy)
    include = sysconfig.get_path("include")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text("#include <Python.h>\nint probe(void) { return PY_MAJOR_VERSION; }\n")
        command = [named, "-shared", "-fPIC", f"-I{include}", source, "-o", f"{folder}/probe.so"]
        done = _run(command, _COMPILER_S)
    if done.returncode == 0:
        return row("C compiler", OK, f"{named} compiles with {include}")
    if "Python.h" in done.stderr:
        version = sysconfig.get_python_version()
        remedy = f"install python{version}-dev (Debian) or python{version}-devel on the nodes"
        return row("C compiler", FAILED, f"no Python.h in {include}", remedy)
    return row("C compiler", FAILED, _last_line(done.stderr), "a C compiler that works on the node")


def check_triton(gpus: Sequence[Gpu]) -> dict[str, str]:
    if not gpus:
        return row("Triton kernel", SKIPPED, NO_GPU)
    done = _run_module(["em_tiers.inference.triton_probe"], _TRITON_S)
    if done.returncode == 0:
        return row("Triton kernel", OK, _last_line(done.stdout))
    remedy = "see the rows above; Triton compiles on the node, with a C compiler"
    return row("Triton kernel", FAILED, _last_line(done.stderr), remedy)


def check_engine(gpus: Sequence[Gpu]) -> list[dict[str, str]]:
    """A small random model in vLLM: start, log-probabilities, seeds, LoRA."""
    names = ("engine", "logprob_token_ids", "seeds", "LoRA")
    if not gpus:
        return [row(name, SKIPPED, NO_GPU) for name in names]
    with tempfile.TemporaryDirectory() as folder:
        done = _run_module(["em_tiers.inference.engine_probe", folder, "cuda"], _ENGINE_S)
    return read_engine_probe(done, names)


def read_engine_probe(
    done: subprocess.CompletedProcess[str], names: Sequence[str]
) -> list[dict[str, str]]:
    """Rows for each line that the probe printed, or for its cause of death."""
    remedy = "try VLLM_USE_V2_MODEL_RUNNER=0; see docs/troubleshooting.md"
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        first = row(names[0], FAILED, _last_line(done.stderr), remedy)
        return [first, *(row(name, SKIPPED, "the engine failed") for name in names[1:])]
    found: Mapping[str, Any] = json.loads(lines[-1])
    return [
        row(name, OK if passed else FAILED, seen, "" if passed else remedy)
        for name, (passed, seen) in found.items()
    ]


def check_folder(what: str, folder: Path, needed_gb: float) -> dict[str, str]:
    """Write access and free space of a folder, which is made if it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            file.write(b"probe")
            file.flush()
        free = shutil.disk_usage(folder).free / 1e9
    except OSError as error:
        remedy = "a folder that the compute nodes share and may write to"
        return row(what, FAILED, f"{folder}: {error.strerror or error}", remedy)
    seen = f"{folder}: writable, {free:.0f} GB free"
    if free < needed_gb:
        remedy = "free some space, or run in another folder (snakemake --directory)"
        return row(what, FAILED, f"{seen}, {needed_gb:.0f} GB wanted", remedy)
    return row(what, OK, seen)


def _run_module(arguments: list[str], limit_s: float) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    return _run([sys.executable, "-m", *arguments], limit_s, environment)


def _run(
    command: Sequence[str | Path], limit_s: float, environment: Mapping[str, str] = os.environ
) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, so that nothing it does can end the checks."""
    options: dict[str, Any] = {"capture_output": True, "text": True, "env": environment}
    try:
        return subprocess.run(command, timeout=limit_s, **options)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"no result after {limit_s} s")
    except OSError as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "without a message"
