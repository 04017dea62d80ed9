"""Append-only journals of finished requests, so that no request is answered twice.

A journal is a folder of JSON-lines files, one per writer. SQLite is not safe on cluster file
systems; a plain file that only ever grows is. A line is one finished request:
`{"key": ..., "record": {...}, "sha256": ...}`, with the first digits of the hash of all before
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
        spare_bytes: disk space to hold until the end. When the disk is full, it takes the answers
            that are under way and paid for.

    Raises:
        UserError: on entry, when another live job writes under the same name, or when the disk has
            no room for the spare bytes.
    """

    def __init__(self, folder: Path | str, writer: str, spare_bytes: int = 0):
        self.folder = Path(folder)
        self._spare = self.folder / f"{writer}.spare"
        self._spare_bytes = spare_bytes
        self.path = self.folder / f"{writer}.jsonl"
        self._lease = Lease(self.folder / f"{writer}.lease")
        self._handle = -1
        self._synced = 0.0

    def __enter__(self) -> "Journal":
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lease.acquire()
        self._handle = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o644)
        _cut_torn_line(self._handle)
        if self._spare_bytes:
            self._hold_spare()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._spare.unlink(missing_ok=True)
        os.fsync(self._handle)
        os.close(self._handle)
        self._handle = -1
        self._lease.release()

    def _hold_spare(self) -> None:
        try:
            self._spare.write_bytes(b"\0" * self._spare_bytes)
        except OSError as error:
            self.__exit__(None, None, None)
            raise TemporaryError(
                f"{self.folder}: cannot be written ({error.strerror}): free at least "
                f"{self._spare_bytes:,} bytes there, then run again; nothing was asked"
            ) from None

    def read(self, keys: Iterable[str]) -> dict[str, Any]:
        """Records of the wanted keys that are done, from every writer's file."""
        return read_journal(self.folder, keys)

    def append(self, key: str, record: Any) -> None:
        """Write one finished request; it survives a kill of this process from here on.

        Raises:
            TemporaryError: another job has taken over this journal; two writers would mix. Or the
                disk is full: the record was written all the same, if there were spare bytes.
        """
        if self._lease.lost:
            raise TemporaryError(
                f"{self.path}: this journal was taken over by another job: let that job finish, "
                "then run again"
            )
        # One write call per line: the kernel appends it whole, or a kill leaves a tail without a
        # newline that the next writer cuts.
        line = line_of(key, record)
        try:
            _write_all(self._handle, line)
        except OSError as error:
            _cut_torn_line(self._handle)
            if not self._spare.exists():
                raise
            self._spare.unlink()
            _write_all(self._handle, line)
            raise TemporaryError(
                f"{self.folder}: cannot be written ({error.strerror}): free space there, then run "
                "again"
            ) from None
        if time.monotonic() - self._synced > _FSYNC_EVERY_S:
            os.fsync(self._handle)
            self._synced = time.monotonic()


def line_of(key: str, record: Any) -> bytes:
    """The line of one finished request."""
    entry = {"key": key, "record": record}
    content = json.dumps(entry, ensure_ascii=True, separators=(",", ":")).encode()
    content = content.removesuffix(b"}")
    return content + _HASH + _digest(content) + b'"}\n'


def read_journal(folder: Path | str, keys: Iterable[str] | None = None) -> dict[str, Any]:
    """Records by key from every file of a journal folder; all of them when `keys` is None.

    A line that cannot be read counts as not done: its request will be repeated.
    """
    return dict(iterate_journal(folder, keys))


def iterate_journal(
    folder: Path | str, keys: Iterable[str] | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """As `read_journal`, one (key, record) after the other; a key may come several times."""
    wanted = None if keys is None else set(keys)
    for path in sorted(Path(folder).glob("*.jsonl")):
        for key, line in _lines(path, wanted):
            try:
                yield key, parse_line(line)
            except ValueError as error:
                LOG.warning("journal %s: the line of key %s is ignored: %s", path, key, error)


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
