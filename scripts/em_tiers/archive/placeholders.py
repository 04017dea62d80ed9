"""Folders that a restore leaves with their manifest only, and how a job says so."""

from pathlib import Path

from em_tiers.errors import UserError

PLACEHOLDER = "NOT-IN-THE-ARCHIVE.txt"
PLACEHOLDER_TEXT = """\
This folder was restored from an archive, which holds its manifest only. Nothing needs its files
until a job of a model runs. To fetch what the manifest names, and check it:

    python scripts/restore_archive.py --fetch

An adapter whose files were not archived cannot be fetched: delete its folder, and the next run
trains it again.
"""


def check_complete(folder: Path | str) -> None:
    """Stop a job that needs files which were not archived.

    Raises:
        UserError: the folder holds its manifest only.
    """
    if (Path(folder) / PLACEHOLDER).is_file():
        raise UserError(
            f"{folder}: restored from an archive without its files: for a model or data set run "
            "python scripts/restore_archive.py --fetch; delete an adapter's folder to train it "
            "again"
        )
