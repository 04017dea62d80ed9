"""Checkpoints of a training run: which one is whole, and whether it belongs to this run.

A run may be killed at any moment, also in the middle of writing a checkpoint, and its folder
survives configurations. So a checkpoint counts only with a marker that was written last and that
lists its files with their hashes, and the folder only with a fingerprint of all that determines
the training.
"""

import os
import shutil
from pathlib import Path
from typing import Any

from em_tiers.download.manifests import MANIFEST, read_manifest
from em_tiers.errors import UserError
from em_tiers.files import (
    atomic_directory,
    read_json,
    read_record,
    sha256_of_file,
    sha256_of_folder,
    write_json,
)
from em_tiers.hashing import hash_of
from em_tiers.inference.adapter_folder import adapter_sha256
from em_tiers.logs import LOG

COMPLETE = "complete.json"
FINGERPRINT = "fingerprint.json"
BASE = "base.json"
# Raise it when the training code changes what is learned: older weights are then no answer.
TRAINING_VERSION = 1
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "adapter_config.json")
# These change when a run is saved or refused, and how fast it is, not what it learns.
_HARMLESS = (
    *("save_steps", "save_minutes", "micro_batch_size", "gradient_checkpointing"),
    *("max_truncated_share", "threads", "report_to", "label", "comment"),
    "start_from",
)
# Hashed by version 0.1.0, whose recipes had this value: their fine-tunes are found again.
_ONCE_HASHED = {"micro_batch_size": 2}


def training_fingerprint(
    recipe: dict[str, Any],
    seed: int,
    train: Path,
    model: Path,
    thinking: str,
    template: str,
    device: str,
    start: Path | None = None,
) -> dict[str, Any]:
    """What determines a training run, as a flat record that can be compared and shown.

    Args:
        start: folder of the adapter that the training goes on from.
    """
    known = {"start": adapter_sha256(start)} if start else {}
    return known | {
        "version": TRAINING_VERSION,
        "recipe": hash_of_recipe(recipe),
        "seed": seed,
        "train": sha256_of_file(train),
        "model": model_fingerprint(model),
        "thinking": thinking,
        "template": hash_of(template),
        "device": device,
    }


def hash_of_recipe(recipe: dict[str, Any]) -> str:
    """A hash of the recipe's settings that change the result."""
    return hash_of({k: v for k, v in recipe.items() if k not in _HARMLESS} | _ONCE_HASHED)


def is_of_run(folder: Path, fingerprint: dict[str, Any]) -> bool:
    """Whether the checkpoint folder belongs to the run of this fingerprint."""
    known = folder / FINGERPRINT
    return known.is_file() and read_json(known) == fingerprint


def model_fingerprint(model: Path) -> str:
    """A hash of the base model's files, as its manifest lists them or as they are.

    The manifest's source and licence are no part of it: a licence that is written into the
    catalogue later trains nothing again.
    """
    if (model / MANIFEST).is_file():
        return hash_of([[f["path"], f["sha256"]] for f in read_manifest(model)["files"]], 64)
    return sha256_of_folder(model, ("*.safetensors", "*.json"))


def name_of_base(base: Path) -> dict[str, Any]:
    """How an adapter names its base model, as keys of peft's adapter_config.json.

    A model of the hub is named by id and commit, so that others can load the adapter; any other by
    its id in the catalogue.
    """
    manifest = base / MANIFEST
    source = read_record(manifest, {"source": dict})["source"] if manifest.is_file() else {}
    if source.get("type") != "hub":
        return {"base_model_name_or_path": base.name}
    return {"base_model_name_or_path": source["id"], "revision": source["revision"]}


