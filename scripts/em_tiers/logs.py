"""Logging of rule scripts: to the rule's log file and to the terminal, tracebacks included."""

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from em_tiers.errors import UserError

LOG = logging.getLogger("em_tiers")
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


def run_script(main: Callable[..., Any], log: Path | str | None, **arguments: Any) -> None:
    """Run a rule's `main`: a UserError becomes one line and exit status 1, the rest a traceback."""
    log_to(log)
    try:
        main(**arguments)
    except UserError as error:
        LOG.error("%s", error)
        sys.exit(1)
    except Exception:
        LOG.exception("unexpected failure")
        raise


def progress(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Iterate with a progress bar on a terminal, and a log line each tenth of the way elsewhere."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(items, desc=what, total=total, unit="req", dynamic_ncols=True)
        return
    step = max(1, (total or 1000) // 10)
    for done, item in enumerate(items, start=1):
        yield item
        if done % step == 0 or done == total:
            LOG.info("%s: %d of %s", what, done, total if total is not None else "?")
