"""Which batches are with the provider: noted before each step, so that none is sent twice."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from em_tiers.api.spending import Reserved
from em_tiers.journal import Journal, iterate_journal

FOLDER = "batches"


@dataclass(frozen=True)
class OpenBatch:
    """A batch whose answers are not collected yet.

    Attributes:
        tag: our own name of it, which the provider keeps.
        planned_at: seconds since the epoch.
        id: the provider's; None where the job was killed before it knew.
        requests: key -> what is set aside for the request.
    """

    tag: str
    planned_at: float
    id: str | None
    requests: Mapping[str, Reserved]


class BatchBook:
    """The batches of a journal, written by one job.

    Args:
        journal: folder of the journal.
        writer: name of the job.
    """

    def __init__(self, journal: Path | str, writer: str):
        self.journal = Path(journal)
        self._book = Journal(self.journal / FOLDER, writer)

    def __enter__(self) -> "BatchBook":
        self._book.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._book.__exit__(kind, error, trace)

    def plan(self, tag: str, requests: Mapping[str, Reserved]) -> OpenBatch:
        """Note a batch before it is sent."""
        batch = OpenBatch(tag, time.time(), None, requests)
        rows = {
            key: [r.attempt, r.characters, r.prompt_tokens, r.completion_tokens]
            for key, r in requests.items()
        }
        self._book.append(tag, {"planned_at": batch.planned_at, "requests": rows})
        return batch

    def sent(self, batch: OpenBatch, number: str) -> OpenBatch:
        """Note the provider's id of a batch."""
        self._book.append(batch.tag, {"id": number})
        return OpenBatch(batch.tag, batch.planned_at, number, batch.requests)

    def close(self, batch: OpenBatch) -> None:
        """Note that a batch's answers are all in the journal, or that it was never made."""
        self._book.append(batch.tag, {"closed": True})

    def open(self) -> list[OpenBatch]:
        """All open batches of the journal, whichever job sent them, oldest first."""
        return open_batches(self.journal)


def open_batches(journal: Path | str) -> list[OpenBatch]:
    """The batches of a journal that are still to be collected, oldest first."""
    merged: dict[str, dict] = {}
    for tag, record in iterate_journal(Path(journal) / FOLDER):
        merged.setdefault(tag, {}).update(record)
        if merged[tag].get("closed"):
            merged[tag] = {"closed": True}  # its requests need no memory
    found = [
        OpenBatch(tag, record["planned_at"], record.get("id"), _requests(record["requests"]))
        for tag, record in merged.items()
        if "requests" in record and not record.get("closed")
    ]
    return sorted(found, key=lambda batch: batch.planned_at)


def open_in_words(batches: Iterable[OpenBatch], now: float) -> str | None:
    """Such as "2 batches with the provider (24,000 requests), sent 3 h ago"; None without any."""
    batches = list(batches)
    if not batches:
        return None
    count, requests = len(batches), sum(len(batch.requests) for batch in batches)
    minutes = max(0.0, now - batches[0].planned_at) / 60
    ago = f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.0f} h"
    many = "batch" if count == 1 else "batches"
    return f"{count} {many} with the provider ({requests:,} requests), sent {ago} ago"


def _requests(rows: Mapping[str, list]) -> dict[str, Reserved]:
    return {key: Reserved(*row, batch=True) for key, row in rows.items()}
