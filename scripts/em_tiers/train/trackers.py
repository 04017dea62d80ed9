"""Trackers that show a training while it runs: trackio, Weights & Biases, TensorBoard.

They are not installed with the workflow. What they write stays on this machine, in the folder
`tracking` of the experiment, unless their own environment variables say otherwise.
"""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from em_tiers.errors import UserError

PACKAGES = {"trackio": "trackio", "wandb": "wandb", "tensorboard": "tensorboard"}


def prepare_tracker(report_to: str, checkpoints: Path) -> None:
    """Say to a tracker where it writes, before its package is imported.

    Args:
        checkpoints: folder of the training, EXPERIMENT/checkpoints/VARIANT.

    Raises:
        UserError: its package is not installed.
    """
    if report_to == "none":
        return
    if find_spec(PACKAGES[report_to]) is None:
        raise UserError(
            f"recipe: report_to: {report_to} is not installed: pip install {PACKAGES[report_to]} "
            "in the environment of the training jobs, or write none"
        )
    folder = _folder(checkpoints)
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "trackio": {"TRACKIO_DIR": str(folder)},
        # Compute nodes have no internet: `wandb sync` sends the run later, on request.
        "wandb": {"WANDB_MODE": "offline", "WANDB_DIR": str(folder), "WANDB_PROJECT": "em-tiers"},
        "tensorboard": {"TENSORBOARD_LOGGING_DIR": str(folder / checkpoints.name)},
    }
    for name, value in settings[report_to].items():
        os.environ.setdefault(name, value)


def tracker_options(report_to: str, checkpoints: Path) -> dict[str, Any]:
    """Arguments of the trainer for a tracker: the run is called as the fine-tune."""
    if report_to == "none":
        return {"report_to": "none"}
    project = _folder(checkpoints).parent.name
    return {"report_to": report_to, "run_name": checkpoints.name, "project": project}


def _folder(checkpoints: Path) -> Path:
    return checkpoints.resolve().parents[1] / "tracking"
