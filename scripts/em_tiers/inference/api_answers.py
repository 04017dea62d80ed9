"""Answers of a model behind an OpenAI-compatible API: requests to journal records.

The client, its ceilings and its ledger are those of judges. A request that fails for a passing
reason is tried again; what is never answered is in no journal, and the next run asks it.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from em_tiers.api.client import Endpoint
from em_tiers.api.refusals import FailedAttempt, Final
from em_tiers.api.replies import Reply
from em_tiers.api.spending import Budget
from em_tiers.api.stopping import stop_tidily
from em_tiers.api.throttle import Throttle
from em_tiers.errors import TemporaryError, UserError
from em_tiers.hashing import hash_of
from em_tiers.inference.sampling import Decoding
from em_tiers.journal import Journal
from em_tiers.logs import HEARTBEAT, LOG
from em_tiers.retry import wait_before_retry
from em_tiers.thinking import split_thinking

FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
# After this many requests that failed in all their attempts, the endpoint counts as dead.
FAILED_IN_A_ROW = 20
WITHHELD = "content_filter"  # finish reason of an answer that the provider withholds


@dataclass(frozen=True)
class ApiRequest:
    """One answer that is wanted. `seed` None leaves it to the endpoint."""

    key: str
    messages: tuple[Mapping[str, str], ...]
    seed: int | None


class Stopped(Exception):
    """The run has ended: a ceiling, a dead endpoint or a signal."""


class ApiAnswers:
    """Asks a model behind an API, and journals each answer as it arrives.

    Args:
        name: of the model in the catalogue.
        endpoint: an Endpoint that is not entered yet.
        settings: concurrency and max_attempts of the model's endpoint.
        budget: what may be spent.
        journal: an open journal.
        thinks: whether the model thinks before it answers.
    """

    def __init__(
        self,
        name: str,
        endpoint: Endpoint,
        settings: Mapping[str, Any],
        budget: Budget,
        journal: Journal,
        thinks: bool = False,
    ):
        self.name = name
        self.endpoint = endpoint
        self.concurrency = settings["concurrency"]
        self.max_attempts = settings["max_attempts"]
        self.budget = budget
        self.journal = journal
        self.thinks = thinks
        self.faults: Counter[str] = Counter()
        self._random = random.Random()

    def ask(
        self, requests: Sequence[ApiRequest], decoding: Decoding, what: str
    ) -> dict[str, dict[str, Any]]:
        """The journal records of all requests, by key.

        Raises:
            UserError: no request can be answered any more, or a ceiling is reached; the message
                says how many are left.
            TemporaryError: some were not answered; the next run asks them.
        """
        if not requests:
            return {}
        self._decoding, self._what, self._total = decoding, what, len(requests)
        self._records: dict[str, dict[str, Any]] = {}
        self._error: UserError | None = None
        self._failed_in_a_row = 0
        try:
            asyncio.run(self._run(list(requests)))
        except asyncio.CancelledError:
            self._error = TemporaryError("aborted: the endpoint may charge for what was under way")
        left = self._total - len(self._records)
        if self._error or left:
            kind = UserError if self._error and not self._passes() else TemporaryError
            often = [fault for fault, _ in self.faults.most_common(1)]
            reason = self._error or f"requests failed ({'; '.join(often)})"
            spent = self.budget.spent.words(self.budget.prices)
            raise kind(
                f"models.{self.name}: {reason}: {left:,} of {self._total:,} answers are left; "
                f"spent {spent}; what was answered is kept and will not be asked again: run again"
            ) from None
        return self._records

    def _passes(self) -> bool:
        return isinstance(self._error, TemporaryError)

    async def _run(self, requests: list[ApiRequest]) -> None:
        self._throttle = Throttle(self.concurrency)
        self._stop = asyncio.Event()
        with stop_tidily(self._interrupt):
            async with self.endpoint:
                # The first alone: an endpoint that cannot answer is not asked thousands of times.
                await self._until_stopped([self._work(iter(requests[:1]), first=True)])
                rest = iter(requests[1:])
                await self._until_stopped([self._work(rest) for _ in range(self.concurrency)])

    def _interrupt(self, signal: str) -> None:
        self._halting = asyncio.ensure_future(self._halt(TemporaryError(f"stopped by {signal}")))

    async def _until_stopped(self, work: list[Any]) -> None:
        """Run until all is done; after a stop no attempt begins, and those under way end."""
        for result in await asyncio.gather(*work, return_exceptions=True):
            if isinstance(result, BaseException) and not isinstance(result, Stopped):
                raise result

    async def _halt(self, error: UserError | None) -> Stopped:
        self._error = self._error or error
        self._stop.set()
        await self._throttle.let_all_through()
        return Stopped()

    async def _work(self, requests: Iterator[ApiRequest], first: bool = False) -> None:
        for request in requests:
            if self._stop.is_set():
                return
            try:
                record = await self._answer(request, first)
            except Stopped:
                raise
            except UserError as error:
                raise await self._halt(error) from None
            except BaseException:
                # A defect here, or a full disk: the others must not go on spending.
                await self._halt(None)
                raise
            if record:
                self._keep(request, record)

    def _keep(self, request: ApiRequest, record: dict[str, Any]) -> None:
        self.journal.append(request.key, record)
        self._records[request.key] = record
        done = len(self._records)
        HEARTBEAT.state = f"{self._what}: {done} of {self._total}"
        if done % max(1, self._total // 10) == 0 or done == self._total:
            LOG.info("%s, spent %s", HEARTBEAT.state, self.budget.spent.words(self.budget.prices))

    async def _answer(self, request: ApiRequest, first: bool) -> dict[str, Any] | None:
        """The record of one request; None where all attempts failed."""
        for attempt in range(1, self.max_attempts + 1):
            try:
                reply = await self._attempt(request)
            except Final as fault:
                if fault.status != "judge_refusal":  # a content filter withholds this answer only
                    raise UserError(f"{self.endpoint.name}: {fault}{fault.remedy}") from None
                self.faults[str(fault)] += 1
                return _record("", WITHHELD, self.endpoint.model, attempt)
            except FailedAttempt as fault:
                reason = fault.full
                self.faults[str(fault)] += 1
                if fault.lacks and attempt > 1:
                    raise UserError(f"{self.endpoint.name}: {reason}: {fault.lacks}") from None
                if attempt < self.max_attempts:
                    await self._wait(attempt, fault.retry_after_s)
            else:
                self._failed_in_a_row = 0
                return self._record_of(reply, attempt)
        self._failed_in_a_row += 1
        if first or self._failed_in_a_row >= max(FAILED_IN_A_ROW, self.concurrency):
            raise TemporaryError(
                f"{self.endpoint.name}: no answer in {self.max_attempts} attempts, the last one "
                f"with {reason}"
            )
        return None

    def _record_of(self, reply: Reply, attempt: int) -> dict[str, Any]:
        choice = reply.choices[0]
        reasoning, text = choice.reasoning, choice.refusal or choice.text
        if self.thinks and not reasoning:
            reasoning, text = split_thinking(text, "on")
        finish = "length" if choice.finish_reason == "length" else "stop"
        tokens = (reply.prompt_tokens, reply.completion_tokens)
        return _record(text, finish, reply.served_model, attempt, reasoning, *tokens)

    async def _attempt(self, request: ApiRequest) -> Reply:
        """Send once, within the throttle and the budget."""
        async with self._throttle.slot() as started:
            if self._stop.is_set():
                raise Stopped
            characters = sum(len(message["content"]) for message in request.messages)
            reserved = self.budget.reserve(characters, self._decoding.new_tokens)
            try:
                reply = await self.endpoint.ask(request_body(request, self._decoding))
            except (FailedAttempt, Final) as fault:
                if fault.charged:
                    self.budget.settle(reserved, None, None)
                else:
                    self.budget.settle_refused(reserved)
                if isinstance(fault, FailedAttempt) and fault.slow_down:
                    self._throttle.refused(started, fault.retry_after_s)
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

    async def _wait(self, attempt: int, retry_after_s: float | None) -> None:
        """Wait before the next attempt, or until the run is stopped."""
        wait = wait_before_retry(attempt, self._random, FIRST_WAIT_S, LONGEST_WAIT_S)
        try:
            async with asyncio.timeout(max(wait, retry_after_s or 0.0)):
                await self._stop.wait()
        except TimeoutError:
            return
        raise Stopped


def request_body(request: ApiRequest, decoding: Decoding) -> dict[str, Any]:
    """The chat completion request, without the model's name."""
    body: dict[str, Any] = {
        "messages": list(request.messages),
        "temperature": decoding.temperature,
        "top_p": decoding.top_p,
        # Models that think know the new name only, many other servers only the old one.
        "max_completion_tokens" if decoding.reasoning_tokens else "max_tokens": decoding.new_tokens,
    }
    return body | ({} if request.seed is None else {"seed": request.seed})


def _record(
    text: str,
    finish_reason: str,
    served_model: str,
    attempts: int,
    reasoning: str | None = None,
    prompt_tokens: int | None = None,
    completion_tokens: int | None = None,
) -> dict[str, Any]:
    """What the journal keeps of an answer; `engine` tells who answered."""
    return {
        "text": text,
        "reasoning": reasoning,
        "finish_reason": finish_reason,
        "served_model": served_model,
        "engine": hash_of(["openai", served_model], 16),
        "attempts": attempts,
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
    }
