"""Fetch a catalogue entry: a model, a data set or a question set, into a folder with a manifest.

The scripts download_*.py call these functions, and so does a restore of an archive.
"""

from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from em_tiers.download.adapter_files import check_adapter_folder, choose_adapter_files
from em_tiers.download.data_files import choose_data_files, choose_question_file, globs_of
from em_tiers.download.http import PATIENT, Patience
from em_tiers.download.manifests import write_manifest
from em_tiers.download.model_files import check_model_folder, choose_model_files
from em_tiers.download.package import find_package_file
from em_tiers.download.sources import CheckFolder, download
from em_tiers.errors import UserError
from em_tiers.files import atomic_directory


def fetch_model(source: dict[str, Any], folder: Path, patience: Patience = PATIENT) -> None:
    """Fill `folder` with the model of `source` and its manifest.json.

    Raises:
        UserError: see em_tiers.download.sources; nothing is left that looks finished.
    """
    folder = Path(folder)
    if source["type"] == "package":
        convert_package(source, folder)
        return
    if source["type"] == "url" and "files" not in source:
        raise UserError(
            f"model url {source['url']}: a model is several files: name them as "
            "files: {NAME: SHA-256}, with url as their common beginning"
        )
    download(source, folder, "model", choose_model_files, check_model_folder, patience)


def convert_package(source: dict[str, Any], folder: Path) -> None:
    """Convert the GGUF file of an installed distribution; needs torch and transformers."""
    gguf = find_package_file(
        source["package"], source["version"], source["file"], source["sha256"]
    )  # fmt: skip
    from em_tiers.download.gguf import convert_gguf

    with atomic_directory(folder) as new:
        names = convert_gguf(gguf, new)
        check_model_folder(new, choose_model_files(names))
        write_manifest(new, source, names, source["version"])


def fetch_adapter(
    source: dict[str, Any],
    folder: Path,
    bases: Collection[str],
    model: Path,
    engine: Mapping[str, Any],
    patience: Patience = PATIENT,
) -> None:
    """Fill `folder` with the LoRA adapter of `source` and its manifest.json.

    Args:
        bases, model, engine: see `check_adapter_folder`.

    Raises:
        UserError: see em_tiers.download.sources and em_tiers.download.adapter_files; nothing is
            left that looks finished.
    """

    def check(new: Path, names: list[str]) -> None:
        check_adapter_folder(new, names, bases, Path(model), engine)

    download(source, Path(folder), "model", choose_adapter_files, check, patience)


def fetch_dataset(source: dict[str, Any], folder: Path, patience: Patience = PATIENT) -> None:
    """Fill `folder` with the data files of `source` and its manifest.json.

    Raises:
        UserError: see em_tiers.download.sources; nothing is left that looks finished.
    """
    choose = partial(choose_data_files, globs_of(source))
    download(source, Path(folder), "dataset", choose, patience=patience)


def fetch_questions(
    source: dict[str, Any],
    folder: Path,
    check: CheckFolder | None = None,
    patience: Patience = PATIENT,
) -> None:
    """Fill `folder` with the one YAML file of `source` and its manifest.json.

    Args:
        check: reads the file before the folder gets its name, so that a wrong one is not kept.

    Raises:
        UserError: see em_tiers.download.sources; nothing is left that looks finished.
    """
    choose = partial(choose_question_file, globs_of(source))
    download(source, Path(folder), "dataset", choose, check, patience)
