"""Rows of training data from JSONL, JSON, CSV and Parquet files, one by one.

A row that cannot be read is returned with the reason, so that the caller can count such rows. A
file that cannot be trusted as a whole (broken quoting, not a table, empty) is an error. Only the
columns that the caller names are kept, and of Parquet only they are read: what is in another
column stops nothing.
"""

import csv
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from em_tiers.download.data_files import FORMATS, compression_of, format_of
from em_tiers.errors import UserError
from em_tiers.prepare.inspect_log import eval_rows
from em_tiers.prepare.json_rows import Row, holds_lines, is_list, json_lines, json_list
from em_tiers.prepare.opened import open_bytes, open_text, packed_as
from em_tiers.prepare.outside_text import is_header

_BATCH = 4096  # rows of a Parquet file in memory at once
_LARGEST_CHEAP_JSON = 10_000_000  # bytes: about 0.1 s


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row of a file.

    Attributes:
        file: the file's name.
        number: the row's number in its file, from 1 (of a JSONL file: the line).
        data: the row by column, with the wanted columns only; only the readable part of it when
            `problem` is set.
        problem: why the row cannot be used, or None.
        unread: the names of the row's other columns.
    """

    file: str
    number: int
    data: Any
    problem: str | None = None
    unread: tuple[str, ...] = ()


def read_rows(path: Path, columns: Collection[str] | None = None) -> Iterator[RawRow]:
    """Yield a file's rows; the ending of its name says its format.

    Args:
        columns: the only columns to read; None reads all.

    Raises:
        UserError: the file is empty, cannot be read, or is not a table; a wanted column is twice
            in a table.
    """
    path = Path(path)
    kind = format_of(path.name)
    if kind is None:
        raise UserError(f"{path.name}: unknown format: use one of {', '.join(sorted(FORMATS))}")
    if path.stat().st_size == 0:
        raise UserError(f"{path.name}: this file is empty: download it again, or check the source")
    _check_encoding(path, kind)
    if kind == "json" and holds_lines(path):
        kind = "jsonl"
    elif kind == "jsonl" and is_list(path):
        kind = "json"
    readers = {
        "jsonl": json_lines,
        "json": json_list,
        "csv": _csv,
        "parquet": _parquet,
        "eval": eval_rows,
    }
    for number, data, problem, unread in readers[kind](path, columns):
        if problem is None and isinstance(data, dict) and is_header(data):
            problem = "the header again"
        yield RawRow(path.name, number, data, problem, unread)


def header_of(path: Path) -> list[str]:
    """The columns that a file states before its rows; none for JSON and JSONL."""
    path = Path(path)
    kind = format_of(path.name)
    if kind == "parquet":
        return list(_open_parquet(path).schema_arrow.names)
    if kind == "csv":
        _check_encoding(path, kind)
        with open_text(path, newline="") as file:
            header = next(_csv_reader(file, path), [])
        _check_separator(path, header)
        return header
    return []


def plain_columns(path: Path) -> list[str]:
    """The columns of text or whole numbers, as far as a file tells: of JSON those of one row."""
    path = Path(path)
    if format_of(path.name) == "parquet":
        from pyarrow import types

        plain = (types.is_string, types.is_large_string, types.is_integer)
        schema = _open_parquet(path).schema_arrow
        kinds = {
            part.name: part.type.value_type if types.is_dictionary(part.type) else part.type
            for part in schema
        }
        header = [name for name, kind in kinds.items() if any(is_kind(kind) for is_kind in plain)]
        counts = Counter(schema.names)
    else:
        first = next(iter(read_rows(path, ())), None)
        header = list(first.unread) if first else []
        counts = Counter(header)
    return [name for name in header if counts[name] == 1]


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
    """Whether a file's first rows can be read at once: a list in JSON must be read whole."""
    kind = format_of(path.name)
    return kind != "json" or holds_lines(path) or path.stat().st_size <= _LARGEST_CHEAP_JSON


