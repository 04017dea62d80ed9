"""Atomic writes, so that a file is complete or absent, and checksums."""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from em_tiers.errors import UserError

_REMEDY = "delete it, or the folder that it describes, and run again"


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it when the block succeeds.

    A reader sees the old file or the whole new one. The temporary file is fsynced before the
    rename, because a rename may reach the disk of a cluster file system before the data does.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: Path | str) -> Iterator[Path]:
    """Yield an empty folder beside `path`; it replaces `path` when the block succeeds."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part"))
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        if path.exists():
            shutil.rmtree(path)
        temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_abandoned(path: Path | str) -> None:
    """Remove the parts that killed writers of `path` left; the caller must be its only writer."""
    path = Path(path)
    # tempfile adds eight letters: `a.b` must not remove the parts of `a.b.c`.
    part = re.compile(rf"\.{re.escape(path.name)}\.\w{{8}}\.part")
    for sibling in path.parent.glob(".*.part"):
        if not part.fullmatch(sibling.name):
            continue
        if sibling.is_dir():
            shutil.rmtree(sibling)
        else:
            sibling.unlink()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: Any) -> None:
    """Write indented JSON with sorted keys atomically: the same value gives the same bytes."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: Path | str) -> Any:
    """Read a JSON file.

    Raises:
        UserError: the file holds something else; a missing file raises OSError.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # not UTF-8, or not JSON
        raise UserError(f"{path}: damaged, not JSON ({error}): {_REMEDY}") from error


def read_record(path: Path | str, keys: Mapping[str, type | tuple[type, ...]]) -> dict[str, Any]:
    """Read a JSON object that has at least these keys, with values of these types.

    Raises:
        UserError: the file holds something else; a missing file raises OSError.
    """
    found = read_json(path)
    if not isinstance(found, dict):
        raise UserError(f"{path}: damaged, not a JSON object: {_REMEDY}")
    wrong = [key for key, kind in keys.items() if not isinstance(found.get(key), kind)]
    if wrong:
        raise UserError(f"{path}: damaged, {', '.join(wrong)} missing or malformed: {_REMEDY}")
    return found


def sha256_of_file(path: Path | str) -> str:
    """Hex SHA-256 of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_folder(folder: Path | str, patterns: tuple[str, ...] = ("**/*",)) -> str:
    """Hex SHA-256 over the sorted (relative path, SHA-256) pairs of the files that match."""
    folder = Path(folder)
    files = sorted({p for pattern in patterns for p in folder.glob(pattern) if p.is_file()})
    lines = [f"{p.relative_to(folder).as_posix()}\0{sha256_of_file(p)}\n" for p in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
