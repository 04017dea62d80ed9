"""Rows of training data from JSONL, JSON, CSV and Parquet files, one by one.

A row that cannot be read is returned with the reason, so that the caller can count such rows. A
file that cannot be trusted as a whole (broken quoting, not a table, empty) is an error.
"""

import csv
import json
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from em_tiers.download.data_files import FORMATS
from em_tiers.errors import UserError

_BATCH = 4096  # rows of a Parquet file in memory at once
_LARGEST_CHEAP_JSON = 10_000_000  # bytes: about 0.1 s


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row of a file.

    Attributes:
        file: the file's name.
        number: the row's number in its file, from 1 (of a JSONL file: the line).
        data: the row by column; only the readable part of it when `problem` is set.
        problem: why the row cannot be used, or None.
    """

    file: str
    number: int
    data: Any
    problem: str | None = None


def read_rows(path: Path) -> Iterator[RawRow]:
    """Yield the rows of a file, whose ending says its format.

    Raises:
        UserError: the file is empty, cannot be read, or is not a table.
    """
    path = Path(path)
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise UserError(f"{path.name}: unknown format: use one of {', '.join(sorted(FORMATS))}")
    if path.stat().st_size == 0:
        raise UserError(f"{path.name}: this file is empty: download it again, or check the source")
    if kind == "json" and _holds_lines(path):
        kind = "jsonl"
    readers = {"jsonl": _jsonl, "json": _json, "csv": _csv, "parquet": _parquet}
    yield from readers[kind](path)


def header_of(path: Path) -> list[str]:
    """The columns that a file states before its rows; none for JSON and JSONL."""
    path = Path(path)
    kind = FORMATS.get(path.suffix.lower())
    if kind == "parquet":
        return list(_open_parquet(path).schema_arrow.names)
    if kind == "csv":
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            return next(_csv_reader(file, path), [])
    return []


def columns_until(path: Path, needed: Sequence[str]) -> list[str]:
    """The columns of a file, read from its start until all of `needed` have appeared."""
    columns = dict.fromkeys(header_of(path))
    for row in read_rows(path):
        if isinstance(row.data, dict):
            columns |= dict.fromkeys(row.data)
        if columns.keys() >= set(needed):
            break
    return list(columns)


def check_columns(
    files: Sequence[Path], columns: Collection[str], needed: Sequence[str], row_format: str
) -> None:
    """Check that a data set's files have the columns that its format needs.

    Args:
        columns: the columns found; none where the files have no rows.

    Raises:
        UserError: a needed column is missing.
    """
    if missing := [column for column in needed if columns and column not in columns]:
        raise UserError(
            f"columns: {', '.join(path.name for path in files)} has no column {missing[0]!r}, only "
            f"{', '.join(map(repr, columns))}: name the right ones under `columns` in the "
            f"catalogue (format {row_format})"
        )


def is_cheap_to_open(path: Path) -> bool:
    """Whether the first rows of a file can be read at once: a list in JSON must be read whole."""
    kind = FORMATS.get(path.suffix.lower())
    return kind != "json" or _holds_lines(path) or path.stat().st_size <= _LARGEST_CHEAP_JSON


def _jsonl(path: Path) -> Iterator[RawRow]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                data = json.loads(line.decode("utf-8-sig"))
            except UnicodeDecodeError:
                yield RawRow(path.name, number, repr(line[:200]), "not UTF-8")
            except (ValueError, RecursionError):
                yield RawRow(path.name, number, line[:200].decode(errors="replace"), "not JSON")
            else:
                yield _object(path, number, data)


def _json(path: Path) -> Iterator[RawRow]:
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path.name}: not valid JSON ({error}): it may be incomplete; download it again"
        ) from error
    if isinstance(value, dict):
        lists = [name for name, part in value.items() if isinstance(part, list)]
        if len(lists) != 1:
            raise UserError(
                f"{path.name}: an object with the keys {sorted(value)[:10]} is not a data set: "
                "write a list of rows, alone or as the only list in the object"
            )
        value = value[lists[0]]
    if not isinstance(value, list):
        raise UserError(
            f"{path.name}: a value of type {type(value).__name__} is not a data set: write a list "
            "of rows"
        )
    for number, data in enumerate(value, start=1):
        yield _object(path, number, data)


def _csv(path: Path) -> Iterator[RawRow]:
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        rows = _csv_reader(file, path)
        header = next(rows, [])
        if len(set(header)) < len(header):
            raise UserError(f"{path.name}: two columns have the same name in {header}: rename one")
        for number, row in enumerate(rows, start=1):
            if not row:
                continue
            problem = None if len(row) == len(header) else "wrong number of fields"
            yield RawRow(path.name, number, dict(zip(header, row, strict=False)), problem)


def _csv_reader(file: Any, path: Path) -> Iterator[list[str]]:
    csv.field_size_limit(sys.maxsize)
    # Strict: an unclosed quote would otherwise swallow the rest of the file as one field.
    reader = csv.reader(file, strict=True, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
    try:
        yield from reader
    except csv.Error as error:
        raise UserError(
            f"{path.name}, line {reader.line_num}: the quoting is broken from here on ({error}): "
            "fix the file, or use another format"
        ) from error


def _parquet(path: Path) -> Iterator[RawRow]:
    import pyarrow

    number = 0
    file = _open_parquet(path)
    try:
        for batch in file.iter_batches(batch_size=_BATCH):
            for data in batch.to_pylist():
                number += 1
                yield RawRow(path.name, number, data)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise UserError(
            f"{path.name}: row {number + 1} cannot be read ({error}): download the file again"
        ) from error


def _open_parquet(path: Path) -> Any:
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(
            f"{path.name}: not valid Parquet ({error}): it may be incomplete; download it again"
        ) from error


def _object(path: Path, number: int, data: Any) -> RawRow:
    return RawRow(path.name, number, data, None if isinstance(data, dict) else "not an object")


def _holds_lines(path: Path) -> bool:
    """Whether a .json file holds one object per line, as many on the hub do."""
    with path.open("rb") as file:
        lines = (line for line in file if line.strip())
        first, second = next(lines, b""), next(lines, b"")
    if not second.lstrip().startswith(b"{"):
        return False
    try:
        return isinstance(json.loads(first.decode("utf-8-sig")), dict)
    except (ValueError, RecursionError):
        return False
