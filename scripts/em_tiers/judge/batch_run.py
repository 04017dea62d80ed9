"""Batch mode of a judge: requests are left with the provider, and collected when it has them.

Records and keys are those of direct requests, so both modes share a journal. Before each step it is
written down which batch is sent, so a job that is killed anywhere pays nothing twice: the next one
finds the batch by its tag and collects it.
"""

import json
import secrets
import time
from collections.abc import Mapping
from typing import Any

from em_tiers.api.anthropic_batches import AnthropicBatches
from em_tiers.api.batch_book import BatchBook, OpenBatch, open_in_words
from em_tiers.api.openai_batches import BatchLine, BatchState, OpenAIBatches, missing_answer
from em_tiers.api.refusals import FailedAttempt, Final, message_of
from em_tiers.api.replies import Reply
from em_tiers.api.spending import CeilingReached, Reserved
from em_tiers.errors import TemporaryError, UserError
from em_tiers.judge.api_requests import characters_of, most_tokens, request_body
from em_tiers.judge.api_run import ApiRun, refuses_bounds
from em_tiers.judge.requests import JudgeRequest
from em_tiers.judge.verdicts import failed_record
from em_tiers.logs import HEARTBEAT, LOG

REQUESTS_IN_BATCH = 10_000  # at most; providers allow 50,000 or 100 to 200 MB
# Between two looks at a batch: twice as long each time.
FIRST_LOOK_S, LONGEST_LOOK_S = 5.0, 120.0
LOOKS_FAILED = 30  # in a row, after which the provider counts as dead
# A batch that was being made when its job was killed can be found after so long, or never.
FOUND_AFTER_S = 60.0


