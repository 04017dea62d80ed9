"""Checks of fine-tunes that a user brings: their blocks, and their files where these are here.

The files are checked by the functions that the download uses.
"""

import filecmp
from pathlib import Path

from em_tiers.download.adapter_files import (
    WEIGHTS,
    check_adapter_folder,
    choose_adapter_files,
)
from em_tiers.download.model_files import check_other_weights
from em_tiers.errors import ConfigError, UserError, require_known
from em_tiers.study.entries import adapter_limits, base_names
from em_tiers.study.source_checks import check_file
from em_tiers.study.study import Study
from em_tiers.study.variants import dataset_of, is_brought


def check_brought(study: Study) -> None:
    """Check each block with an adapter or a whole model.

    Raises:
        ConfigError: an unknown data set, files on this machine that cannot be tested, or the same
            weights twice.
    """
    seen: dict[str | None, list[tuple[Path, str]]] = {}
    for block in study.config["variants"]:
        if not is_brought(block):
            continue
        where = f"config.variants: {block['id']}"
        if dataset := dataset_of(block):
            require_known(dataset, study.datasets, f"{where}: dataset", "data set")
        if not block["adapter"]:
            if block["model"]:
                _check_model(study, block, where)
            continue
        if block["adapter"]["type"] != "path":
            continue
        folder = _check_folder(study, block, f"{where}: adapter")
        _check_twin(folder / WEIGHTS, where, seen.setdefault(block["system"], []))


def _check_folder(study: Study, block: dict, where: str) -> Path:
    path = block["adapter"]["path"]
    folder = check_file(study, path, where, folder=True).resolve()
    if not folder.is_dir():
        raise ConfigError(f"{where}: {path!r} is a file: name the folder of the adapter")
    own = (study.workdir / study.folder).resolve()
    if folder.is_relative_to(own):
        raise ConfigError(
            f"{where}: {path!r} is inside the results of this experiment, where the workflow may "
            "overwrite it: copy it to another folder"
        )
    try:
        names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
        chosen = choose_adapter_files(names)
        base = block["base"]
        check_adapter_folder(
            folder,
            chosen,
            base_names(study, base),
            _local_model(study, base),
            adapter_limits(study),
        )
    except UserError as error:
        raise ConfigError(f"{where}: {path}: {str(error).removeprefix('adapter: ')}") from error
    except OSError as error:
        raise ConfigError(
            f"{where}: {error.filename} cannot be read ({error.strerror}): name a folder that you "
            "may read"
        ) from error
    return folder


def _check_model(study: Study, block: dict, where: str) -> None:
    """Check a whole model against its base: other weights, as far as both are here."""
    model = _local_model(study, block["model"])
    base = _local_model(study, block["base"])
    if model is None or base is None:
        return
    try:
        check_other_weights(model, base)
    except UserError as error:
        raise ConfigError(f"{where}: {error}") from error


def _local_model(study: Study, base: str) -> Path | None:
    """Folder of the base model, if its files are on this machine."""
    source = study.models[base]["source"] or {"type": None}
    folder = study.workdir / "results" / "resources" / "models" / base
    if source["type"] == "path":
        folder = study.workdir / study.find_file(source["path"])
    return folder if folder.is_dir() else None


def _check_twin(weights: Path, where: str, seen: list[tuple[Path, str]]) -> None:
    """Refuse the same weights twice: pooled over seeds, their answers would count twice."""
    for other, first in seen:
        same_size = weights.stat().st_size == other.stat().st_size
        if same_size and filecmp.cmp(weights, other, shallow=False):
            raise ConfigError(
                f"{where}: adapter: {weights.parent} holds the same weights as {first}: remove one "
                "of them, or name the right folder"
            )
    seen.append((weights, where.removeprefix("config.variants: ")))
