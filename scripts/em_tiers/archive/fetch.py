"""Files that an archive leaves out, fetched again from their sources and checked."""

import tempfile
from pathlib import Path
from typing import Any

from em_tiers.download.manifests import read_manifest
from em_tiers.errors import UserError
from em_tiers.files import sha256_of_file
from em_tiers.placeholders import PLACEHOLDER


def left_out_folders(workdir: Path) -> list[Path]:
    """Folders of restored models, data sets and question files that hold a manifest only."""
    markers = (workdir / "results" / "resources").glob(f"*/*/{PLACEHOLDER}")
    return sorted(marker.parent for marker in markers)


def fetch_folder(folder: Path) -> None:
    """Fetch what the manifest of a folder names.

    The folder keeps its time, so that Snakemake reruns nothing for it.

    Raises:
        UserError: the download fails, or its files are not those of the manifest.
    """
    _fetch(folder)
    (folder / PLACEHOLDER).unlink()


def _fetch(folder: Path) -> None:
    manifest = read_manifest(folder)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as temporary:
        new = Path(temporary) / folder.name
        _download(folder.parent.name, manifest["source"], new)
        wrong = [
            entry["path"]
            for entry in manifest["files"]
            if not (new / entry["path"]).is_file()
            or sha256_of_file(new / entry["path"]) != entry["sha256"]
        ]
        if wrong:
            raise UserError(
                f"{folder}: {', '.join(wrong)}: the fetched files differ from the archived "
                "manifest; the source has changed, or was converted by other versions"
            )
        for entry in manifest["files"]:
            target = folder / entry["path"]
            target.parent.mkdir(parents=True, exist_ok=True)
            (new / entry["path"]).replace(target)


def _download(kind: str, source: dict[str, Any], folder: Path) -> None:
    # Imported here: a restore alone needs none of the download's libraries.
    from em_tiers.download.entries import fetch_dataset, fetch_model, fetch_questions

    fetchers = {"models": fetch_model, "datasets": fetch_dataset, "questions": fetch_questions}
    fetchers[kind](source, folder)