def _csv(path: Path, columns: Collection[str] | None) -> Iterator[Row]:
    with open_text(path, newline="") as file:
        rows = _csv_reader(file, path)
        header = next(rows, [])
        _check_separator(path, header)
        _check_once(path, header, columns)
        places = [n for n, name in enumerate(header) if columns is None or name in columns]
        unread = tuple(name for n, name in enumerate(header) if n not in set(places))
        for number, row in enumerate(rows, start=1):
            if not row:
                continue
            if len(row) > 1 and row != header and sorted(row) == sorted(header):
                raise UserError(
                    f"{path.name}, row {number}: a second header has the columns in another order "
                    "than the first, as two files put together have: give the files one by one"
                )
            problem = None if len(row) == len(header) else "wrong number of fields"
            yield number, {header[n]: row[n] for n in places if n < len(row)}, problem, unread


def _check_once(path: Path, header: Sequence[str], columns: Collection[str] | None) -> None:
    """Refuse a wanted column that is there twice: one of the two would win unseen."""
    counts = Counter(header)
    twice = [c for c in counts if counts[c] > 1 and (columns is None or c in columns)]
    if twice:
        raise UserError(
            f"{path.name}: two columns have the same name, {twice[0]!r}, in {list(header)}: "
            "rename or remove one"
        )


def _check_separator(path: Path, header: Sequence[str]) -> None:
    """Refuse a file whose fields are separated otherwise than its ending says."""
    if len(header) != 1:
        return
    wanted = "tabs" if _is_tsv(path) else "commas"
    for mark, found in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars"), (",", "commas")):
        if mark in header[0]:
            remedy = {"tabs": ", or name it .tsv", "commas": ", or name it .csv"}.get(found, "")
            raise UserError(
                f"{path.name}: its first line is separated by {found}, not by {wanted}: save the "
                f"file with {wanted}{remedy}"
            )


def _check_encoding(path: Path, kind: str) -> None:
    with path.open("rb") as file:
        packed = packed_as(file.read(6))
    named = compression_of(path.name)
    if packed != named and named:
        raise UserError(f"{path.name}: this file is not compressed as {named}: correct its name")
    if packed != named:
        raise UserError(
            f"{path.name}: this file is compressed: name it {path.name}{packed}, or unpack it"
        )
    with open_bytes(path) as file:
        start = file.read(4)
    if kind != "parquet" and start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise UserError(f"{path.name}: this file is in UTF-16: save it in UTF-8")
    if kind != "eval" and start == b"PK\x03\x04":
        raise UserError(f"{path.name}: this is a zip archive: unpack it, or name a log .eval")
    if kind != "parquet" and start == b"PAR1":
        raise UserError(f"{path.name}: this is a Parquet file: name it .parquet")


def _csv_reader(file: Any, path: Path) -> Iterator[list[str]]:
    csv.field_size_limit(sys.maxsize)
    # Strict: an unclosed quote would otherwise swallow the rest of the file as one field.
    reader = csv.reader(file, strict=True, delimiter="\t" if _is_tsv(path) else ",")
    try:
        yield from reader
    except csv.Error as error:
        raise UserError(
            f"{path.name}, line {reader.line_num}: the quoting is broken from here on ({error}): "
            "fix the file, or use another format"
        ) from error


def _is_tsv(path: Path) -> bool:
    name = path.name.lower()
    return name.removesuffix(compression_of(name)).endswith(".tsv")


def _parquet(path: Path, columns: Collection[str] | None) -> Iterator[Row]:
    import pyarrow

    number = 0
    file = _open_parquet(path)
    header = list(file.schema_arrow.names)
    _check_once(path, header, columns)
    wanted = [name for name in header if columns is None or name in columns]
    unread = tuple(name for name in header if name not in wanted)
    try:
        for batch in file.iter_batches(batch_size=_BATCH, columns=wanted):
            for data in batch.to_pylist() if wanted else [{}] * batch.num_rows:
                number += 1
                yield number, data, None, unread
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        raise UserError(
            f"{path.name}: row {number + 1} cannot be read ({error}): download the file again, or "
            "write its columns as text and numbers"
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
