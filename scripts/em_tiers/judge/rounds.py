"""Rounds of a judging job: a file of verdicts that exists is not always complete.

Requests that fail in passing (`api_error`) leave a file with verdicts missing, and Snakemake takes
a file that exists for a finished one. Each judging job therefore has a round among its params, and
leaves a note beside its verdicts: its round, and how many verdicts failed in passing. While there
are any, the next round is due: a param that differs from the recorded one makes Snakemake run the
job again, and its journal leaves only the failed requests to ask.

Imported while the workflow is parsed, so nothing heavy is imported here.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from em_tiers.errors import UserError
from em_tiers.files import read_json, write_json

SUFFIX = ".failed.json"


def note_of(verdicts: Path | str) -> Path:
    """The note beside a table of verdicts."""
    return Path(verdicts).with_suffix(SUFFIX)


def due_round(verdicts: Path | str, accept_api_errors: bool) -> int:
    """The round of a judging job: the last one if its verdicts are complete or accepted.

    Args:
        verdicts: the table that the job writes; the first round is 0.
    """
    note = _read(note_of(verdicts))
    return note["round"] + (note["api_errors"] > 0 and not accept_api_errors)


def write_note(verdicts: Path | str, this_round: int, api_errors: int) -> None:
    """Note the outcome of a round; a first round that is complete needs no note."""
    note = note_of(verdicts)
    if this_round or api_errors:
        write_json(note, {"round": this_round, "api_errors": api_errors})
    else:
        note.unlink(missing_ok=True)


def failed_verdicts(folder: Path | str) -> Iterator[tuple[str, int]]:
    """Tables of verdicts in `folder`/JUDGE/ with verdicts that failed in passing, and how many."""
    for note in sorted(Path(folder).glob(f"*/*{SUFFIX}")):
        table = note.with_name(note.name.removesuffix(SUFFIX) + ".parquet")
        count = _read(note)["api_errors"]
        if count and table.is_file():
            yield str(table), count


def _read(note: Path) -> dict[str, Any]:
    """A note; without a readable one the first round is due, which repeats no request."""
    try:
        found = read_json(note)
        return {name: int(found[name]) for name in ("round", "api_errors")}
    except (OSError, UserError, ValueError, TypeError, KeyError):
        return {"round": 0, "api_errors": 0}
