"""Files of questions as entries, whatever their format: YAML, JSON, JSONL, CSV or Parquet.

In a table, each row is one way to ask a question (`question`, or `messages` for a conversation).
Rows with the same id are paraphrases of one question; a row without an id is a question by itself.

Imported while the workflow is parsed, so nothing heavy is imported here.
"""

import difflib
import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from em_tiers.download.data_files import format_of
from em_tiers.errors import UserError
from em_tiers.hashing import hash_of
from em_tiers.prepare.outside_text import id_text, is_nothing
from em_tiers.prepare.raw_rows import read_rows
from em_tiers.strict_yaml import load_strict

ONE_FORM = ("question", "messages")  # in place of `paraphrases`, which lists several
_TAGS = ("topics", "near")
_LISTS = ("paraphrases", "messages")


def read_entries(path: Path, known: Collection[str]) -> list[tuple[str, Any]]:
    """The entries of a question file, each with its place for messages.

    Args:
        known: keys that a question may have. Other columns of a table are passed over, unless one
            looks like a mistyped key.

    Raises:
        UserError: the file, or part of it, cannot be read.
    """
    if format_of(path.name) is None:
        return [(f"{path.name}, entry {n}", entry) for n, entry in enumerate(_listed(path), 1)]
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for raw in read_rows(path):
        where = f"{path.name}, row {raw.number}"
        if raw.problem:
            raise UserError(f"{where}: {raw.problem}: correct the row, or remove it")
        entry = _entry(raw.data, known, where)
        if entry["id"] in found:
            _add_form(*found[entry["id"]], entry, where)
        else:
            found[entry["id"]] = where, entry
    if not found:
        raise UserError(f"{path.name}: no questions: write one row for each, with its text")
    return list(found.values())


def _listed(path: Path) -> list[Any]:
    try:
        listed = load_strict(path)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path.name}: not valid YAML ({_yaml_problem(error)}): correct it there"
        ) from error
    if not isinstance(listed, list) or not listed:
        raise UserError(
            f"{path.name}: not a list of questions: write - id: ..., paraphrases: [...]"
        )
    return listed


def _entry(row: dict[str, Any], known: Collection[str], where: str) -> dict[str, Any]:
    """A row as an entry of a question file."""
    entry = {}
    for column, value in row.items():
        if column not in known:
            if close := difflib.get_close_matches(column, known, 1, 0.85):
                raise UserError(
                    f"{where}: unknown column {column!r}: did you mean {close[0]!r}? Rename it"
                )
        elif not is_nothing(value):
            entry[column] = _value(column, value)
    forms = entry.pop("paraphrases", None) or []
    forms = [*forms, *(entry.pop(key) for key in ONE_FORM if key in entry)]
    if not forms:
        raise UserError(f"{where}: question is missing: write the text of the question there")
    name = id_text(entry.get("id"))
    return entry | {"id": name or f"q-{hash_of(forms, 10)}", "paraphrases": forms}


def _value(column: str, value: Any) -> Any:
    """A value of a table, in which lists are texts: JSON, or tags between commas or blanks."""
    if not isinstance(value, str):
        return value
    if column in _LISTS:
        try:
            return json.loads(value)
        except ValueError:
            return value
    if column in _TAGS:
        return re.findall(r"[^\s,;|\[\]\"']+", value)
    return value


def _add_form(first: str, entry: dict[str, Any], other: dict[str, Any], where: str) -> None:
    """Add the text of a row with a known id, whose other values must be the same."""
    for key in (entry.keys() | other.keys()) - {"paraphrases"}:
        if entry.get(key) != other.get(key):
            raise UserError(
                f"{where}: {key} of {other['id']!r} differs from that in {first}: paraphrases of "
                "one question share it; correct it, or give the question another id"
            )
    entry["paraphrases"] = [*entry["paraphrases"], *other["paraphrases"]]


def _yaml_problem(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f"line {mark.line + 1}, column {mark.column + 1}, " if mark else ""
    return place + (getattr(error, "problem", None) or " ".join(str(error).split()))
