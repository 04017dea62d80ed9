"""Fetch a model into a folder: weights as safetensors, configuration, tokenizer, manifest.

A `package` source is a GGUF file inside an installed Python distribution, converted to the same
kind of folder; it needs torch and transformers, the other sources do not.
"""

from pathlib import Path
from typing import Any

from em_tiers.download.http import PATIENT, Patience
from em_tiers.download.manifests import write_manifest
from em_tiers.download.model_files import check_model_folder, choose_model_files
from em_tiers.download.package import find_package_file
from em_tiers.download.sources import download
from em_tiers.errors import UserError
from em_tiers.files import atomic_directory
from em_tiers.logs import run_script


def main(source: dict[str, Any], folder: Path, patience: Patience = PATIENT) -> None:
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
    """Convert the GGUF file of an installed distribution."""
    gguf = find_package_file(
        source["package"], source["version"], source["file"], source["sha256"]
    )  # fmt: skip
    from em_tiers.download.gguf import convert_gguf

    with atomic_directory(folder) as new:
        names = convert_gguf(gguf, new)
        check_model_folder(new, choose_model_files(names))
        write_manifest(new, source, names, source["version"])


if "snakemake" in globals():
    run_script(
        main,
        log=snakemake.log[0],  # noqa: F821
        source=snakemake.params.source,  # noqa: F821
        folder=Path(snakemake.output.folder),  # noqa: F821
    )
