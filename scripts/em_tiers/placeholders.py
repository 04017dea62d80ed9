"""Folders restored from an archive without their files, and the check that a job makes of them."""

from pathlib import Path

from em_tiers.errors import UserError

PLACEHOLDER = "NOT-IN-THE-ARCHIVE.txt"
PLACEHOLDER_TEXT = """\
This folder was restored from an archive that holds only its manifest. Its files are not needed
until a job uses the model or data set. To fetch and check what the manifest lists, run:

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
            f"{folder}: restored from an archive without its files; run python "
            "scripts/restore_archive.py --fetch to get those of a model or data set, or delete an "
            "adapter's folder to train it again"
        )
