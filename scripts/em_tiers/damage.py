"""Tables that are damaged: named in one line, and removed, so that the next run makes them again.

Tables are written whole, in one rename; a full disk, a copy that broke off or another program can
still cut or overwrite one. Snakemake would keep it: it is newer than what it was made from.
Imported when a run starts, so Polars is imported only where it is needed.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

MAGIC = b"PAR1"
_SHORTEST = 12  # bytes: both marks, and the length of the footer
# Folders of an experiment whose tables this workflow can make again.
TABLES = (
    "questions/*.parquet",
    "datasets/*/*.parquet",
    "responses/*.parquet",
    "imports/*.parquet",
    "verdicts/*/*.parquet",
    "outcomes/*.parquet",
    "tables/*.parquet",
)
_FOLDERS = frozenset(pattern.partition("/")[0] for pattern in TABLES)


def is_whole(path: Path | str) -> bool:
    """Whether a file begins and ends as Parquet does, with a footer that fits in it."""
    with Path(path).open("rb") as file:
        size = file.seek(0, 2)
        if size < _SHORTEST:
            return False
        file.seek(size - 8)
        footer = int.from_bytes(file.read(4), "little")
        marks = file.read(4), file.seek(0), file.read(4)
    return marks[0] == marks[2] == MAGIC and footer + _SHORTEST <= size


def damaged_tables(*experiments: Path | str) -> list[Path]:
    """Tables below these results folders that are cut, empty or overwritten."""
    found = (path for one in experiments for p in TABLES for path in Path(one).glob(p))
    return [path for path in sorted(set(found)) if not is_whole(path)]


def remove(path: Path | str) -> str:
    """Remove a damaged table that the workflow can make again; says so in one line."""
    if not _is_made_here(Path(path)):
        return f"{path}: this Parquet file is damaged: replace it"
    Path(path).unlink(missing_ok=True)
    return f"{path}: this table was damaged and is removed: start the run again, which makes it"


def explain(error: Exception, arguments: Mapping[str, Any]) -> str | None:
    """What a reading error of Polars comes from: the damaged files among a script's arguments.

    Files that it names are removed as by `remove`. None: the error has another cause.
    """
    if not type(error).__module__.startswith("polars"):
        return None
    damaged = [path for path in dict.fromkeys(_parquet_files(arguments)) if not _is_readable(path)]
    return "; ".join(map(remove, damaged)) or None


def _is_made_here(path: Path) -> bool:
    _, results, below = path.as_posix().rpartition("results/")
    experiment, _, inside = below.partition("/")
    folder = inside.removeprefix("partial/").partition("/")[0]
    return bool(results) and experiment != "resources" and folder in _FOLDERS


def _parquet_files(value: Any) -> Iterator[Path]:
    if isinstance(value, str | Path):
        if str(value).endswith(".parquet") and Path(value).is_file():
            yield Path(value)
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _parquet_files(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _parquet_files(inner)


def _is_readable(path: Path) -> bool:
    """Whether every page of a file can be read; one part of it is in memory at a time."""
    import polars as pl

    try:
        pl.scan_parquet(path).sink_batches(lambda _: None)
    except pl.exceptions.PolarsError:
        return False
    return True
