"""Waits of tests: they end on an event, and early if it can no longer happen.

No test says how long anything takes, which differs tenfold between machines. The limit here is a
backstop against a hang: it costs nothing where a test passes.
"""

import functools
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

# Seconds. An engine starts, or a small model is trained, within a minute or two on two good cores.
PATIENCE = 1800

T = TypeVar("T")
Output = Callable[[], str] | Path | None
_SHOWN = 6000  # characters of an output


def wait_until(
    condition: Callable[[], T],
    what: str,
    process: subprocess.Popen | None = None,
    output: Output = None,
    seconds: float = PATIENCE,
    pause_s: float = 0.02,
) -> T:
    """Wait until `condition` returns something true, and return it.

    Args:
        condition: asked again and again, `pause_s` seconds apart.
        what: what is waited for, for the message.
        process: what brings it about. Once it has ended, nothing will: the wait fails at once.
        output: what the process said, for the message: its log file, or a function.

    Raises:
        AssertionError: it did not happen, and how far things were.
    """
    end = time.monotonic() + seconds
    while True:
        # Checked before the condition, which a process may meet with its last act.
        ended = process is not None and process.poll() is not None
        if value := condition():
            return value
        if ended:
            status = process.returncode
            raise AssertionError(f"no {what}: process ended with status {status}{_read(output)}")
        if time.monotonic() > end:
            raise AssertionError(f"no {what} within {seconds} s{_read(output)}")
        time.sleep(pause_s)


def wait_for_end(
    process: subprocess.Popen, output: Output = None, seconds: float = PATIENCE
) -> int:
    """Wait until a process ends, and return its exit status."""
    wait_until(lambda: process.poll() is not None, "end of the process", None, output, seconds)
    return process.returncode


def hold_after(times: int, owner: object, name: str) -> None:
    """Make this process pause once `owner.name` has returned this many times.

    For processes that a test kills in the middle of their work: there they are, on a machine that
    would have finished the rest before the signal came and on one that is slow.
    """
    real, calls = getattr(owner, name), 0

    @functools.wraps(real)
    def held(*args, **kwargs):
        nonlocal calls
        result = real(*args, **kwargs)
        calls += 1
        if calls == times:
            time.sleep(2 * PATIENCE)  # longer than any test waits
        return result

    setattr(owner, name, held)


def _read(output: Output) -> str:
    if output is None:
        return ""
    if isinstance(output, Path):
        text = output.read_text(errors="replace") if output.exists() else f"no {output}"
    else:
        text = output()
    return f":\n{text[-_SHOWN:]}"
