"""Fetch the raw files of a data set into a folder, with a manifest."""

from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from em_tiers.download.http import PATIENT, Patience
from em_tiers.download.sources import download
from em_tiers.errors import UserError
from em_tiers.logs import run_script
from em_tiers.prepare.raw_rows import FORMATS

# Descriptions that the hub's own tools leave among the data.
_NO_DATA = ("dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json")


def main(source: dict[str, Any], folder: Path, patience: Patience = PATIENT) -> None:
    """Fill `folder` with the data files of `source` and its manifest.json.

    A hub source may name `files` as glob patterns, in which `*` also crosses folders; without it
    every data file is taken.

    Raises:
        UserError: see em_tiers.download.sources; nothing is left that looks finished.
    """
    globs = source["files"] if source["type"] == "hub" and source.get("files") else ["*"]
    choose = partial(choose_data_files, globs)
    download(source, Path(folder), "dataset", choose, patience=patience)


def choose_data_files(globs: list[str], names: list[str]) -> list[str]:
    """The data files among `names` that match one of `globs`.

    Raises:
        UserError: none does, or the files are of several formats: often the same rows twice.
    """
    data = sorted(name for name in names if _is_data(name))
    chosen = [name for name in data if any(fnmatchcase(name, glob) for glob in globs)]
    if not chosen:
        raise UserError(
            f"data set: no file matches {', '.join(globs)}: there are {_some(data or names)}; "
            f"files may be {', '.join(sorted(FORMATS))} (unpack an archive, and give its path)"
        )
    if len({FORMATS[_suffix(name)] for name in chosen}) > 1:
        raise UserError(
            f"data set: files of several formats: {_some(chosen)}: name those of one format under "
            "source.files, because they may hold the same rows"
        )
    return chosen


def _suffix(name: str) -> str:
    return Path(name).suffix.lower()


def _is_data(name: str) -> bool:
    parts = name.split("/")
    hidden = any(part.startswith(".") for part in parts)
    return _suffix(name) in FORMATS and parts[-1] not in _NO_DATA and not hidden


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return (", ".join(names[:6]) or "no files at all") + more


if "snakemake" in globals():
    run_script(
        main,
        log=snakemake.log[0],  # noqa: F821
        source=snakemake.params.source,  # noqa: F821
        folder=Path(snakemake.output.folder),  # noqa: F821
    )
