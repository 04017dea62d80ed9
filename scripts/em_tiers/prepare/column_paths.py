"""Columns inside columns: `doc.question`, `resps[0]`, `responses[*].text`, `scores["a.b"].value`.

A path names a column of the file, then keys, places in lists, and `[*]` for every part of a list. A
column whose own name reads like a path, such as `doc.question` of a flattened table, comes first.
"""

import json
import re
from collections.abc import Collection, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from em_tiers.errors import UserError
from em_tiers.prepare.raw_rows import RawRow, header_of, read_rows

_STEP = re.compile(r"""\.?([^.\[\]"']+)|\[(\d+|\*)\]|\[(?:"([^"]+)"|'([^']+)')\]""")
_MISSING = object()
_MOST_PATHS = 60  # of one row, in a message


@lru_cache(maxsize=1000)
def steps_of(path: str) -> tuple[str | int, ...]:
    """The steps of a path; a name that cannot be read as one is a single step."""
    steps: list[str | int] = []
    place = 0
    while place < len(path):
        found = _STEP.match(path, place)
        if not found or (place == 0 and path[0] in ".["):
            return (path,)
        name, index, *quoted = found.groups()
        number = int(index) if index and index != "*" else index
        steps.append(name or next(filter(None, quoted), number))
        place = found.end()
    return tuple(steps) or (path,)


def read_columns(path: Path, columns: Collection[str] | None) -> Iterator[RawRow]:
    """Rows as `read_rows` reads them, with the value of each path that a row has.

    Raises:
        UserError: as `read_rows`.
    """
    if columns is None or all(len(steps_of(column)) == 1 for column in columns):
        yield from read_rows(path, columns)
        return
    wanted = {*columns, *(steps_of(column)[0] for column in columns)}
    for raw in read_rows(path, wanted):
        if not isinstance(raw.data, dict):
            yield raw
            continue
        found = {c: value for c in columns if (value := value_at(raw.data, c)) is not _MISSING}
        others = tuple(name for name in raw.data if name not in found)
        yield RawRow(raw.file, raw.number, found, raw.problem, (*raw.unread, *others))


def value_at(row: dict[str, Any], path: str) -> Any:
    """The value of a path in a row; _MISSING where the row does not have it."""
    return row[path] if path in row else _below(row, steps_of(path))


def columns_until(path: Path, needed: Collection[str]) -> list[str]:
    """The columns of a file, read from its start until all of `needed` have appeared.

    Where a needed path has not appeared, the paths below its column are among them.
    """
    header = dict.fromkeys(header_of(path))
    if header.keys() >= set(needed):
        return list(header)
    columns = dict(header)
    tops = {steps_of(column)[0] for column in needed}
    for row in read_rows(path, {*needed, *tops}):
        if not isinstance(row.data, dict):
            continue
        columns |= dict.fromkeys([*row.data, *row.unread])
        columns |= {c: None for c in needed if value_at(row.data, c) is not _MISSING}
        if columns.keys() >= set(needed):
            break
        for column in needed:
            steps = steps_of(column)
            if column not in columns and len(steps) > 1 and steps[0] in row.data:
                columns |= dict.fromkeys(paths_below(str(steps[0]), row.data[steps[0]]))
        if header and not any(len(steps_of(c)) > 1 for c in needed):
            break
    return list(columns)


def paths_below(name: str, value: Any) -> list[str]:
    """The paths of the texts and numbers below a column, as far as a message can show them."""
    found: list[str] = []
    waiting = [(name, value)]
    while waiting and len(found) < _MOST_PATHS:
        path, part = waiting.pop(0)
        if isinstance(part, dict):
            waiting += [(path + _key(key), below) for key, below in part.items()]
        elif isinstance(part, list) and part:
            waiting.append((f"{path}[0]", part[0]))
        else:
            found.append(path)
    return found


def check_path(column: str, where: str) -> None:
    """Refuse a path with a bracket that cannot be read.

    Raises:
        UserError: naming the path.
    """
    if re.search(r"\[(?:\d+|\*|['\"])", column) and len(steps_of(column)) == 1:
        raise UserError(
            f"{where}: {column!r} cannot be read as a path: write it like doc.question, resps[0], "
            'responses[*].text or scores["a name"].value'
        )


def _key(key: str) -> str:
    return f".{key}" if re.fullmatch(r"[^.\[\]\"']+", key) else f'["{key}"]'


def _below(value: Any, steps: tuple[str | int, ...]) -> Any:
    for number, step in enumerate(steps):
        if number and isinstance(value, str):
            value = _parsed(value)
        if step == "*":
            if not isinstance(value, list):
                return _MISSING
            parts = [_below(part, steps[number + 1 :]) for part in value]
            return [None if part is _MISSING else part for part in parts]
        if isinstance(step, int):
            if not isinstance(value, list) or step >= len(value):
                return _MISSING
        elif not isinstance(value, dict) or step not in value:
            return _MISSING
        value = value[step]
    return value


def _parsed(text: str) -> Any:
    """JSON in a column of text, as CSV files have it; the text itself where it is none."""
    try:
        return json.loads(text) if text.lstrip()[:1] in ("{", "[") else text
    except (ValueError, RecursionError):
        return text
