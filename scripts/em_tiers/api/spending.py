"""The cost of judging: tokens, money, ceilings that stop in time, and the cost of a rerun."""

import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from em_tiers.api.replies import Reply
from em_tiers.errors import UserError

Prices = Mapping[str, float]
CHARACTERS_A_TOKEN = 3.0  # a cautious guess for plain text, until the endpoint's own counts are in


class Ledger(Protocol):
    """Where attempts are written down (see `ledger.Ledger`)."""

    def reserve(
        self, attempt: str, prompt_tokens: int, completion_tokens: int, batch: bool
    ) -> None: ...

    def settle(
        self,
        attempt: str,
        prompt_tokens: int,
        completion_tokens: int,
        estimated: bool,
        batch: bool,
    ) -> None: ...


class CeilingReached(UserError):
    """The next request might go beyond a ceiling of the judge's entry."""


def cost_usd(prompt_tokens: int, completion_tokens: int, prices: Prices | None) -> float | None:
    """US dollars for so many tokens at prices per million tokens; None without prices."""
    if not prices:
        return None
    return (
        prompt_tokens * prices["input_per_million"]
        + completion_tokens * prices["output_per_million"]
    ) / 1e6


@dataclass
class Spent:
    """Requests sent and tokens counted. Completion tokens include those of a judge's thinking.

    `batch_*` are those of the tokens that were asked for in batches, which cost less.
    """

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    batch_prompt_tokens: int = 0
    batch_completion_tokens: int = 0

    def add(
        self, requests: int, prompt_tokens: int, completion_tokens: int, batch: bool = False
    ) -> None:
        self.requests += requests
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens
        if batch:
            self.batch_prompt_tokens += prompt_tokens
            self.batch_completion_tokens += completion_tokens

    def usd(self, prices: Prices | None) -> float | None:
        """US dollars at prices per million tokens, with their `batch_share`; None without."""
        whole = cost_usd(self.prompt_tokens, self.completion_tokens, prices)
        if whole is None or not prices:
            return None
        batch = cost_usd(self.batch_prompt_tokens, self.batch_completion_tokens, prices) or 0.0
        return whole - (1.0 - prices.get("batch_share", 1.0)) * batch

    def words(self, prices: Prices | None) -> str:
        """Such as "1,200 requests, 260,000 + 1,200 tokens, 0.66 USD"."""
        usd = self.usd(prices)
        tokens = f"{self.prompt_tokens:,} + {self.completion_tokens:,} tokens"
        return f"{self.requests:,} requests, {tokens}" + ("" if usd is None else f", {usd:.2f} USD")


@dataclass(frozen=True)
class Reserved:
    """What one request may take, as long as its answer is not here."""

    attempt: str
    characters: int
    prompt_tokens: int
    completion_tokens: int
    batch: bool = False


class Budget:
    """Ceilings on requests, tokens and money, held while many requests run at once.

    A request reserves what it may take before it is sent: its prompt, estimated from its length,
    and all the tokens that it may answer with. Sent and reserved requests together stay within the
    ceilings; only a wrong estimate of a prompt can go beyond them, and the estimate
    follows the endpoint's own counts.

    Args:
        limits: any of requests, tokens (prompt and completion together) and usd; None: no ceiling.
        prices: US dollars per million tokens (input_per_million, output_per_million), and
            batch_share, the share of them that batched requests cost.
        spent: what earlier runs already took; the ceilings hold for both together.
        ledger: where each attempt is written down before it is sent, and again when it has ended.

    Raises:
        UserError: a ceiling on money without prices, or a limit that is not known.
    """

    def __init__(
        self,
        limits: Mapping[str, float] | None,
        prices: Prices | None,
        spent: Spent | None = None,
        ledger: Ledger | None = None,
    ):
        self.limits = {name: value for name, value in (limits or {}).items() if value is not None}
        self.prices = prices
        self.spent = spent or Spent()
        self.ledger = ledger
        self._token = secrets.token_hex(4)
        self._open = Spent()
        self._tokens_a_character = 1.0 / CHARACTERS_A_TOKEN
        unknown = set(self.limits) - {"requests", "tokens", "usd"}
        if unknown:
            raise UserError(f"limits: {sorted(unknown)}: use requests, tokens or usd")
        if "usd" in self.limits and not prices:
            raise UserError(
                f"limits: usd: {self.limits['usd']}: money cannot be counted without prices: "
                "give prices: {input_per_million, output_per_million} in the judge's entry"
            )

    def reserve(self, characters: int, completion_tokens: int, batch: bool = False) -> Reserved:
        """Set aside what a request may take.

        Args:
            characters: length of the prompt's text.
            completion_tokens: the most tokens that the answers may have together.
            batch: whether it is sent in a batch.

        Raises:
            CeilingReached: with this request a ceiling might be passed.
            TemporaryError: the ledger cannot be written; do not send the request.
        """
        attempt = f"{self._token}.{self.spent.requests + self._open.requests}"
        prompt_tokens = round(characters * self._tokens_a_character) + 1
        reserved = Reserved(attempt, characters, prompt_tokens, completion_tokens, batch)
        for name, limit in self.limits.items():
            if self._with(reserved, name) > limit:
                raise CeilingReached(f"the ceiling on {name} ({limit:,}) is reached")
        if self.ledger:
            self.ledger.reserve(attempt, prompt_tokens, completion_tokens, batch)
        self._open.add(1, prompt_tokens, completion_tokens, batch)
        return reserved

    def reopen(self, reserved: Reserved) -> None:
        """Take up a reservation of an earlier run, which `spent` holds until it is settled."""
        prompt, completion = reserved.prompt_tokens, reserved.completion_tokens
        self.spent.add(-1, -prompt, -completion, reserved.batch)
        self._open.add(1, prompt, completion, reserved.batch)

    def settle(self, reserved: Reserved, prompt: int | None, completion: int | None) -> None:
        """Book a request that was answered, with the tokens that the endpoint counted.

        Without counts (None) it is booked as reserved. So is one whose answer was lost on the way
        or came too late: the endpoint may charge for it.
        """
        batch = reserved.batch
        self._open.add(-1, -reserved.prompt_tokens, -reserved.completion_tokens, batch)
        metered = prompt is not None
        if not metered:
            prompt, completion = reserved.prompt_tokens, reserved.completion_tokens
        elif completion is None:
            completion = reserved.completion_tokens
        self.spent.add(1, prompt, completion, batch)
        if self.ledger:
            self.ledger.settle(reserved.attempt, prompt, completion, not metered, batch)
        if not metered:
            return
        if reserved.characters:
            # The highest ratio seen: a mean would let half of the prompts pass the ceiling.
            seen = prompt / reserved.characters
            self._tokens_a_character = max(seen, self._tokens_a_character)

    def settle_refused(self, reserved: Reserved) -> None:
        """Book an attempt that the endpoint turned away: it counts as a request without tokens."""
        self.settle(reserved, 0, 0)

    def settle_failed(self, reserved: Reserved, error: BaseException) -> None:
        """Book an attempt that ended with an error, as reserved if it may be charged for.

        An error without a note of that is the workflow's own finding (UserError), which comes
        before any answer, or an abort, after which the endpoint may answer all the same.
        """
        if getattr(error, "charged", not isinstance(error, UserError)):
            self.settle(reserved, None, None)
        else:
            self.settle_refused(reserved)

    async def book(
        self, characters: int, completion_tokens: int, send: Callable[[], Awaitable[Reply]]
    ) -> Reply:
        """The reply of one request, which is reserved, sent and booked however it ends.

        Raises:
            CeilingReached, TemporaryError: see `reserve`; nothing was sent.
        """
        reserved = self.reserve(characters, completion_tokens)
        try:
            reply = await send()
        except BaseException as error:
            self.settle_failed(reserved, error)
            raise
        self.settle(reserved, reply.prompt_tokens, reply.completion_tokens)
        return reply

    def _with(self, reserved: Reserved, name: str) -> float:
        """What would be spent of `name` at most, with everything open and `reserved`."""
        if name == "requests":
            return self.spent.requests + self._open.requests + 1
        one = Spent()
        one.add(1, reserved.prompt_tokens, reserved.completion_tokens, reserved.batch)
        parts = (self.spent, self._open, one)
        if name == "tokens":
            return sum(part.prompt_tokens + part.completion_tokens for part in parts)
        return sum(part.usd(self.prices) or 0.0 for part in parts)


