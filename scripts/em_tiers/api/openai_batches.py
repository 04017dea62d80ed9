"""The batch interface of OpenAI and of endpoints that copy it: half the price, within a day.

Requests go up as a file, a batch is made of it, and its answers come down as an output file and an
error file. Azure, Groq, Mistral's and Together's own variants differ in parts and are not meant.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from em_tiers.api.batch_book import OpenBatch
from em_tiers.api.client import Endpoint
from em_tiers.api.refusals import FailedAttempt, shown
from em_tiers.errors import UserError

TAG = "em_tiers"  # key of the metadata by which a batch is found again
_ENDED = {"completed", "expired", "cancelled", "failed"}
_LISTED = 100  # batches of a page
_PAGES = 20


@dataclass(frozen=True)
class BatchState:
    """Where a batch is.

    Attributes:
        ended: no answer will be added.
        words: the provider's name of its state, and how many requests are done.
        files: ids of the files that hold its answers.
    """

    ended: bool
    words: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class BatchLine:
    """The answer to one request: HTTP status and JSON body; no status where it was not asked."""

    key: str
    status: int | None
    body: Any


class OpenAIBatches:
    """Batches of chat completion requests at an entered `Endpoint`."""

    def __init__(self, endpoint: Endpoint):
        self._endpoint = endpoint

    async def submit(self, requests: Sequence[tuple[str, Mapping[str, Any]]], tag: str) -> str:
        """Make a batch of (key, body) pairs; returns its id.

        Raises:
            FailedAttempt: it may have been made all the same: look for its tag.
            UserError, Final: as Endpoint.ask.
        """
        extra = self._endpoint.settings.get("extra_body") or {}
        lines = (
            json.dumps(
                {
                    "custom_id": key,
                    "method": "POST",
                    "url": "/v1/chat/completions",
                    "body": {"model": self._endpoint.model, **_sent(body), **extra},
                }
            )
            for key, body in requests
        )
        content = "\n".join(lines).encode()
        client = self._endpoint.client
        file = await self._endpoint.call(
            lambda: client.files.create(file=(f"{tag}.jsonl", content), purpose="batch")
        )
        batch = await self._endpoint.call(
            lambda: client.batches.create(
                completion_window="24h",
                endpoint="/v1/chat/completions",
                input_file_id=file.id,
                metadata={TAG: tag},
            )
        )
        return batch.id

    async def find(self, batch: OpenBatch, *_: Any) -> str | None:
        """The id of the batch with this tag; None when it was never made."""
        tag = batch.tag
        after: dict[str, str] = {}
        for _ in range(_PAGES):
            page = await self._endpoint.call(
                lambda more=after: self._endpoint.client.batches.list(limit=_LISTED, **more)
            )
            for found in page.data:
                if (found.metadata or {}).get(TAG) == tag:
                    return found.id
            if not page.data or not page.has_more:
                break
            after = {"after": page.data[-1].id}
        return None

    async def state(self, batch: str) -> BatchState:
        """Where a batch is.

        Raises:
            UserError: the provider refused the whole batch; nothing was asked.
        """
        found = await self._endpoint.call(lambda: self._endpoint.client.batches.retrieve(batch))
        files = tuple(filter(None, (found.output_file_id, found.error_file_id)))
        if found.status == "failed" and not files:
            errors = (found.errors.data if found.errors else None) or []
            why = "; ".join(str(error.message) for error in errors[:3]) or "without a reason"
            raise UserError(f"{self._endpoint.name}: batch {batch} was refused: {shown(why)}")
        counts = found.request_counts
        words = f"{found.status}, {counts.completed} of {counts.total}" if counts else found.status
        return BatchState(found.status in _ENDED, words, files)

    async def lines(self, state: BatchState) -> list[BatchLine]:
        """The answers of an ended batch, in any order; some requests may have none."""
        found: list[BatchLine] = []
        for file in state.files:
            content = await self._endpoint.call(
                lambda name=file: self._endpoint.client.files.content(name), bounded=False
            )
            found += _read_lines(self._endpoint.without_key(content.text))
        return found


def _read_lines(text: str) -> Iterator[BatchLine]:
    for line in text.split("\n"):
        try:
            entry = json.loads(line)
            key, response = entry["custom_id"], entry.get("response")
        except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
            continue  # an answer that cannot be read is missing: it is asked again
        if isinstance(key, str) and isinstance(response, dict):
            status = response.get("status_code")
            yield BatchLine(key, status if isinstance(status, int) else None, response.get("body"))


def _sent(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "reasoning_tokens"}


def missing_answer() -> FailedAttempt:
    """Why a request has no answer in its batch: expired, cancelled or lost."""
    return FailedAttempt("no answer in the batch")