def open_folder(
    folder: Path, fingerprint: dict[str, Any], named: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Make the checkpoint folder ready for this run: nothing of another run, nothing torn.

    A folder without the fingerprint, or with another, is emptied: its checkpoints are of a
    training that is no longer asked for.

    Args:
        named: how an adapter names its base model.

    Returns:
        the same as it was noted when the training began, because with another name the adapter has
        another hash, and all its answers would be asked again; empty where nothing was noted.
    """
    known = folder / FINGERPRINT
    found = read_json(known) if known.is_file() else None
    if found != fingerprint:
        if found is not None:
            changed = sorted(k for k in fingerprint if found.get(k) != fingerprint[k])
            LOG.warning(
                "checkpoints of another configuration are discarded (changed: %s)",
                ", ".join(changed),
            )
        _begin(folder, fingerprint, named)
    for kept in folder.glob("kept/*"):
        if changed := changed_files(kept):
            # Only the training that wrote these weights can write them again.
            LOG.warning("kept/%s: %s: damaged: training starts again", kept.name, changed)
            _begin(folder, fingerprint, named)
            break
    for checkpoint in folder.glob("checkpoint-*"):
        if not is_complete(checkpoint):
            LOG.warning("%s is torn and is discarded", checkpoint.name)
            shutil.rmtree(checkpoint)
        elif changed := changed_files(checkpoint):
            LOG.warning("%s: %s: damaged: the checkpoint is discarded", checkpoint.name, changed)
            shutil.rmtree(checkpoint)
    return read_json(folder / BASE) if (folder / BASE).is_file() else {}


def _begin(folder: Path, fingerprint: dict[str, Any], named: dict[str, Any] | None) -> None:
    """Empty the folder, and note what a new training in it is of."""
    clear_folder(folder)
    if named:
        write_json(folder / BASE, named)
    write_json(folder / FINGERPRINT, fingerprint)


def clear_folder(folder: Path) -> None:
    """Remove everything in the folder but the lease that guards it.

    The fingerprint goes first: what is left after a kill in the middle is not taken for a run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FINGERPRINT).unlink(missing_ok=True)
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif ".lease" not in entry.name:
            entry.unlink()


def keep_finished(folder: Path) -> None:
    """Leave of a finished training what its job needs to run again without training.

    An edited comment in a script makes Snakemake run the job again; the same training on a GPU
    may give other weights, and with them every answer and verdict would be asked again.
    """
    last = latest_checkpoint(folder)
    for entry in [*folder.glob("checkpoint-*"), folder / "rows", folder / "final"]:
        if entry != last:
            shutil.rmtree(entry, ignore_errors=True)
    kept = [file for pattern in (*_WEIGHTS, "trainer_state.json") for file in last.glob(pattern)]
    # The marker first: a kill in between leaves a checkpoint that is whole, and too large.
    _write_marker(last, kept)
    for file in last.rglob("*"):
        if file.is_file() and file not in kept and file.name != COMPLETE:
            file.unlink()


def mark_complete(checkpoint: Path) -> None:
    """Write the marker: the last file of a checkpoint, with size and hash of each other one.

    The files are forced to disk first, so that the marker does not outlive them when a node dies.
    """
    _write_marker(checkpoint, [p for p in checkpoint.rglob("*") if p.is_file()])


def _write_marker(checkpoint: Path, files: list[Path]) -> None:
    listed = {}
    for file in sorted(files):
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
        name = file.relative_to(checkpoint).as_posix()
        listed[name] = {"bytes": file.stat().st_size, "sha256": sha256_of_file(file)}
    write_json(checkpoint / COMPLETE, {"files": listed})


def is_complete(checkpoint: Path) -> bool:
    """Whether the marker is there and every file has the size that it names."""
    listed = _listed(checkpoint)
    return listed is not None and all(
        (checkpoint / name).is_file() and (checkpoint / name).stat().st_size == facts["bytes"]
        for name, facts in listed.items()
    )


def changed_files(folder: Path) -> list[str]:
    """Names of files whose bytes are no longer those that the folder's marker lists."""
    listed = _listed(folder) or {}
    return [
        name
        for name, facts in listed.items()
        if facts["sha256"] is not None
        and not ((folder / name).is_file() and sha256_of_file(folder / name) == facts["sha256"])
    ]


def _listed(folder: Path) -> dict[str, dict[str, Any]] | None:
    """Size and hash of each name, as the marker lists them; None without a readable marker.

    Markers of version 0.1 list sizes alone; the hash is then None.
    """
    try:
        files = read_record(folder / COMPLETE, {"files": dict})["files"]
    except (FileNotFoundError, UserError):
        return None
    files = {
        name: {"bytes": facts, "sha256": None} if isinstance(facts, int) else facts
        for name, facts in files.items()
    }
    whole = all(isinstance(f, dict) and {"bytes", "sha256"} <= f.keys() for f in files.values())
    return files if whole else None


def latest_checkpoint(folder: Path) -> Path | None:
    """The complete checkpoint of the highest step, or None."""
    complete = [p for p in folder.glob("checkpoint-*") if is_complete(p)]
    return max(complete, key=step_of, default=None)


def step_of(checkpoint: Path) -> int:
    """The optimiser step in a checkpoint's name."""
    return int(checkpoint.name.rpartition("-")[2])


def copy_weights(checkpoint: Path, target: Path) -> None:
    """Copy what a model needs out of a checkpoint: no optimiser state, no pickled arguments."""
    with atomic_directory(target) as folder:
        for pattern in _WEIGHTS:
            for file in checkpoint.glob(pattern):
                shutil.copy(file, folder / file.name)
        mark_complete(folder)
