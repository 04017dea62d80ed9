"""Logging of rule scripts: to the rule's log file and to the terminal, tracebacks included.

A script that is silent says after a while that it still runs, and how far it is.
"""

import contextlib
import gc
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from em_tiers.damage import explain
from em_tiers.errors import TemporaryError, UserError
from em_tiers.files import remove_abandoned

LOG = logging.getLogger("em_tiers")
GAVE_UP = ".gave_up"
T = TypeVar("T")


def log_to(path: Path | str | None) -> logging.Logger:
    """Send the package's log to `path` (if any) and to standard error."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(path, mode="a", encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    LOG.handlers[:] = handlers
    LOG.setLevel(logging.INFO)
    LOG.propagate = False
    return LOG


class Heartbeat(logging.Handler):
    """Logs a line when the log has been silent: first after 15 s, then after twice as long each.

    Attributes:
        state: how far the script is, such as "sample base: 12 of 116"; empty while unknown.
        muted: a progress bar shows that the script runs.
    """

    def __init__(self, first_s: float = 15, longest_s: float = 300) -> None:
        super().__init__()
        self.state = ""
        self.muted = False
        self._first_s, self._longest_s = first_s, longest_s

    def __enter__(self) -> "Heartbeat":
        self.state, self.muted = "", False
        self._silence_s = self._first_s
        self._began = self._last = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        LOG.addHandler(self)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        LOG.removeHandler(self)
        self._ended.set()
        self._thread.join()

    def emit(self, record: logging.LogRecord) -> None:
        """Note that something was logged."""
        self._last = time.monotonic()
        of_script = threading.current_thread() is not self._thread
        self._silence_s = self._first_s if of_script else min(2 * self._silence_s, self._longest_s)

    def _beat(self) -> None:
        while not self._ended.wait(max(0.0, self._last + self._silence_s - time.monotonic())):
            now = time.monotonic()
            if self.muted:
                self._last = now
            elif now >= self._last + self._silence_s:
                LOG.info("%s, after %d s", self.state or "still running", now - self._began)


HEARTBEAT = Heartbeat()  # of this process; `run_script` starts it


def run_script(
    main: Callable[..., Any],
    log: Path | str | None,
    heartbeat: bool = True,
    **arguments: Any,
) -> None:
    """Run a rule's `main`: a UserError becomes one line and exit status 1, the rest a traceback.

    Snakemake retries every failed job, although a UserError that is not temporary would only come
    again after the models have been loaded once more. Its message is therefore kept beside the
    log, in a file whose name ends in GAVE_UP, and a retry ends at once with the same message. That
    needs the resource `attempt`, which whatever asks for retries sets: the profiles, or the rule.

    Snakemake dates an output by the end of its job, so it would miss an input that was edited
    after the job had read it. Such a job fails, and its retry or the next run does it again.

    What killed jobs left of this job's outputs is removed first.

    Args:
        heartbeat: whether this process says that it runs; one of several that train does.
    """
    log_to(log)
    job = _snakemake_job()
    if job:
        # Imported modules stay to the end, where Python would search them for garbage: 0.1 s of a
        # small job, 0.25 s of a figure.
        gc.freeze()
    attempt = job.resources.get("attempt") if job else None
    marker = Path(f"{log}{GAVE_UP}") if log and attempt else None
    if marker and attempt > 1 and marker.is_file():
        LOG.error("%s", marker.read_text(encoding="utf-8"))
        sys.exit(1)
    if marker:
        marker.unlink(missing_ok=True)
    before = _input_states()
    for path in job.output if job else ():
        remove_abandoned(path)
    try:
        with HEARTBEAT if heartbeat else contextlib.nullcontext():
            main(**arguments)
        _check_unedited(before)
    except UserError as error:
        LOG.error("%s", error)
        if marker and not isinstance(error, TemporaryError):
            marker.write_text(str(error), encoding="utf-8")
        sys.exit(1)
    except Exception as error:
        if damage := explain(error, arguments):
            LOG.error("%s", damage)
            sys.exit(1)
        LOG.exception("unexpected failure")
        raise


def _snakemake_job() -> Any:
    """The job of the Snakemake script that runs in this process; None outside one."""
    return getattr(sys.modules["__main__"], "snakemake", None)


def _input_states() -> dict[str, tuple[int, int]]:
    """Time in ns and size in bytes of each input file of this Snakemake job; empty without one."""
    job = _snakemake_job()
    files = [Path(path) for path in (job.input if job else ()) if Path(path).is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in files}


def _check_unedited(before: dict[str, tuple[int, int]]) -> None:
    after = _input_states()
    if edited := [path for path, state in before.items() if after.get(path) != state]:
        raise TemporaryError(
            f"{', '.join(edited[:3])}: edited while this job was running, so its results may mix "
            "two versions and are not kept: run again"
        )


def progress(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Iterate with a progress bar on a terminal, and a log line each tenth of the way elsewhere."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        HEARTBEAT.muted = True
        try:
            yield from tqdm(items, desc=what, total=total, unit="req", dynamic_ncols=True)
        finally:
            HEARTBEAT.muted = False
        return
    step = max(1, (total or 1000) // 10)
    of_total = f"of {total if total is not None else '?'}"
    HEARTBEAT.state = f"{what}: 0 {of_total}"
    try:
        for done, item in enumerate(items, start=1):
            yield item
            HEARTBEAT.state = f"{what}: {done} {of_total}"
            if done % step == 0 or done == total:
                LOG.info("%s", HEARTBEAT.state)
    finally:
        HEARTBEAT.state = ""
