"""Append-only journals of finished requests, so that no request is answered twice.

A journal is a folder of JSON-lines files, one per writer. SQLite is not safe on cluster file
systems; a plain file that only ever grows is. A line is one finished request:
`{"key": ..., "record": {...}}`. A kill can tear the last line only, and the next writer cuts it.
"""

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
        # One write call per line: the kernel appends it whole, or a kill leaves a tail without a
        # newline that the next writer cuts.
        _write_all(self._handle, line + b"\n")
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
                found[key] = json.loads(line)["record"]
            except (ValueError, KeyError):  # not JSON, not UTF-8, or another JSON
                LOG.warning(
                    "journal %s: the line of key %s cannot be read and is ignored", path, key
                )
    return found


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