@dataclass(frozen=True)
class PricedRequest:
    """What the price of a planned request depends on.

    Attributes:
        key: of the journal; None for `count` requests about answers that are not there yet.
        characters, completion_tokens: of one request, at most.
        what: which rubrics it asks.
    """

    key: str | None
    characters: int
    completion_tokens: int
    what: str = ""
    count: int = 1


def open_requests(planned: Iterable[PricedRequest], done: Container[str]) -> list[PricedRequest]:
    """Those that a journal does not answer, each key once."""
    seen: dict[str, PricedRequest] = {}
    unknown = []
    for request in planned:
        if request.key is None:
            unknown.append(request)
        elif request.key not in done:
            seen.setdefault(request.key, request)
    return [*seen.values(), *unknown]


def expected(planned: Iterable[PricedRequest]) -> Spent:
    """What so many requests would take, from the length of their prompts."""
    spent = Spent()
    for request in planned:
        prompt = round(request.characters / CHARACTERS_A_TOKEN) + 1
        n = request.count
        spent.add(n, n * prompt, n * request.completion_tokens)
    return spent


def estimate(
    planned: Iterable[PricedRequest],
    done: Container[str],
    prices: Prices | None,
    without_prices: str = "cost unknown (the judge's entry has no prices)",
) -> str:
    """Say in words what is still to be asked.

    Args:
        planned: one judge's requests; those with equal keys are one.
        done: the keys that the journal holds.
        prices: as in Budget; None: the money is not known.

    Returns:
        Such as "alignment: 480 of 960 requests; in all 480 requests, at most about 96,000 + 480
        tokens, about 0.24 USD".
    """
    planned = list(planned)
    left = open_requests(planned, done)
    every = open_requests(planned, ())
    totals, new = Counter[str](), Counter[str]()
    for request in every:
        totals[request.what] += request.count
    for request in left:
        new[request.what] += request.count
    if not left:
        return f"nothing to ask: all {totals.total():,} requests are answered"
    parts = [f"{what}: {new[what]:,} of {total:,} requests" for what, total in totals.items()]
    return f"{', '.join(parts)}; in all {cost_in_words(left, prices, without_prices)}"


def cost_in_words(
    planned: Iterable[PricedRequest], prices: Prices | None, without_prices: str
) -> str:
    """Such as "480 requests, at most about 96,000 + 480 tokens, about 0.24 USD"."""
    spent = expected(planned)
    usd = cost_usd(spent.prompt_tokens, spent.completion_tokens, prices)
    return (
        f"{spent.requests:,} requests, at most about {spent.prompt_tokens:,} + "
        f"{spent.completion_tokens:,} tokens, {without_prices if usd is None else _usd(usd)}"
    )


def _usd(amount: float) -> str:
    return f"about {amount:.2f} USD" if amount >= 0.01 else "less than 0.01 USD"
