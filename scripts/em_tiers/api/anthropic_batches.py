"""Anthropic's message batches: half the price, within a day."""

import datetime
import json
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from em_tiers.api.anthropic_client import AnthropicEndpoint, message_request
from em_tiers.api.batch_book import OpenBatch
from em_tiers.api.openai_batches import BatchLine, BatchState

CLOCKS_DIFFER_S = 300.0
_LISTED = 100  # batches of a page
_PAGES = 20
_LOOK_S = 30.0
# HTTP statuses of the errors that a result names, as documented.
_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}


class AnthropicBatches:
    """Batches of messages at an entered `AnthropicEndpoint`; see OpenAIBatches."""

    def __init__(self, endpoint: AnthropicEndpoint):
        self._endpoint = endpoint

    async def submit(self, requests: Sequence[tuple[str, Mapping[str, Any]]], tag: str) -> str:
        """Make a batch of (key, body) pairs; returns its id. It has no place for the tag."""
        extra = self._endpoint.settings.get("extra_body") or {}
        asked = [
            {"custom_id": key, "params": message_request(self._endpoint.model, body) | extra}
            for key, body in requests
        ]
        batch = await self._endpoint.call(
            lambda: self._endpoint.client.messages.batches.create(requests=asked)
        )
        return batch.id

    async def find(
        self,
        batch: OpenBatch,
        known: Collection[str],
        pause: Callable[[float], Awaitable[None]],
    ) -> str | None:
        """The id of a batch that was being made when its job was killed; None if it never was.

        A batch shows its requests only when it has ended: those of the right time and size are
        waited for.
        """
        async for found in self._listed():
            created = found.created_at
            if isinstance(created, str):
                created = datetime.datetime.fromisoformat(created)
            if created.timestamp() < batch.planned_at - CLOCKS_DIFFER_S:
                return None
            counts = found.request_counts
            total = counts.canceled + counts.errored + counts.expired + counts.processing
            if found.id in known or total + counts.succeeded != len(batch.requests):
                continue
            while not (state := await self.state(found.id)).ended:
                await pause(_LOOK_S)
            if any(line.key in batch.requests for line in await self.lines(state)):
                return found.id
        return None

    async def _listed(self) -> Any:
        """All batches, the newest first."""
        after: dict[str, str] = {}
        for _ in range(_PAGES):
            page = await self._endpoint.call(
                lambda more=after: self._endpoint.client.messages.batches.list(
                    limit=_LISTED, **more
                )
            )
            for batch in page.data:
                yield batch
            if not page.data or not page.has_more:
                return
            after = {"after_id": page.data[-1].id}

    async def state(self, batch: str) -> BatchState:
        """Where a batch is."""
        found = await self._endpoint.call(
            lambda: self._endpoint.client.messages.batches.retrieve(batch)
        )
        ended = found.processing_status == "ended"
        counts = found.request_counts
        words = f"{found.processing_status}, {counts.processing} in work"
        return BatchState(ended, words, (batch,) if ended else ())

    async def lines(self, state: BatchState) -> list[BatchLine]:
        """The answers of an ended batch, in any order."""
        found: list[BatchLine] = []
        for batch in state.files:
            text = await self._endpoint.call(
                lambda name=batch: self._endpoint.client.get(
                    f"/v1/messages/batches/{name}/results", cast_to=str
                ),
                bounded=False,
            )
            found += _read_lines(self._endpoint.without_key(text))
        return found


def _read_lines(text: str) -> Iterator[BatchLine]:
    for line in text.split("\n"):
        try:
            entry = json.loads(line)
            key, result = entry["custom_id"], entry["result"]
            kind = result["type"]
            if kind == "succeeded":
                yield BatchLine(key, 200, result["message"])
            elif kind == "errored":
                body = result["error"]
                yield BatchLine(key, _STATUS.get(body["error"]["type"], 500), body)
            else:  # expired or cancelled: it was not asked
                yield BatchLine(key, None, None)
        except (ValueError, RecursionError, TypeError, KeyError):
            continue  # an answer that cannot be read is missing: it is asked again
