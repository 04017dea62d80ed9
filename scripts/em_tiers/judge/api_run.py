"""Many requests to one endpoint: each ends as a record, and answers are journaled at once.

Only answers go to the journal: verdicts, and refusals of the judge. A request that failed on the
way becomes an `api_error` record for this run's tables, which the next run asks again (see
`rounds`). One too long for the model's context becomes a `truncated` record; it is asked whenever
the job runs again.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from em_tiers.api.client import Endpoint
from em_tiers.api.refusals import FailedAttempt, Final
from em_tiers.api.replies import Reply
from em_tiers.api.spending import Budget
from em_tiers.api.stopping import stop_tidily
from em_tiers.api.throttle import Throttle
from em_tiers.errors import TemporaryError, UserError
from em_tiers.journal import Journal
from em_tiers.judge.api_requests import characters_of, most_tokens, reply_record, request_body
from em_tiers.judge.batches import Records
from em_tiers.judge.first_check import REFUSED_IN_CHECK, FirstCheck, was_answered
from em_tiers.judge.requests import JudgeRequest
from em_tiers.judge.settings import Judge
from em_tiers.judge.single_digits import SingleDigits
from em_tiers.judge.usable_replies import UsableReplies
from em_tiers.judge.verdicts import failed_record
from em_tiers.logs import HEARTBEAT, LOG
from em_tiers.retry import wait_before_retry

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
LONGEST_RETRY_AFTER_S = 300.0
# After this many requests that failed in all their attempts, the endpoint counts as dead.
FAILED_IN_A_ROW = 20


class Stopped(Exception):
    """Another request found that no request can be answered, or that a ceiling is reached."""


class ApiRun:
    """Asks an endpoint until every request has a record, or nothing can be asked any more.

    Args:
        judge, judge_name: who is asked.
        endpoint: an Endpoint that is not entered yet.
        settings: concurrency and max_attempts of the judge's endpoint.
        budget: what may be spent; shared by all runs of a job.
        journal: an open journal.
        usable: told of every reply, to end a run that is of no use.
        again: what is asked failed before, in a table that was complete enough without it.
    """

    def __init__(
        self,
        judge: Judge,
        judge_name: str,
        endpoint: Endpoint,
        settings: Mapping[str, Any],
        budget: Budget,
        journal: Journal,
        usable: UsableReplies,
        again: bool = False,
    ):
        self.judge = judge
        self.judge_name = judge_name
        self.endpoint = endpoint
        self.concurrency = settings["concurrency"]
        self.max_attempts = settings["max_attempts"]
        self.budget = budget
        self.journal = journal
        self.usable = usable
        self.again = again
        self.faults: Counter[str] = Counter()
        self.interrupted: UserError | None = None
        self._able: set[str] = set()  # methods that the endpoint has shown to be able to do
        self._bounds = judge.backend != "anthropic"  # a schema may bound its numbers
        self._digits = SingleDigits()
        self._random = random.Random()

    def ask(
        self, requests: list[JudgeRequest], what: str, answered: Collection[str] = ()
    ) -> Records:
        """Ask requests with distinct keys; returns the records of all of them by key.

        Args:
            what: what is asked, for progress lines.
            answered: methods that the endpoint has shown to be able to do.

        Raises:
            UserError: no request can be answered any more; the message says how many are left.
                Requests that are asked again fail once more instead: Snakemake has removed the
                table without them, and the job must write it again.
        """
        if self.interrupted:
            raise self.interrupted
        self._what = what
        self._able |= set(answered)
        try:
            return asyncio.run(self._run(requests))
        except asyncio.CancelledError:
            raise TemporaryError(
                f"judge {self.judge_name}: aborted: the answers under way are lost, and the "
                "endpoint may charge for them; what was answered before is kept"
            ) from None
        except UserError as error:
            if not self.again or self.interrupted:
                raise
            LOG.warning("%s", error)
            failed = {
                request.key: failed_record(request, "api_error", str(error), self.endpoint.model)
                for request in requests
            }
            return failed | self._records

    async def _run(self, pending: list[JudgeRequest]) -> Records:
        self._throttle = Throttle(self.concurrency)
        self._stop = asyncio.Event()
        self._error: UserError | None = None
        self._failed_in_a_row = 0
        self._refused_in_a_row = 0
        self._records: Records = {}
        self._total = len(pending)
        with stop_tidily(self._interrupt):
            async with self.endpoint:
                await self._ask_all(pending)
        return self._records

    async def _ask_all(self, pending: list[JudgeRequest]) -> None:
        await self._until_stopped([self._check(pending)])
        rest = iter([request for request in pending if request.key not in self._records])
        await self._until_stopped([self._work(rest) for _ in range(self.concurrency)])

    def _interrupt(self, name: str) -> None:
        """Let what is under way end, because of a signal."""
        self.interrupted = TemporaryError(f"stopped by {name}")
        self._halting = asyncio.ensure_future(self._halt(self.interrupted))

    async def _until_stopped(self, work: list[Any]) -> None:
        """Run until all is done; after a stop no attempt begins and those under way end.

        What is under way is paid for, so its answer is waited for and journaled.
        """
        tasks = [asyncio.create_task(each) for each in work]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, Stopped):
                raise result
        if self._error:
            left = self._total - sum(was_answered(record) for record in self._records.values())
            kind = TemporaryError if isinstance(self._error, TemporaryError) else UserError
            raise kind(
                f"judge {self.judge_name}: {self._error}: {left:,} of {self._total:,} requests "
                f"are left; spent {self.budget.spent.words(self.budget.prices)}; what was "
                "answered is kept and will not be asked again"
            ) from None

    async def _halt(self, error: UserError | None) -> Stopped:
        self._error = self._error or error
        self._stop.set()
        await self._throttle.let_all_through()
        return Stopped()

    async def _work(self, requests: Iterator[JudgeRequest]) -> None:
        for request in requests:
            try:
                record = await self._answer(request, self.max_attempts)
            except Stopped:
                raise
            except UserError as error:
                raise await self._halt(error) from None
            except BaseException:
                # A defect here, or a full disk: the others must not go on spending.
                await self._halt(None)
                raise
            self._keep(request, record)

    def _keep(self, request: JudgeRequest, record: dict[str, Any]) -> None:
        self._records[request.key] = record
        done = len(self._records)
        HEARTBEAT.state = f"{self._what}: {done} of {self._total}"
        if done % max(1, self._total // 10) == 0 or done == self._total:
            spent = self.budget.spent.words(self.budget.prices)
            LOG.info("%s, spent %s", HEARTBEAT.state, spent)

    async def _check(self, pending: list[JudgeRequest]) -> None:
        """Ask a few requests of each method before the others, and fail if the endpoint cannot.

        One answer decides nothing: an endpoint may refuse it for its content or break on it. Those
        to ask are drawn again in each run, so that no run asks the same refused ones first.
        """
        by_method: dict[str, list[JudgeRequest]] = {}
        for request in pending:
            by_method.setdefault(request.method, []).append(request)
        for method, requests in by_method.items():
            if method not in self._able:
                drawn = self._random.sample(requests, min(REFUSED_IN_CHECK, len(requests)))
                await self._check_method(drawn)
                self._able.add(method)

    async def _check_method(self, requests: list[JudgeRequest]) -> None:
        """Ask until one is answered, or until enough of them show that none will be."""
        check = FirstCheck(self.endpoint.name, len(requests))
        for request in requests:
            # A dead endpoint is given all its attempts once.
            attempts = 2 if check.failed else self.max_attempts
            try:
                record = await self._answer(request, attempts, check)
            except UserError as error:
                raise await self._halt(error) from None
            problem = check.problem(request, record)
            if check.was_conclusive:
                self._keep(request, record)
            if problem:
                raise await self._halt(problem)
            if check.passed:
                return

    async def _answer(
        self, request: JudgeRequest, max_attempts: int, check: FirstCheck | None = None
    ) -> dict[str, Any]:
        """The record of one request, journaled when it was answered."""
        for attempt in range(1, max_attempts + 1):
            bounds = self._bounds
            try:
                reply = await self._attempt(request, bounds)
            except Final as fault:
                if bounds and refuses_bounds(request, fault):
                    self._bounds = False
                    return await self._answer(request, max_attempts, check)
                if check:
                    check.refused(fault)
                return self._refused(request, fault, attempt)
            except FailedAttempt as fault:
                reason = fault.full
                self.faults[str(fault)] += 1
                if check and check.lacks(fault) and attempt > 1:
                    break  # what it cannot do is not chance: on to another answer
                if attempt < max_attempts:
                    await self._wait(attempt, fault.retry_after_s)
            else:
                return self._answered(request, reply, attempt)
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= max(FAILED_IN_A_ROW, self.concurrency):
            raise TemporaryError(
                f"endpoint {self.endpoint.host}: {self._failed_in_a_row} requests in a row failed "
                f"{max_attempts} times each, the last one with {reason}: run again when it answers"
            )
        return failed_record(request, "api_error", reason, self.endpoint.model, attempt)

    def _answered(self, request: JudgeRequest, reply: Reply, attempt: int) -> dict[str, Any]:
        """The record of a reply, journaled before anything else can fail."""
        self._failed_in_a_row = self._refused_in_a_row = 0
        record = reply_record(reply, self.judge, request, attempt)
        self.journal.append(request.key, record)
        self._watch_digits(request, record)
        self.usable.see(request, record)
        return record

    def _watch_digits(self, request: JudgeRequest, record: Mapping[str, Any]) -> None:
        """Raise UserError where the first token of a number is only its first digit."""
        if request.method == "top_logprobs":
            shares = record["verdicts"][request.rubric]["probabilities"]
            if problem := self._digits.problem(shares or {}):
                raise UserError(f"{self.endpoint.name}: {problem}")

    def _refused(self, request: JudgeRequest, fault: Final, attempt: int) -> dict[str, Any]:
        if fault.status == "truncated":
            attempt = 0  # refused unread
        record = failed_record(request, fault.status, str(fault), self.endpoint.model, attempt)
        self._failed_in_a_row = 0
        if was_answered(record):
            self.journal.append(request.key, record)
            return record
        self.faults[str(fault)] += 1
        self._refused_in_a_row += fault.status == "api_error"
        if self._refused_in_a_row >= max(FAILED_IN_A_ROW, self.concurrency):
            raise TemporaryError(
                f"endpoint {self.endpoint.host}: {self._refused_in_a_row} requests in a row were "
                f"refused, the last one with {fault}: run again when it answers"
            )
        return record

    async def _attempt(self, request: JudgeRequest, bounds: bool) -> Reply:
        """Send once, within the throttle and the budget."""
        async with self._throttle.slot() as started:
            if self._stop.is_set():
                raise Stopped
            characters = characters_of(request.messages)
            reserved = self.budget.reserve(characters, most_tokens(self.judge, request))
            try:
                reply = await self.endpoint.ask(request_body(self.judge, request, bounds))
            except FailedAttempt as fault:
                if fault.charged:
                    self.budget.settle(reserved, None, None)
                else:
                    self.budget.settle_refused(reserved)
                if fault.slow_down:
                    self._slow_down(started, fault.retry_after_s)
                raise
            except Final as fault:
                if fault.charged:
                    self.budget.settle(reserved, None, None)
                else:
                    self.budget.settle_refused(reserved)
                raise
            except UserError:
                self.budget.settle_refused(reserved)
                raise
            except BaseException:  # aborted: the endpoint may answer, and charge for it
                self.budget.settle(reserved, None, None)
                raise
            self.budget.settle(reserved, reply.prompt_tokens, reply.completion_tokens)
            self._throttle.answered()
            return reply

    def _slow_down(self, started: float, retry_after_s: float | None) -> None:
        if retry_after_s is not None and retry_after_s > LONGEST_RETRY_AFTER_S:
            raise TemporaryError(
                f"endpoint {self.endpoint.host}: asks for a pause of {retry_after_s:.0f} s: "
                "run again after that time"
            )
        self._throttle.refused(started, retry_after_s)

    async def _wait(self, attempt: int, retry_after_s: float | None) -> None:
        """Wait before the next attempt, or until the run is stopped."""
        wait = wait_before_retry(attempt, self._random, FIRST_WAIT_S, LONGEST_WAIT_S)
        seconds = max(wait, retry_after_s or 0.0)
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return
        raise Stopped


def refuses_bounds(request: JudgeRequest, fault: Final) -> bool:
    """Whether an endpoint refuses a schema because its numbers have bounds (Anthropic does)."""
    named = "minimum" in str(fault) or "maximum" in str(fault)
    return request.method == "structured" and fault.status == "api_error" and named
