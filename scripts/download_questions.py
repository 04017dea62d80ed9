"""Fetch the YAML file of a question set into a folder, with a manifest."""

from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from em_tiers.download.http import PATIENT, Patience
from em_tiers.download.sources import download
from em_tiers.errors import UserError
from em_tiers.logs import run_script
from em_tiers.prepare.questions import read_questions


def main(source: dict[str, Any], folder: Path, patience: Patience = PATIENT) -> None:
    """Fill `folder` with the one YAML file of `source` and its manifest.json.

    Raises:
        UserError: see em_tiers.download.sources and em_tiers.prepare.questions; nothing is left
            that looks finished.
    """
    globs = source["files"] if source["type"] == "hub" and source.get("files") else ["*"]
    choose = partial(choose_question_file, globs)
    download(source, Path(folder), "dataset", choose, check_questions, patience)


def choose_question_file(globs: list[str], names: list[str]) -> list[str]:
    """The one YAML file among `names` that matches one of `globs`."""
    yaml = [name for name in names if name.lower().endswith((".yaml", ".yml"))]
    chosen = [name for name in yaml if any(fnmatchcase(name, glob) for glob in globs)]
    if len(chosen) != 1:
        raise UserError(
            f"question set: {len(chosen)} YAML files ({', '.join(sorted(chosen)[:6]) or 'none'}): "
            "a set is one file: name it"
        )
    return chosen


def check_questions(folder: Path, names: list[str]) -> None:
    """Read the file, so that a wrong one is not kept."""
    read_questions(folder / names[0])


if "snakemake" in globals():
    run_script(
        main,
        log=snakemake.log[0],  # noqa: F821
        source=snakemake.params.source,  # noqa: F821
        folder=Path(snakemake.output.folder),  # noqa: F821
    )
