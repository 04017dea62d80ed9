"""One writer for a journal file, on one machine or across the nodes of a cluster.

A SIGKILL of the workflow manager leaves its cluster jobs running, and a restart submits the same
work beside them. File locks are not dependable on every cluster file system, so the lease is a
file made with O_EXCL that its holder touches. Clocks of two nodes may differ, so a holder counts
as dead when the file does not change while we watch, never because of its age.
"""

import json
import os
import secrets
import socket
import threading
import time
from pathlib import Path

from em_tiers.errors import TemporaryError, UserError
from em_tiers.files import read_record
from em_tiers.logs import LOG

HEARTBEAT_S = 10.0
WATCH_S = 3.5 * HEARTBEAT_S


class Lease:
    """Exclusive right to write, held from `acquire` to `release`.

    Args:
        path: the lease file; its folder must exist.
        held: what an error says of a lease that another job holds, before its name.
        heartbeat_s: seconds between two signs of life.
        watch_s: seconds without a sign of life after which a holder on another host is dead.
    """

    def __init__(
        self,
        path: Path,
        heartbeat_s: float = HEARTBEAT_S,
        watch_s: float = WATCH_S,
        held: str | None = None,
    ):
        self.path = path
        self.held = held or f"{path.stem} is already written by"
        self.heartbeat_s = heartbeat_s
        self.watch_s = watch_s
        self.token = secrets.token_hex(8)
        self.lost = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def acquire(self) -> None:
        """Take the lease, if need be from a dead holder.

        Raises:
            TemporaryError: a live job holds it.
        """
        deadline = time.monotonic() + 4 * self.watch_s
        while not self._create():
            holder = self._read()
            if holder is not None and self._is_alive(holder):
                raise TemporaryError(
                    f"{self.held} {_describe(holder)}: wait for that job or cancel it (scancel, or "
                    "kill the process), then run again"
                )
            if time.monotonic() > deadline:
                raise UserError(f"{self.path}: this lease cannot be taken: delete the file")
            self._remove_if_held_by(holder)
        self._thread.start()

    def release(self) -> None:
        """Give the lease back."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._remove_if_held_by({"token": self.token})

    def _create(self) -> bool:
        try:
            handle = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        holder = {
            "token": self.token,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "process_start": _process_start(os.getpid()),
            "job": os.environ.get("SLURM_JOB_ID"),
        }
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(json.dumps(holder))
        return True

    def _read(self) -> dict | None:
        """The holder; None when the file is gone or was left empty by a kill."""
        try:
            holder = _holder_in(self.path)
        except FileNotFoundError:
            return None
        if holder is not None:
            return holder
        # Damaged, or empty for a moment between its creation and the first write.
        return None if self._is_still() else {"host": "unknown", "pid": 0}

    def _is_alive(self, holder: dict) -> bool:
        if holder["host"] == socket.gethostname() and not _is_hidden(holder["pid"]):
            return _process_start(holder["pid"]) == holder.get("process_start", "")
        return not self._is_still()

    def _is_still(self) -> bool:
        """Whether the lease file stays as it is for `watch_s` seconds."""
        seen = _changed(self.path)
        end = time.monotonic() + self.watch_s
        while time.monotonic() < end:
            time.sleep(min(0.2, self.watch_s / 5))
            if _changed(self.path) != seen:
                return False
        return True

    def _remove_if_held_by(self, holder: dict | None) -> None:
        """Remove the file unless another job has taken the lease meanwhile."""
        aside = self.path.with_name(f"{self.path.name}.{self.token}")
        try:
            self.path.rename(aside)
        except FileNotFoundError:
            return
        found = _holder_in(aside)
        if found is not None and found["token"] != (holder or {}).get("token"):
            aside.rename(self.path)
            return
        aside.unlink()

    def _beat(self) -> None:
        while not self._stop.wait(self.heartbeat_s):
            try:
                mine = (_holder_in(self.path) or {}).get("token") == self.token
                if mine:
                    os.utime(self.path)
            except FileNotFoundError:
                mine = False
            except OSError as error:  # a file server that stumbles: the next beat may succeed
                LOG.warning("lease %s could not be renewed (%s); trying again", self.path, error)
                continue
            if not mine:
                self.lost = True
                return


def _holder_in(path: Path) -> dict | None:
    """What a lease file says of its holder; None if it is empty or damaged."""
    try:
        return read_record(path, {"token": str, "host": str, "pid": int})
    except UserError:
        return None


def _describe(holder: dict) -> str:
    job = f", SLURM job {holder['job']}" if holder.get("job") else ""
    return f"process {holder['pid']} on {holder['host']}{job}"


def _changed(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _process_start(pid: int) -> str:
    """When the process began, in the kernel's ticks; empty when it does not exist.

    The start time tells a process from a later one that was given the same number.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""
    return "" if fields[0] == "Z" else fields[19]


def _is_hidden(pid: int) -> bool:
    """Whether a process of another user exists that /proc does not show (mounted with hidepid)."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return not _process_start(pid)
    except (ProcessLookupError, OverflowError):
        pass
    return False
