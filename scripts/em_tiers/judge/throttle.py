"""How fast an endpoint is asked: adaptive concurrency, and the waits between attempts."""

import asyncio
import email.utils
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0


def wait_before_retry(attempt: int, random_source: random.Random) -> float:
    """Seconds to wait after failed attempt number `attempt` (from 1): exponential, with jitter.

    The jitter takes up to half of the wait away, so that requests which failed together do not
    come back together; the wait never grows beyond LONGEST_WAIT_S.
    """
    longest = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(attempt - 1, 30))
    return longest * random_source.uniform(0.5, 1.0)


def seconds_of_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """What a refusal's headers ask for, in seconds; None when they say nothing readable.

    Args:
        headers: of the answer, with names that compare in any case (or in lower case).
        now: the time as seconds since the epoch, for a Retry-After that is a date.
    """
    exact = _number(headers.get("retry-after-ms"))
    if exact is not None:
        return exact / 1000.0
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None or value is None:
        return seconds
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - now)
    except (TypeError, ValueError):
        return None


def _number(value: str | None) -> float | None:
    try:
        number = float(value) if value is not None else -1.0
    except ValueError:
        return None
    return number if 0.0 <= number < float("inf") else None


class Throttle:
    """At most `maximum` requests at once, fewer after refusals (AIMD, as TCP does).

    A refusal halves the number of requests allowed at once, an answer adds 1 / allowed, so about
    one a round of answers. Several refusals of one round count once: a refusal of a request that
    started before the last halving tells nothing new.
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
        """Hold nobody back any more: those who wait are to see that the run has ended."""
        self.allowed = float("inf")
        self._paused_until = float("-inf")
        self._open.set()
        async with self._changed:
            self._changed.notify_all()

    def answered(self) -> None:
        """An answer came: allow a little more."""
        self.allowed = min(float(self.maximum), self.allowed + 1.0 / self.allowed)

    def refused(self, started: float, retry_after: float | None) -> None:
        """The endpoint refused a request (429, 503) that began at `started`: allow less.

        `retry_after` holds back every request for so many seconds, not only the refused one.
        """
        if started > self._halved_at:
            self.allowed = max(1.0, self.allowed / 2.0)
            self._halved_at = self._clock()
        if retry_after is not None:
            self._paused_until = max(self._paused_until, self._clock() + retry_after)
