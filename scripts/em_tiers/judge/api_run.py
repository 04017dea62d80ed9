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
from em_tiers.api.sending import Sender
from em_tiers.api.spending import Budget
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
from em_tiers.logs import LOG


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
        self.budget = budget
        self.sender = Sender(endpoint, settings, budget)
        self.journal = journal
        self.usable = usable
        self.again = again
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

    @property
    def faults(self) -> Counter[str]:
        """Failed attempts, by reason."""
        return self.sender.faults

    async def _run(self, pending: list[JudgeRequest]) -> Records:
        self._records: Records = {}
        self._total = len(pending)
        async with self.sender.run(self._interrupted_by):
            await self._ask_all(pending)
        return self._records

    async def _ask_all(self, pending: list[JudgeRequest]) -> None:
        await self._until_stopped([self._check(pending)])
        rest = iter([request for request in pending if request.key not in self._records])
        await self._until_stopped([self._work(rest) for _ in range(self.sender.concurrency)])

    def _interrupted_by(self, signal: str) -> UserError:
        self.interrupted = TemporaryError(f"stopped by {signal}")
        return self.interrupted

    async def _until_stopped(self, work: list[Any]) -> None:
        await self.sender.until_stopped(work)
        if error := self.sender.error:
            left = self._total - sum(was_answered(record) for record in self._records.values())
            kind = TemporaryError if isinstance(error, TemporaryError) else UserError
            raise kind(
                f"judge {self.judge_name}: {error}: {left:,} of {self._total:,} requests are left; "
                f"spent {self.sender.spent}; what was answered is kept and will not be asked again"
            ) from None

    async def _work(self, requests: Iterator[JudgeRequest]) -> None:
        for request in requests:
            self._keep(request, await self.sender.guarded(self._answer(request)))

    def _keep(self, request: JudgeRequest, record: dict[str, Any]) -> None:
        self._records[request.key] = record
        self.sender.report(self._what, len(self._records), self._total)

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
            attempts = 2 if check.failed else None
            record = await self.sender.guarded(self._answer(request, attempts, check))
            problem = check.problem(request, record)
            if check.was_conclusive:
                self._keep(request, record)
            if problem:
                raise await self.sender.halt(problem)
            if check.passed:
                return

    async def _answer(
        self, request: JudgeRequest, attempts: int | None = None, check: FirstCheck | None = None
    ) -> dict[str, Any]:
        """The record of one request, journaled when it was answered."""
        bounds = self._bounds
        body = request_body(self.judge, request, bounds)
        tokens = most_tokens(self.judge, request)
        hopeless = check.lacks if check else lambda fault: False
        try:
            reply, attempt = await self.sender.ask(
                body, characters_of(request.messages), tokens, attempts, hopeless
            )
        except Final as fault:
            if bounds and refuses_bounds(request, fault):
                self._bounds = False
                return await self._answer(request, attempts, check)
            if check:
                check.refused(fault)
            return self._refused(request, fault)
        except FailedAttempt as fault:
            model = self.endpoint.model
            return failed_record(request, "api_error", fault.full, model, fault.attempts)
        return self._answered(request, reply, attempt)

    def _answered(
        self, request: JudgeRequest, reply: Reply, attempt: int, mode: str = "direct"
    ) -> dict[str, Any]:
        """The record of a reply, journaled before anything else can fail."""
        record = reply_record(reply, self.judge, request, attempt) | {"mode": mode}
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

    def _refused(self, request: JudgeRequest, fault: Final) -> dict[str, Any]:
        attempts = 0 if fault.status == "truncated" else fault.attempts  # 0: refused unread
        record = failed_record(request, fault.status, str(fault), self.endpoint.model, attempts)
        if was_answered(record):
            self.journal.append(request.key, record)
        else:
            self.faults[str(fault)] += 1
        return record


def refuses_bounds(request: JudgeRequest, fault: Final) -> bool:
    """Whether an endpoint refuses a schema because its numbers have bounds (Anthropic does)."""
    named = "minimum" in str(fault) or "maximum" in str(fault)
    return request.method == "structured" and fault.status == "api_error" and named
