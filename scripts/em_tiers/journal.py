"""Append-only journals of finished requests, so that no request is answered twice.

A journal is a folder of JSON-lines files, one per writer. SQLite is not safe on cluster file
systems; a plain file that only ever grows is. A line is one finished request:
`{"key": ..., "record": {...}, "sha256": ...}`, with the first digits of the hash of what is before
it. A kill can tear the last line only, and the next writer cuts it. A line that was changed
afterwards, by a disk or by hand, counts as not done. Lines of version 0.1 have no hash.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from em_tiers.errors import TemporaryError
from em_tiers.lease import Lease
from em_tiers.logs import LOG

_PREFIX = b'{"key":"'
_HASH = b',"sha256":"'
_HASH_DIGITS = 12
_FSYNC_EVERY_S = 1.0


class Journal:
    """The journal in `folder`, written under the name `writer`.

    Args:
        folder: holds `{writer}.jsonl` for each writer so far; all of them are read.
        writer: names the file that this job appends to; one live job per name.

    Raises:
        UserError: on entry, when another live job writes under the same name.
    """

    def __init__(self, folder: Path | str, writer: str):
        self.folder = Path(folder)
        self.path = self.folder / f"{writer}.jsonl"
        self._lease = Lease(self.folder / f"{writer}.lease")
        self._handle = -1
        self._synced = 0.0

    def __enter__(self) -> "Journal":
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lease.acquire()
        self._handle = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o644)
        _cut_torn_line(self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.fsync(self._handle)
        os.close(self._handle)
        self._handle = -1
        self._lease.release()

    def read(self, keys: Iterable[str]) -> dict[str, Any]:
        """Records of the wanted keys that are done, from every writer's file."""
        return read_journal(self.folder, keys)

    def append(self, key: str, record: Any) -> None:
        """Write one finished request; it survives a kill of this process from here on.

        Raises:
            TemporaryError: another job has taken over this journal; two writers would mix.
        """
        if self._lease.lost:
            raise TemporaryError(
                f"{self.path}: this journal was taken over by another job: let that job finish, "
                "then run again"
            )
        line = json.dumps(
            {"key": key, "record": record}, ensure_ascii=True, separators=(",", ":")
        ).encode()
        content = line.removesuffix(b"}")
        # One write call per line: the kernel appends it whole, or a kill leaves a tail without a
        # newline that the next writer cuts.
        _write_all(self._handle, content + _HASH + _digest(content) + b'"}\n')
        if time.monotonic() - self._synced > _FSYNC_EVERY_S:
            os.fsync(self._handle)
            self._synced = time.monotonic()


def read_journal(folder: Path | str, keys: Iterable[str] | None = None) -> dict[str, Any]:
    """Records by key from every file of a journal folder; all of them when `keys` is None.

    A line that cannot be read counts as not done: its request will be repeated.
    """
    wanted = None if keys is None else set(keys)
    found: dict[str, Any] = {}
    for path in sorted(Path(folder).glob("*.jsonl")):
        for key, line in _lines(path, wanted):
            try:
                found[key] = parse_line(line)
            except ValueError as error:
                LOG.warning("journal %s: the line of key %s is ignored: %s", path, key, error)
    return found


def parse_line(line: bytes) -> dict[str, Any]:
    """The record of a line.

    Raises:
        ValueError: the line is not what `Journal.append` wrote.
    """
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError("it is not JSON") from error
    keys = entry.keys() if isinstance(entry, dict) else ()
    if not {"key", "record"} <= keys <= {"key", "record", "sha256"}:
        raise ValueError("it is not a finished request")
    if not isinstance(entry["record"], dict):
        raise ValueError("its record is not an object")
    content, hashed, _ = line.rpartition(_HASH)
    if "sha256" in keys and not (hashed and entry["sha256"] == _digest(content).decode()):
        raise ValueError("it was changed after it was written")
    return entry["record"]


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest()[:_HASH_DIGITS].encode()


def _lines(path: Path, wanted: set[str] | None) -> Iterator[tuple[str, bytes]]:
    """Lines whose key is wanted; the others are passed over without parsing their JSON."""
    with path.open("rb") as file:
        for line in file:
            end = line.find(b'"', len(_PREFIX))
            if not line.endswith(b"\n") or not line.startswith(_PREFIX) or end < 0:
                continue
            key = line[len(_PREFIX) : end].decode(errors="replace")
            if wanted is None or key in wanted:
                yield key, line


def _write_all(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]


def _cut_torn_line(handle: int) -> None:
    """Cut the incomplete line that a kill left after the last newline."""
    size = os.lseek(handle, 0, os.SEEK_END)
    end = size
    while end:
        start = max(0, end - 65536)
        block = os.pread(handle, end - start, start)
        position = block.rfind(b"\n")
        if position >= 0:
            end = start + position + 1
            break
        end = start
    if end != size:
        os.ftruncate(handle, end)
