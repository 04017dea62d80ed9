"""GPUs of a machine without a scheduler: each job has its own.

On a cluster the scheduler shows a job its GPUs alone. On one machine every job sees all of them and
would take the first. A job therefore locks the GPUs that it uses, and sees no others; the kernel
frees the locks when the job ends, however it ends.
"""

import fcntl
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from em_tiers.errors import UserError
from em_tiers.logs import LOG


@dataclass(frozen=True)
class Gpu:
    """A GPU as nvidia-smi describes it."""

    name: str
    memory_gib: float
    capability: float  # compute capability, such as 8.0
    driver: str


VISIBLE = "CUDA_VISIBLE_DEVICES"
_POLL_S = 1.0
_HELD: list[IO[str]] = []  # locks of this process, which end with it


def visible_names(environ: Mapping[str, str] = os.environ) -> list[str]:
    """GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; empty without a GPU."""
    if VISIBLE in environ:
        return [name.strip() for name in environ[VISIBLE].split(",") if name.strip()]
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]


def describe_gpus(names: Sequence[str]) -> list[Gpu]:
    """The GPUs of these names, or of this machine; empty where nvidia-smi knows none of them."""
    query = "--query-gpu=name,memory.total,compute_cap,driver_version"
    command = ["nvidia-smi", query, "--format=csv,noheader,nounits"]
    if names:
        command.append(f"--id={','.join(names)}")
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        rows = [line.split(", ") for line in done.stdout.splitlines() if line.strip()]
        return [
            Gpu(name.strip(), float(mib) / 1024, float(capability), driver.strip())
            for name, mib, capability, driver in rows
        ]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []


def claim_gpus(count: int, folder: Path | None = None) -> list[str]:
    """Lock `count` of the visible GPUs and hide the others; waits while too few are free.

    Does nothing where no more are visible than asked for: a scheduler has chosen them, or there
    are none. Must be called before CUDA starts in this process.

    Args:
        folder: of the lock files, one per GPU; default: the user's own in the temporary folder.

    Returns:
        The locked GPUs, as CUDA_VISIBLE_DEVICES names them.

    Raises:
        UserError: the lock folder belongs to another user.
    """
    names = visible_names()
    if count < 1 or len(names) <= count:
        return []
    folder = folder or _own_folder()
    waited = False
    while len(locks := _lock_free(names, count, folder)) < count:
        # All or none: two jobs that each hold a part would wait for each other.
        for lock in locks.values():
            lock.close()
        if not waited:
            LOG.info("waiting for %d of the GPUs %s to be free", count, ", ".join(names))
        waited = True
        time.sleep(_POLL_S)
    _HELD.extend(locks.values())
    os.environ[VISIBLE] = ",".join(locks)
    LOG.info("GPU %s of %s", ", ".join(locks), ", ".join(names))
    return list(locks)


def _lock_free(names: list[str], count: int, folder: Path) -> dict[str, IO[str]]:
    locks: dict[str, IO[str]] = {}
    for name in names:
        file = (folder / name.replace("/", "-")).open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            continue
        locks[name] = file
        if len(locks) == count:
            break
    return locks


def _own_folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"em-tiers-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise UserError(f"{folder}: belongs to another user: set TMPDIR to a folder of your own")
    return folder
