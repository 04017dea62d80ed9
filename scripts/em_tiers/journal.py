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
from array import array
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
_JSON = json.JSONEncoder(separators=(",", ":"))  # json.dumps makes one for each call


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
        self._index: _Index | None = None
        self._own: dict[str, int] = {}  # where this job's lines begin

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
        """Records of the wanted keys that are done, from every writer's file.

        The files are read once, when the job first asks; what it writes afterwards is known too.
        """
        if self._index is None:
            self._index = _Index(self.folder)
            self._own.clear()
        found = {}
        for key in dict.fromkeys(keys):
            if key in self._own:
                found[key] = parse_line(_line_at(self._handle, self._own[key]))
            elif (record := self._index.record(key)) is not None:
                found[key] = record
        return found

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
        begin = os.lseek(self._handle, 0, os.SEEK_END)
        try:
            _write_all(self._handle, line)
            self._own[key] = begin
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


class _Index:
    """Where each line of a folder's files begins, in some 26 bytes per line."""

    def __init__(self, folder: Path):
        self._paths = sorted(folder.glob("*.jsonl"))
        hashes, self._files, self._begins = array("q"), array("H"), array("Q")
        for number, path in enumerate(self._paths):
            for key, begin in _beginnings(path):
                hashes.append(hash(key))
                self._files.append(number)
                self._begins.append(begin)
        import numpy as np  # heavy, and not needed while the workflow is parsed

        found = np.array(hashes, np.int64)
        # Sorted by hash; equal ones stay in the order of the files.
        self._order = np.argsort(found, kind="stable")
        self._hashes = found[self._order]

    def record(self, key: str) -> dict[str, Any] | None:
        """The last record of a key that can be read."""
        wanted, found = hash(key), None
        first = int(self._hashes.searchsorted(wanted))
        for place in range(first, len(self._hashes)):
            if self._hashes[place] != wanted:
                break
            line = int(self._order[place])
            found = self._read(key, self._files[line], self._begins[line]) or found
        return found

    def _read(self, key: str, number: int, begin: int) -> dict[str, Any] | None:
        with self._paths[number].open("rb") as file:
            file.seek(begin)
            line = file.readline()
        if _key_of(line) != key:
            return None
        try:
            return parse_line(line)
        except ValueError as error:
            path = self._paths[number]
            LOG.warning("journal %s: the line of key %s is ignored: %s", path, key, error)
            return None


def line_of(key: str, record: Any) -> bytes:
    """The line of one finished request."""
    entry = {"key": key, "record": record}
    content = _JSON.encode(entry).encode().removesuffix(b"}")
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
            key = _key_of(line)
            if key is not None and (wanted is None or key in wanted):
                yield key, line


def _key_of(line: bytes) -> str | None:
    """The key of a whole line, without parsing its JSON; None for no such line."""
    end = line.find(b'"', len(_PREFIX))
    if not line.endswith(b"\n") or not line.startswith(_PREFIX) or end < 0:
        return None
    return line[len(_PREFIX) : end].decode(errors="replace")


def _beginnings(path: Path) -> Iterator[tuple[str, int]]:
    """The key of each whole line, and where the line begins."""
    begin = 0
    with path.open("rb") as file:
        for line in file:
            if (key := _key_of(line)) is not None:
                yield key, begin
            begin += len(line)


def _line_at(handle: int, begin: int) -> bytes:
    """The line that begins there."""
    data = b""
    while not data.endswith(b"\n") and b"\n" not in data:
        block = os.pread(handle, 65536, begin + len(data))
        if not block:
            break
        data += block
    return data.partition(b"\n")[0] + b"\n"


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
