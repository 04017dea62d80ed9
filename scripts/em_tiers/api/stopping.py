"""The tidy way to stop: what is under way is waited for; a second signal aborts."""

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from em_tiers.logs import LOG

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# A terminal and the workflow manager may both pass on one Ctrl-C.
ONE_SIGNAL_S = 1.0


@contextmanager
def stop_tidily(stop: Callable[[str], None]) -> Iterator[None]:
    """While the block runs in an event loop, Ctrl-C and SIGTERM call `stop` with the signal's name.

    `stop` lets what is under way end and begins nothing more. After a second signal every task of
    the loop is cancelled.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread receives signals
        return
    loop = asyncio.get_running_loop()
    first: list[float] = []

    def handle(number: signal.Signals) -> None:
        if not first:
            first.append(time.monotonic())
            LOG.warning(
                "%s: waiting for what is under way; a second one aborts",
                signal.Signals(number).name,
            )
            stop(signal.Signals(number).name)
        elif time.monotonic() - first[0] > ONE_SIGNAL_S:
            for task in asyncio.all_tasks(loop):
                task.cancel()

    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        loop.add_signal_handler(number, handle, number)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
