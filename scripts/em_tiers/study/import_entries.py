"""Imports as single models: an entry for each file, each value of `split_by`, and each seed.

An expanded entry is one that a user could have written, so that a configuration in an archive,
which holds expanded entries, is read in the same way.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from em_tiers.errors import ConfigError, UserError
from em_tiers.files import sha256_of_file
from em_tiers.prepare.import_rows import distinct_values
from em_tiers.prepare.inspect_samples import COLUMNS
from em_tiers.study.study import Study

LONGEST_ID = 48


def slug(text: str) -> str:
    """A text as part of an id; empty if nothing of it can be."""
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")


def expand_imports(study: Study) -> list[dict[str, Any]]:
    """The entries of config.imports, each of one model and one training seed.

    Raises:
        ConfigError: no file fits, a column cannot be used, or two models would have one id.
    """
    found: list[dict[str, Any]] = []
    for entry in study.config["imports"]:
        where = f"config.imports.{entry['id']}"
        entry["columns"] = _columns(entry, where)
        for one in _single(study, entry, where):
            if one is not entry and one["id"] in [other["id"] for other in found]:
                raise ConfigError(
                    f"{where}: two models have the id {one['id']!r}: write one entry for each, "
                    "with where and an id of its own"
                )
            if one["id"] == entry["base"] and one is not entry:
                # The base model is itself one of the models in the file.
                one |= {"base": None, "role": "base", "dataset": None}
            found.append(one)
    bases = {entry["base"] for entry in found}
    for entry in found:
        if entry["id"] in bases and entry["role"] == "imported":
            entry["role"] = "base"
    return found


def _columns(entry: dict[str, Any], where: str) -> dict[str, str]:
    """The columns of an import; those of a log of Inspect are known."""
    known = COLUMNS if entry["path"].lower().endswith(".eval") else {}
    columns = known | entry["columns"]
    for name in ("question", "answer"):
        if name not in columns:
            raise ConfigError(
                f"{where}.columns.{name}: missing: write the column of each {name}, such as "
                f"columns: {{question: question, answer: answer}}"
            )
    return dict(sorted(columns.items()))


def _single(study: Study, entry: dict[str, Any], where: str) -> Iterator[dict[str, Any]]:
    for file in _files(study, entry, where):
        for model in _split(study, file, where):
            yield from _seeds(study, model, where)


def _files(study: Study, entry: dict[str, Any], where: str) -> Iterator[dict[str, Any]]:
    """An entry for each file that fits a path with `*`, named after what the `*` stand for."""
    if "*" not in entry["path"]:
        yield entry
        return
    pattern = str(Path(entry["path"]).expanduser())
    roots = [Path("/")] if pattern.startswith("/") else [study.workdir, study.root]
    root, paths = next(((r, found) for r in roots if (found := _matches(r, pattern))), (None, []))
    if not root:
        raise ConfigError(f"{where}.path: no file fits {entry['path']!r}: correct the pattern")
    _check_twins(root, paths, where)
    parts = re.compile(re.escape(pattern).replace(r"\*", "([^/]*)"))
    for path in paths:
        name = "-".join(parts.fullmatch(path).groups())
        yield _named(entry, name, where) | {"path": path}


def _matches(root: Path, pattern: str) -> list[str]:
    """Files that fit a pattern, as paths of its form."""
    found = (path for path in root.glob(pattern.lstrip("/")) if path.is_file())
    start = "/" if pattern.startswith("/") else ""
    return sorted(start + path.relative_to(root).as_posix() for path in found)


def _check_twins(root: Path, paths: list[str], where: str) -> None:
    """Refuse two files that hold the same: their answers would count as those of two models."""
    seen: dict[Any, str] = {}
    sizes = Counter((root / path).stat().st_size for path in paths)
    for path in paths:
        file = root / path
        size = file.stat().st_size
        content = sha256_of_file(file) if sizes[size] > 1 else path
        for key, words in (
            (file.with_suffix(""), "differ in their ending only"),
            (content, "have the same content"),
        ):
            if (first := seen.setdefault(key, path)) != path:
                raise ConfigError(
                    f"{where}.path: {first} and {path} {words}: write a pattern that fits one of "
                    "them"
                )


def _split(study: Study, entry: dict[str, Any], where: str) -> Iterator[dict[str, Any]]:
    """An entry for each value of the column `split_by`."""
    column = entry["split_by"]
    if column is None:
        yield entry
        return
    for value in _values(study, entry, column, f"{where}.split_by"):
        rows = {"where": entry["where"] | {column: value}, "split_by": None}
        yield _named(entry, value, where) | rows


def _seeds(study: Study, entry: dict[str, Any], where: str) -> Iterator[dict[str, Any]]:
    """An entry for each value of the column of training seeds."""
    column = entry["columns"].get("training_seed")
    if column is None:
        yield entry
        return
    columns = {key: name for key, name in entry["columns"].items() if key != "training_seed"}
    if entry["id"] == entry["base"]:  # the base model, which was not trained here
        yield entry | {"columns": columns}
        return
    for value in _values(study, entry, column, f"{where}.columns.training_seed"):
        if not value.isdecimal():
            raise ConfigError(
                f"{where}.columns.training_seed: {value!r} in column {column!r} is not a whole "
                "number: name the column of the seeds"
            )
        yield _named(entry, f"s{value}", where, f", seed {value}") | {
            "columns": columns,
            "where": entry["where"] | {column: value},
            "training_seed": int(value),
        }


def _values(study: Study, entry: dict[str, Any], column: str, where: str) -> list[str]:
    path = study.workdir / study.find_file(entry["path"])
    if not path.is_file():
        raise ConfigError(
            f"{where.rsplit('.', 1)[0]}.path: no such file {entry['path']!r}: correct the path, or "
            "put the file there"
        )
    try:
        return distinct_values(path, column, entry["where"])
    except UserError as error:
        raise ConfigError(f"{where}: {error}") from error


def _named(
    entry: dict[str, Any], value: str, where: str, label: str | None = None
) -> dict[str, Any]:
    """The entry with an id and a label that tell it from the others."""
    ending = slug(value)
    name = f"{entry['id']}-{ending}" if ending else entry["id"]
    if len(name) > LONGEST_ID:
        raise ConfigError(
            f"{where}.id: {name!r} is longer than {LONGEST_ID} characters: shorten the id, or "
            "write one entry for each model, with where"
        )
    before = entry["label"] or ("" if label is None else entry["id"])
    return entry | {"id": name, "label": f"{before}{label or f' {value}'}".strip()}
