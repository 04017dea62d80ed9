"""How fast an endpoint is asked: adaptive concurrency."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Throttle:
    """At most `maximum` requests at once, fewer after refusals (AIMD, as TCP does).

    A refusal halves the number of requests allowed at once, an answer adds 1 / allowed, so about
    one per round of answers. Several refusals of one round count once: a refusal of a request that
    started before the last halving says nothing new.
    """

    def __init__(self, maximum: int, clock: Callable[[], float] = time.monotonic):
        self.maximum = maximum
        self.allowed = float(maximum)
        self.running = 0
        self._clock = clock
        self._halved_at = float("-inf")
        self._paused_until = float("-inf")
        self._changed = asyncio.Condition()
        self._open = asyncio.Event()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[float]:
        """Hold one of the allowed requests; yields its start, for `refused`."""
        await self._enter()
        try:
            yield self._clock()
        finally:
            async with self._changed:
                self.running -= 1
                self._changed.notify_all()

    async def _enter(self) -> None:
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self.running + 1 <= self.allowed)
                pause = self._paused_until - self._clock()
                if pause <= 0:
                    self.running += 1
                    return
            try:
                await asyncio.wait_for(self._open.wait(), pause)
            except TimeoutError:
                continue

    async def let_all_through(self) -> None:
        """Release every waiting request, so that it sees that the run has ended."""
        self.allowed = float("inf")
        self._paused_until = float("-inf")
        self._open.set()
        async with self._changed:
            self._changed.notify_all()

    def answered(self) -> None:
        """An answer came: allow a little more."""
        self.allowed = min(float(self.maximum), self.allowed + 1.0 / self.allowed)

    def refused(self, started: float, retry_after_s: float | None) -> None:
        """The endpoint refused a request (429, 503) that began at `started`: allow less.

        `retry_after_s` holds back every request for so many seconds, not only the refused one.
        """
        if started > self._halved_at:
            self.allowed = max(1.0, self.allowed / 2.0)
            self._halved_at = self._clock()
        if retry_after_s is not None:
            self._paused_until = max(self._paused_until, self._clock() + retry_after_s)
