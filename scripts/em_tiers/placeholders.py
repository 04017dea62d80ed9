"""What was restored from an archive without its content, and the check that a job makes of it."""

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


# In place of the training rows of a data set, which archives leave out: one line of another form.
_ROWS = '{"not in the archive": "run python scripts/restore_archive.py --fetch"}\n'


def write_placeholder(path: Path) -> None:
    """Put a file in the place of training rows that were not archived."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_ROWS, encoding="utf-8")


def is_placeholder(path: Path | str) -> bool:
    """Whether a file is in the place of training rows that were not archived."""
    path = Path(path)
    if path.suffix != ".jsonl" or not path.is_file() or path.stat().st_size != len(_ROWS):
        return False
    return path.read_text(encoding="utf-8") == _ROWS


def check_rows_are_there(path: Path | str) -> None:
    """Stop a job that needs training rows which were not archived.

    Raises:
        UserError: a placeholder is in their place.
    """
    if is_placeholder(path):
        raise UserError(
            f"{path}: left out of the archive that this folder was restored from: run python "
            "scripts/restore_archive.py --fetch, which makes the rows again from their source"
        )
