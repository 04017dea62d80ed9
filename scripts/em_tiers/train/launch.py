"""Where a training runs: on which device, in this process or in one for each GPU."""

import ctypes
import logging
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import em_tiers
from em_tiers.errors import TemporaryError, UserError
from em_tiers.files import write_json
from em_tiers.gpus import claim_gpus
from em_tiers.logs import LOG
from em_tiers.train.arguments import launch_command, visible_gpus


def choose_device(device: str, recipe: dict[str, Any]) -> str:
    """Return "cuda" or "cpu" for what was asked ("auto": "cpu" with torch's CPU build alone).

    Leaves exactly the recipe's `gpus` devices visible to this process and its children. Raises
    UserError where they are not there: a model of billions of parameters on a CPU would run for
    years, silently.
    """
    gpus = recipe["gpus"]
    if device != "cpu":
        claim_gpus(gpus)
    import torch

    found = torch.cuda.device_count()
    if device == "auto" and not found and torch.version.cuda:
        raise UserError(
            f"training: no GPU is visible to torch, which was built for CUDA {torch.version.cuda}: "
            "look at nvidia-smi on this node: is its driver of that version, and was the job given "
            "a GPU? (envs/README.md)"
        )
    if device == "cpu" or (device == "auto" and not found):
        if device == "auto":
            LOG.warning("no GPU is visible: training on the CPU")
        if gpus > 1 and recipe["strategy"] == "fsdp":
            raise UserError("recipe: strategy: fsdp: needs GPUs: use ddp to train on the CPU")
        return "cpu"
    if found < gpus:
        raise UserError(
            f"recipe: gpus: {gpus}: {found} visible: ask the scheduler for as many GPUs as the "
            "recipe, or set the engine's device to cpu for a small model"
        )
    # Before CUDA starts in this process: afterwards the variable is not read again.
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = visible_gpus(visible, gpus)
    return "cuda"


def run_training(job: dict[str, Any]) -> None:
    """Train a `training.TrainingJob` (given as a dict): here, or in `recipe.gpus` processes."""
    if job["recipe"]["gpus"] > 1:
        _launch(job)
        return
    from em_tiers.train.trainer import TrainingJob, train

    train(TrainingJob(**job))


def rule_log() -> str | None:
    """The file that this process logs to, for the processes that it starts."""
    files = [h.baseFilename for h in LOG.handlers if isinstance(h, logging.FileHandler)]
    return files[0] if files else None


def _launch(job: dict[str, Any]) -> None:
    path = Path(job["checkpoints"]) / "job.json"
    write_json(path, job)
    recipe = job["recipe"]
    command = launch_command(recipe, "em_tiers.train.trainer", path)
    package = str(Path(em_tiers.__file__).resolve().parent.parent)
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    if job["device"] == "cpu":
        threads = max(1, len(os.sched_getaffinity(0)) // recipe["gpus"])
        environment |= {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": str(threads)}
    LOG.info("starting %d processes (%s)", recipe["gpus"], recipe["strategy"])
    process = subprocess.Popen(command, env=environment, preexec_fn=_die_with_parent)
    try:
        status = process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    if status:
        raise TemporaryError(
            f"training: {recipe['gpus']} processes: ended with status {status}; see the first "
            "error above in this log; the next run continues from the last checkpoint"
        )


def _die_with_parent() -> None:
    """Have Linux send SIGTERM when the parent dies: no orphaned training goes on."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