class BatchRun(ApiRun):
    """An ApiRun that asks its first requests directly, as a check, and the others in batches.

    Args:
        book: the open batches of the journal; see ApiRun for the others.
    """

    def __init__(self, *arguments: Any, book: BatchBook):
        super().__init__(*arguments)
        self._book = book
        kind = AnthropicBatches if self.judge.backend == "anthropic" else OpenAIBatches
        self._batches = kind(self.endpoint)

    async def _ask_all(self, pending: list[JudgeRequest]) -> None:
        by_key = {request.key: request for request in pending}
        await self._until_stopped([self.sender.guarded(self._collect_open(by_key))])
        left = [request for key, request in by_key.items() if key not in self._records]
        await self._until_stopped([self._check(left)])
        for _ in range(self.sender.max_attempts):
            left = [request for key, request in by_key.items() if key not in self._records]
            if not left:
                return
            await self._until_stopped([self.sender.guarded(self._send_and_collect(left))])
        for key, request in by_key.items():
            if key not in self._records:
                why = f"no answer in {self.sender.max_attempts} batches"
                record = failed_record(request, "api_error", why, self.endpoint.model)
                self._keep(request, record)

    def _interrupted_by(self, signal: str) -> UserError:
        self.interrupted = super()._interrupted_by(signal)
        if words := open_in_words(self._book.open(), time.time()):
            left = f"stopped by {signal}: {words}: run again to collect it"
            self.interrupted = TemporaryError(left)
        return self.interrupted

    async def _collect_open(self, by_key: Mapping[str, JudgeRequest]) -> None:
        """Collect what earlier runs have left with the provider, as far as it is wanted now."""
        for batch in self._book.open():
            wanted = batch.requests.keys() & by_key.keys()
            if not wanted and not self._is_answered(batch):
                continue  # of another rubric; it stays where it is
            for key in wanted:
                self.budget.reopen(batch.requests[key])
            if batch.id is None and wanted:
                batch = await self._found(batch)
            if batch.id is None:
                self._give_up(batch, wanted)
            elif wanted:
                await self._collect(batch, by_key)
            else:
                self._book.close(batch)

    def _is_answered(self, batch: OpenBatch) -> bool:
        return self.journal.read(batch.requests).keys() == batch.requests.keys()

    async def _found(self, batch: OpenBatch) -> OpenBatch:
        """The batch with the id under which the provider knows it, if it was ever made."""
        await self.sender.pause(batch.planned_at + FOUND_AFTER_S - time.time())
        number = await self._find(batch)
        return self._book.sent(batch, number) if number else batch

    async def _find(self, batch: OpenBatch) -> str | None:
        known = {other.id for other in self._book.open() if other.id}
        return await self._batches.find(batch, known, self.sender.pause)

    def _give_up(self, batch: OpenBatch, keys: Any) -> None:
        """Forget a batch of which nothing was asked."""
        for key in keys:
            self.budget.settle_refused(batch.requests[key])
        self._book.close(batch)

    async def _send_and_collect(self, requests: list[JudgeRequest]) -> None:
        by_key = {request.key: request for request in requests}
        reserved, ceiling = self._reserve(requests)
        keys = list(reserved)
        sent = []
        for start in range(0, len(keys), REQUESTS_IN_BATCH):
            part = {key: reserved[key] for key in keys[start : start + REQUESTS_IN_BATCH]}
            sent.append(await self._send(part, by_key))
        for batch in sent:
            await self._collect(batch, by_key)
        if ceiling:
            raise ceiling

    def _reserve(
        self, requests: list[JudgeRequest]
    ) -> tuple[dict[str, Reserved], CeilingReached | None]:
        """Set aside what the requests may take, up to a ceiling."""
        reserved: dict[str, Reserved] = {}
        try:
            for request in requests:
                tokens = most_tokens(self.judge, request)
                characters = characters_of(request.messages)
                reserved[request.key] = self.budget.reserve(characters, tokens, batch=True)
        except CeilingReached as ceiling:
            return reserved, ceiling
        except UserError:
            for each in reserved.values():
                self.budget.settle_refused(each)
            raise
        return reserved, None

    async def _send(
        self, reserved: dict[str, Reserved], by_key: Mapping[str, JudgeRequest]
    ) -> OpenBatch:
        batch = self._book.plan(f"em-tiers-{secrets.token_hex(12)}", reserved)
        bodies = [(k, request_body(self.judge, by_key[k], self._bounds)) for k in reserved]
        for attempt in range(1, self.sender.max_attempts + 1):
            try:
                batch = self._book.sent(batch, await self._batches.submit(bodies, batch.tag))
                break
            except FailedAttempt as fault:
                self.faults[str(fault)] += 1
                if attempt == self.sender.max_attempts:
                    raise
                await self.sender.wait(attempt, fault.retry_after_s)
                if number := await self._find(batch):
                    batch = self._book.sent(batch, number)
                    break
            except (UserError, Final):
                self._give_up(batch, reserved)
                raise
        LOG.info("%s: batch %s sent: %d requests", self._what, batch.id, len(reserved))
        return batch

    async def _collect(self, batch: OpenBatch, by_key: Mapping[str, JudgeRequest]) -> None:
        """Wait for a batch, and take its answers."""
        try:
            state = await self._ended(batch)
        except UserError as error:
            if self.sender.stopping.is_set() or isinstance(error, TemporaryError):
                raise
            self._give_up(batch, batch.requests.keys() & by_key.keys())
            raise
        lines = {line.key: line for line in await self._lines(state)}
        problem: UserError | None = None
        for key in batch.requests.keys() & by_key.keys():
            try:
                self._take(by_key[key], lines.get(key), batch.requests[key])
            except UserError as error:  # the others are paid for as well
                problem = problem or error
        if batch.requests.keys() <= by_key.keys() or self._is_answered(batch):
            self._book.close(batch)
        if problem:
            raise problem

    async def _ended(self, batch: OpenBatch) -> BatchState:
        """The state of a batch once it has ended."""
        pause, failed = FIRST_LOOK_S, 0
        while True:
            try:
                state = await self._batches.state(batch.id)
                failed = 0
                HEARTBEAT.state = f"{self._what}: batch {batch.id}: {state.words}"
                if state.ended:
                    return state
            except FailedAttempt as fault:
                failed += 1
                if failed >= LOOKS_FAILED:
                    raise
                LOG.warning("%s: batch %s: %s; looking again", self._what, batch.id, fault)
            await self.sender.pause(pause)
            pause = min(2 * pause, LONGEST_LOOK_S)

    async def _lines(self, state: BatchState) -> list[BatchLine]:
        for attempt in range(1, self.sender.max_attempts + 1):
            try:
                return await self._batches.lines(state)
            except FailedAttempt as fault:
                if attempt == self.sender.max_attempts:
                    raise
                await self.sender.wait(attempt, fault.retry_after_s)
        raise AssertionError("max_attempts is at least 1")

    def _take(self, request: JudgeRequest, line: BatchLine | None, reserved: Reserved) -> None:
        """Book and keep one answer; one that failed in passing is left for the next batch."""
        try:
            reply = self._read(request, line)
        except Final as fault:
            self.budget.settle_failed(reserved, fault)
            if refuses_bounds(request, fault):
                self._bounds = False  # in the next batch
            else:
                self._keep(request, self._refused(request, fault))
        except FailedAttempt as fault:
            self.budget.settle_failed(reserved, fault)
            self.faults[str(fault)] += 1
        else:
            self.budget.settle(reserved, reply.prompt_tokens, reply.completion_tokens)
            self._keep(request, self._answered(request, reply, 1, mode="batch"))

    def _read(self, request: JudgeRequest, line: BatchLine | None) -> Reply:
        if line is None or line.status is None:
            raise missing_answer()
        if line.status == 200:
            body = request_body(self.judge, request, self._bounds)
            return self.endpoint.read(json.dumps(line.body), body)
        raise self.endpoint.refusal(line.status, line.body, message_of(line.body))
