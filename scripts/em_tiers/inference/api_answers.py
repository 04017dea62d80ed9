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
from em_tiers.api.sending import Sender
from em_tiers.api.spending import Budget
from em_tiers.errors import TemporaryError, UserError
from em_tiers.hashing import hash_of
from em_tiers.inference.sampling import Decoding
from em_tiers.journal import Journal
from em_tiers.thinking import split_thinking

WITHHELD = "content_filter"  # finish reason of an answer that the provider withholds
# Different requests to ask before it is concluded that an endpoint answers none,
FAILED_IN_CHECK = 3
# and this many where it refuses them, which may be for what they say.
REFUSED_IN_CHECK = 10


@dataclass(frozen=True)
class ApiRequest:
    """One answer that is wanted. `seed` None leaves it to the endpoint."""

    key: str
    messages: tuple[Mapping[str, str], ...]
    seed: int | None


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
        self.sender = Sender(endpoint, settings, budget)
        self.journal = journal
        self.thinks = thinks
        self._random = random.Random()

    @property
    def faults(self) -> Counter[str]:
        """Failed attempts, by reason."""
        return self.sender.faults

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
        self._failed: dict[str, str] = {}  # key -> reason
        self._refused: dict[str, str] = {}
        try:
            asyncio.run(self._run(list(requests)))
            error = self.sender.error
        except asyncio.CancelledError:
            error = TemporaryError("aborted: the endpoint may charge for what was under way")
        left = self._total - len(self._records)
        if error or left:
            error = error or self._unanswered()
            kind = TemporaryError if isinstance(error, TemporaryError) else UserError
            raise kind(
                f"models.{self.name}: {error}: {left:,} of {self._total:,} answers are left; "
                f"spent {self.sender.spent}; what was answered is kept and will not be asked "
                "again: run again"
            ) from None
        return self._records

    def _unanswered(self) -> UserError:
        """What requests that have no answer mean for the run."""
        if self._failed:
            return TemporaryError(f"requests failed ({_most_common(self._failed)})")
        reason = _most_common(self._refused)
        return UserError(f"requests were refused ({reason}): correct or remove their questions")

    async def _run(self, requests: list[ApiRequest]) -> None:
        async with self.sender.run(lambda signal: TemporaryError(f"stopped by {signal}")):
            await self.sender.until_stopped([self._check(requests)])
            done = self._records.keys() | self._refused.keys()
            rest = iter([each for each in requests if each.key not in done])
            work = [self._work(rest) for _ in range(self.sender.concurrency)]
            await self.sender.until_stopped(work)

    async def _check(self, requests: list[ApiRequest]) -> None:
        """Ask different requests until one is answered, drawn again in each run.

        An endpoint that cannot answer is not asked thousands of times, and one question that it
        refuses or breaks on does not end the run.
        """
        drawn = self._random.sample(requests, min(REFUSED_IN_CHECK, len(requests)))
        for request in drawn:
            await self.sender.guarded(self._answer(request))
            if request.key in self._records:
                return
            if len(self._failed) >= FAILED_IN_CHECK:
                break
        if self._failed or len(requests) > len(drawn):
            unanswered = self._failed | self._refused
            raise await self.sender.halt(
                TemporaryError(
                    f"{self.endpoint.name}: the first {len(unanswered)} requests, about different "
                    f"questions, were not answered: {_most_common(unanswered)}"
                )
            )

    async def _work(self, requests: Iterator[ApiRequest]) -> None:
        for request in requests:
            await self.sender.guarded(self._answer(request))

    async def _answer(self, request: ApiRequest) -> None:
        """Keep the record of one request; one that is not answered has none."""
        characters = sum(len(message["content"]) for message in request.messages)
        body = request_body(request, self._decoding)
        try:
            reply, attempt = await self.sender.ask(
                body, characters, self._decoding.new_tokens, hopeless=lambda fault: fault.lacks
            )
        except Final as fault:
            self.faults[str(fault)] += 1
            if fault.status == "judge_refusal":  # a content filter withholds this answer only
                self._keep(request, _record("", WITHHELD, self.endpoint.model, fault.attempts))
            else:
                self._refused[request.key] = _with_remedy(str(fault), fault.remedy)
        except FailedAttempt as fault:
            self._failed[request.key] = _with_remedy(fault.full, fault.lacks)
        else:
            self._keep(request, self._record_of(reply, attempt))

    def _keep(self, request: ApiRequest, record: dict[str, Any]) -> None:
        self.journal.append(request.key, record)
        self._records[request.key] = record
        self._failed.pop(request.key, None)
        self.sender.report(self._what, len(self._records), self._total)

    def _record_of(self, reply: Reply, attempt: int) -> dict[str, Any]:
        choice = reply.choices[0]
        reasoning, text = choice.reasoning, choice.refusal or choice.text
        if self.thinks and not reasoning:
            reasoning, text = split_thinking(text, "on")
        finish = "length" if choice.finish_reason == "length" else "stop"
        tokens = (reply.prompt_tokens, reply.completion_tokens)
        return _record(text, finish, reply.served_model, attempt, reasoning, *tokens)


def _with_remedy(reason: str, remedy: str | None) -> str:
    return f"{reason}: {remedy}" if remedy else reason


def _most_common(reasons: Mapping[str, str]) -> str:
    return Counter(reasons.values()).most_common(1)[0][0]


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
