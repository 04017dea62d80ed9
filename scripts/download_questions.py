"""Fetch a question set's file into a folder, with a manifest."""

from pathlib import Path
from typing import Any

from em_tiers.download.entries import fetch_questions
from em_tiers.download.http import PATIENT, Patience
from em_tiers.logs import run_script
from em_tiers.prepare.questions import read_questions


def main(source: dict[str, Any], folder: Path, patience: Patience = PATIENT) -> None:
    """Fill `folder` with the one question file of `source` and its manifest.json.

    Raises:
        UserError: see em_tiers.download.sources and em_tiers.prepare.questions; nothing is left
            that looks finished.
    """
    fetch_questions(source, folder, check_questions, patience)


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
