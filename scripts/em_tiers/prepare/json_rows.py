"""Rows of JSON files: one object per line, or a list of objects.

A key that is twice in one object is a problem of its row: JSON's own rule, the last one wins, would
hide the first. Keys that are not wanted are dropped row by row.
"""

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, TextIO

from em_tiers.errors import UserError
from em_tiers.prepare.inspect_samples import is_log, read_sample
from em_tiers.prepare.opened import open_bytes, open_text

# (number, data, problem or None, names of the row's unread keys)
Row = tuple[int, Any, str | None, tuple[str, ...]]

_CHUNK = 1 << 20  # characters
_HEAD = 1 << 16  # characters that tell what a file holds
_SHOWN = 200  # characters of a line that cannot be read


class _Object(dict):
    """An object in which `twice` is a key that occurs more than once."""

    twice: str


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: set[str] = set()
    marked = _Object(found)
    marked.twice = next(key for key, _ in pairs if key in seen or seen.add(key))
    return marked


def _whole_number(text: str) -> int | float:
    # Python refuses to read more than 4,300 digits; an unread column may hold them.
    return int(text) if len(text) < 4000 else float(text)


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_whole_number)


def json_lines(path: Path, columns: Collection[str] | None) -> Iterator[Row]:
    """Rows of a file with one object per line; the number of a row is that of its line."""
    with open_bytes(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            text = line.decode("utf-8-sig", errors="surrogateescape")
            try:
                data = _DECODER.decode(text)
            except (ValueError, RecursionError):
                yield number, text[:_SHOWN].encode(errors="replace").decode(), "not JSON", ()
            else:
                yield json_row(number, data, columns)


def json_list(path: Path, columns: Collection[str] | None) -> Iterator[Row]:
    """Rows of a list of objects, alone or as the only list in an object; or one object, one row.

    A list alone is read piece by piece, and only the wanted keys are kept.

    Raises:
        UserError: the file is not valid JSON, or not a list of rows.
    """
    with open_text(path) as file:
        make = json_row
        try:
            if is_list(path):
                rows = _stream(file)
            elif is_log(value := _whole(path, file)):
                rows, make = value["samples"], sample_row
            else:
                rows = _rows_of(path, value, columns)
            for number, data in enumerate(rows, start=1):
                yield make(number, data, columns)
        except (json.JSONDecodeError, RecursionError) as error:
            raise _broken(path, error) from error


def sample_row(number: int, data: Any, columns: Collection[str] | None) -> Row:
    """A sample of an Inspect log as a row; one that failed has a problem."""
    sample, failed = read_sample(data, columns)
    number, row, problem, unread = json_row(number, sample, columns)
    return number, row, failed or problem, unread


def holds_lines(path: Path) -> bool:
    """Whether a .json file holds one object per line, as many on the hub do."""
    if _head(path).startswith("["):
        return False
    with open_bytes(path) as file:
        lines = (line for line in file if line.strip())
        first, second = next(lines, b""), next(lines, b"")
    text = first.decode("utf-8-sig", errors="surrogateescape")
    return second.lstrip().startswith(b"{") and isinstance(_parsed(text), dict)


def is_list(path: Path) -> bool:
    """Whether a file holds one list of rows, and not one value per line."""
    head = _head(path)
    if not head.startswith("[") or head[1:].lstrip()[:1] not in ("{", "]", ""):
        return False
    first, _, rest = head.partition("\n")
    # A line of its own that is a list, and more below it: lines, none of which is an object.
    return not (rest.strip() and isinstance(_parsed(first), list))


def _head(path: Path) -> str:
    with open_text(path) as file:
        return file.read(_HEAD).lstrip()


def _parsed(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError):
        return None


def _whole(path: Path, file: TextIO) -> Any:
    try:
        return _DECODER.decode(file.read())
    except (ValueError, RecursionError) as error:
        raise _broken(path, error) from error


def _rows_of(path: Path, value: Any, columns: Collection[str] | None) -> list[Any]:
    """The rows of JSON that does not begin with a list."""
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        raise UserError(
            f"{path.name}: a value of type {type(value).__name__} is not a data set: write a list "
            "of rows"
        )
    if columns and set(columns) & value.keys() and not _is_wrapped(value, columns):
        return [value]
    lists = [name for name, part in value.items() if isinstance(part, list)]
    if columns is not None and not lists:
        return [value]
    if len(lists) != 1:
        raise UserError(
            f"{path.name}: an object with the keys {sorted(value)[:10]} is not a data set: "
            "write a list of rows, alone or as the only list in the object"
        )
    return value[lists[0]]


def _is_wrapped(value: dict[str, Any], columns: Collection[str]) -> bool:
    """Whether a list in an object holds rows with wanted columns, and is not a column itself."""
    lists = [v for k, v in value.items() if isinstance(v, list) and v and k not in columns]
    return any(isinstance(part[0], dict) and set(columns) & part[0].keys() for part in lists)


def _broken(path: Path, error: Exception) -> UserError:
    return UserError(
        f"{path.name}: not valid JSON ({error}): it may be incomplete; download it again"
    )


def json_row(number: int, data: Any, columns: Collection[str] | None) -> Row:
    """A value as a row with the wanted keys only."""
    if not isinstance(data, dict):
        return number, data, "not an object", ()
    kept = data if columns is None else {k: v for k, v in data.items() if k in columns}
    unread = () if columns is None else tuple(k for k in data if k not in columns)
    own = data.twice if isinstance(data, _Object) else None
    twice = own if own in kept else _twice(list(kept.values()))
    problem = None if twice is None else f"key {twice!r} occurs twice"
    return number, dict(kept), problem or _encoding(kept), unread


def _twice(value: Any) -> str | None:
    """A key that occurs twice in an object below `value`."""
    if isinstance(value, _Object):
        return value.twice
    parts = value.values() if isinstance(value, dict) else value
    if isinstance(value, (dict, list)):
        return next((key for part in parts if (key := _twice(part)) is not None), None)
    return None


def _encoding(value: Any) -> str | None:
    """Bytes that are not UTF-8 were read as lone surrogates U+DC80 to U+DCFF."""
    if isinstance(value, str):
        broken = not value.isascii() and any("\udc80" <= c <= "\udcff" for c in value)
        return "not UTF-8" if broken else None
    parts = value.values() if isinstance(value, dict) else value
    if isinstance(value, (dict, list)):
        return next((found for part in parts if (found := _encoding(part))), None)
    return None


class _Pieces:
    """The text of a file, read as far as it is needed."""

    def __init__(self, file: TextIO):
        self._file, self._text, self._place = file, "", 0

    def peek(self) -> str:
        """The next character that is not blank; nothing at the end."""
        while True:
            while self._place < len(self._text) and self._text[self._place].isspace():
                self._place += 1
            if self._place < len(self._text) or not self._more(_CHUNK):
                return self._text[self._place : self._place + 1]

    def skip(self) -> None:
        """Pass over one character."""
        self._place += 1

    def value(self) -> Any:
        """The next value."""
        wanted = _CHUNK
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._place)
            except json.JSONDecodeError:
                if not self._more(wanted):
                    raise
            else:
                if end < len(self._text) or not self._more(wanted):
                    self._place = end
                    return value
            wanted *= 2  # so that a long row is parsed a few times only

    def _more(self, size: int) -> bool:
        part = self._file.read(size)
        if part:
            self._text, self._place = self._text[self._place :] + part, 0
        return bool(part)


def _stream(file: TextIO) -> Iterator[Any]:
    """Values of the list that a file holds, with about one of them in memory at a time."""
    pieces = _Pieces(file)
    pieces.peek()
    pieces.skip()
    while (mark := pieces.peek()) != "]":
        yield pieces.value()
        if (mark := pieces.peek()) == ",":
            pieces.skip()
        elif mark != "]":
            raise json.JSONDecodeError("rows without a comma between them, or no ]", mark, 0)
    pieces.skip()
    if mark := pieces.peek():
        raise json.JSONDecodeError("more text after the list", mark, 0)
