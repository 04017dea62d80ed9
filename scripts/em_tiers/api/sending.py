"""Requests to one endpoint, many at once: attempts, waits, bookings, and one tidy end.

What is asked and what becomes of a reply is the caller's business; judges and models under test
share the rest.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from em_tiers.api.client import Endpoint
from em_tiers.api.refusals import FailedAttempt, Final
from em_tiers.api.replies import Reply
from em_tiers.api.spending import Budget
from em_tiers.api.stopping import stop_tidily
from em_tiers.api.throttle import Throttle
from em_tiers.errors import TemporaryError, UserError
from em_tiers.logs import HEARTBEAT, LOG
from em_tiers.retry import wait_before_retry

T = TypeVar("T")
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
LONGEST_RETRY_AFTER_S = 300.0
# After this many consecutive requests that were not answered, the endpoint counts as dead.
FAILED_IN_A_ROW = 20


class Stopped(Exception):
    """The run has ended: a ceiling, a dead endpoint, a defect or a signal."""


class Sender:
    """Sends requests to an endpoint within its throttle and its budget, until the run is stopped.

    Args:
        endpoint: an Endpoint that is not entered yet.
        settings: concurrency and max_attempts.
        budget: what may be spent.

    Attributes:
        faults: failed attempts, by reason.
        error: why the run has ended early, once it has.
        stopping: set from then on.
    """

    def __init__(self, endpoint: Endpoint, settings: Mapping[str, Any], budget: Budget):
        self.endpoint = endpoint
        self.concurrency: int = settings["concurrency"]
        self.max_attempts: int = settings["max_attempts"]
        self.budget = budget
        self.faults: Counter[str] = Counter()
        self.error: UserError | None = None
        self._random = random.Random()

    @asynccontextmanager
    async def run(self, interrupted: Callable[[str], UserError]) -> AsyncIterator[None]:
        """Connect to the endpoint, and stop tidily at a signal.

        Args:
            interrupted: the error with which a signal of this name ends the run.
        """
        self._throttle = Throttle(self.concurrency)
        self.stopping = asyncio.Event()
        self.error = None
        self._in_a_row: Counter[str] = Counter()

        def stop(signal: str) -> None:
            self._halting = asyncio.ensure_future(self.halt(interrupted(signal)))

        with stop_tidily(stop):
            async with self.endpoint:
                yield

    async def halt(self, error: UserError | None) -> Stopped:
        """Begin nothing more: no attempt and no wait."""
        self.error = self.error or error
        self.stopping.set()
        await self._throttle.let_all_through()
        return Stopped()

    async def until_stopped(self, work: Iterable[Coroutine[Any, Any, None]]) -> None:
        """Run until all is done; after a stop no attempt begins, and those under way end.

        What is under way is paid for, so its answer is waited for and journaled.
        """
        for result in await asyncio.gather(*work, return_exceptions=True):
            if isinstance(result, BaseException) and not isinstance(result, Stopped):
                raise result

    async def guarded(self, work: Awaitable[T]) -> T:
        """The result of `work`; an error in it ends the whole run."""
        try:
            return await work
        except Stopped:
            raise
        except Final as fault:
            raise await self.halt(TemporaryError(f"{self.endpoint.name}: {fault}")) from None
        except UserError as error:
            raise await self.halt(error) from None
        except BaseException:
            # A defect here, or a full disk: the others must not go on spending.
            await self.halt(None)
            raise

    async def ask(
        self,
        body: Mapping[str, Any],
        characters: int,
        tokens: int,
        attempts: int | None = None,
        hopeless: Callable[[FailedAttempt], bool] = lambda fault: False,
    ) -> tuple[Reply, int]:
        """The reply to one request, and in which attempt it came.

        Args:
            body: see `Endpoint.ask`.
            characters: length of its prompt's text.
            tokens: the most that the answers may have together.
            attempts: at most; max_attempts where it is None.
            hopeless: whether a failed attempt shows that more than one more is in vain.

        Raises:
            Final, FailedAttempt: this request is not answered; `attempts` says after how many.
            UserError: no request can be answered, or a ceiling is reached.
            Stopped: the run has ended.
        """
        attempts = attempts or self.max_attempts
        for attempt in range(1, attempts + 1):
            try:
                reply = await self._attempt(body, characters, tokens)
            except Final as fault:
                fault.attempts = attempt
                self._count_refused(fault)
                raise
            except FailedAttempt as fault:
                fault.attempts = attempt
                self.faults[str(fault)] += 1
                if attempt == attempts or (hopeless(fault) and attempt > 1):
                    self._count_unanswered(f"failed {attempts} times each", "failed", fault.full)
                    raise
                await self.wait(attempt, fault.retry_after_s)
            else:
                self._in_a_row.clear()
                return reply, attempt
        raise AssertionError("max_attempts is at least 1")

    async def _attempt(self, body: Mapping[str, Any], characters: int, tokens: int) -> Reply:
        """Send once, within the throttle and the budget."""
        async with self._throttle.slot() as started:
            if self.stopping.is_set():
                raise Stopped
            try:
                reply = await self.budget.book(characters, tokens, lambda: self.endpoint.ask(body))
            except FailedAttempt as fault:
                if fault.slow_down:
                    self._slow_down(started, fault.retry_after_s)
                raise
            self._throttle.answered()
            return reply

    def _slow_down(self, started: float, retry_after_s: float | None) -> None:
        if retry_after_s is not None and retry_after_s > LONGEST_RETRY_AFTER_S:
            raise TemporaryError(
                f"endpoint {self.endpoint.host}: asks for a pause of {retry_after_s:.0f} s: "
                "run again after that time"
            )
        self._throttle.refused(started, retry_after_s)

    def _count_refused(self, fault: Final) -> None:
        """A refusal in unknown words may be about all requests; any other is a sign of life."""
        if fault.status == "api_error":
            self._count_unanswered("were refused", "refused", str(fault))
        else:
            self._in_a_row.clear()

    def _count_unanswered(self, how: str, kind: str, reason: str) -> None:
        self._in_a_row[kind] += 1
        count = self._in_a_row[kind]
        if count >= max(FAILED_IN_A_ROW, self.concurrency):
            raise TemporaryError(
                f"endpoint {self.endpoint.host}: {count} consecutive requests {how}, the last one "
                f"with {reason}: run again when it answers"
            )

    async def wait(self, attempt: int, retry_after_s: float | None) -> None:
        """Wait before the next attempt, or until the run is stopped."""
        wait = wait_before_retry(attempt, self._random, FIRST_WAIT_S, LONGEST_WAIT_S)
        await self.pause(max(wait, retry_after_s or 0.0))

    async def pause(self, seconds: float) -> None:
        """Wait, or raise Stopped when the run is stopped."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self.stopping.wait()
        except TimeoutError:
            return
        raise Stopped

    def report(self, what: str, done: int, total: int) -> None:
        """Say how far the run is, in the log after each tenth."""
        HEARTBEAT.state = f"{what}: {done} of {total}"
        if done % max(1, total // 10) == 0 or done == total:
            LOG.info("%s, spent %s", HEARTBEAT.state, self.spent)

    @property
    def spent(self) -> str:
        """What the runs have spent, in words."""
        return self.budget.spent.words(self.budget.prices)
