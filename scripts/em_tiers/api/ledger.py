"""The ledger of spending: each attempt, written down before it is sent and when it has ended.

Beside the journal of answers, in a folder of its own, because an attempt that is paid for may bring
no answer. An attempt that was never settled, because its process was killed, counts as reserved.
"""

import os
from pathlib import Path
from types import TracebackType
from typing import Any

from em_tiers.api.spending import Spent
from em_tiers.errors import TemporaryError
from em_tiers.journal import Journal, iterate_journal, line_of
from em_tiers.lease import Lease

FOLDER = "ledger"
_BEFORE = "before"  # what was spent when the ledger began, according to the journal
_LEASE = "asking.lease"
_SPARE_BYTES = 65_536


class Ledger:
    """The ledger of a journal, as an asynchronous run's only writer under `writer`.

    While it is open, no other job pays for answers of this journal: two that run side by side would
    not see each other's answers, and each would spend up to the ceilings.

    Args:
        journal: folder of the journal.
        writer: name of the job.

    Raises:
        TemporaryError: on entry, when another live job has this journal's ledger open.
    """

    def __init__(self, journal: Path | str, writer: str):
        self._journal = Path(journal)
        # Jobs of one run take turns; one that outlived a killed run does not.
        held = f"{self._journal.name}: the model behind this journal is already asked by"
        self._lease = Lease(self._journal / FOLDER / _LEASE, held=held)
        self._book = Journal(self._journal / FOLDER, writer, _SPARE_BYTES)
        self._problem: TemporaryError | None = None

    def __enter__(self) -> "Ledger":
        (self._journal / FOLDER).mkdir(parents=True, exist_ok=True)
        self._lease.acquire()
        try:
            begin_ledger(self._journal)
            self._book.__enter__()
        except BaseException:
            self._lease.release()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._book.__exit__(kind, error, trace)
        finally:
            self._lease.release()

    def reserve(
        self, attempt: str, prompt_tokens: int, completion_tokens: int, batch: bool = False
    ) -> None:
        """Write down the most that an attempt may take; it is sent only after this.

        Raises:
            TemporaryError: the disk is full, or another job has taken over.
        """
        if self._lease.lost:
            raise TemporaryError(
                f"{self._journal}: another job has taken over this journal: let that job finish, "
                "then run again"
            )
        if self._problem:
            raise self._problem
        self._write(attempt, prompt_tokens, completion_tokens, "reserved", batch)

    def settle(
        self,
        attempt: str,
        prompt_tokens: int,
        completion_tokens: int,
        estimated: bool,
        batch: bool = False,
    ) -> None:
        """Write down what an attempt took; `estimated` where the endpoint did not say.

        The answer is here and must be kept, so a full disk is an error of the next `reserve`.
        """
        state = "estimated" if estimated else "settled"
        try:
            self._write(attempt, prompt_tokens, completion_tokens, state, batch)
        except TemporaryError as error:
            self._problem = error
        except OSError as error:  # also without spare bytes: it stays reserved
            self._problem = TemporaryError(f"{self._book.folder}: cannot be written: {error}")

    def _write(self, attempt: str, prompt: int, completion: int, state: str, batch: bool) -> None:
        record = {"state": state, "prompt_tokens": prompt, "completion_tokens": completion}
        self._book.append(attempt, record | ({"mode": "batch"} if batch else {}))


def spent_so_far(journal: Path | str) -> Spent:
    """What the requests of a journal took, over all runs and writers, with lost attempts."""
    folder = Path(journal) / FOLDER
    if not (folder / f"{_BEFORE}.jsonl").is_file():
        return _spent_in_journal(journal)
    spent = Spent()
    reserved: dict[str, tuple[int, int, int, bool]] = {}
    early: dict[
        str, tuple[int, int, int, bool]
    ] = {}  # settled in a file that is read before the other
    for attempt, record in iterate_journal(folder):
        took = (record.get("requests", 1), *_tokens(record), record.get("mode") == "batch")
        if record.get("state") == "reserved":
            reserved[attempt] = took
        elif attempt == _BEFORE or reserved.pop(attempt, None):
            spent.add(*took)
        else:
            early[attempt] = took
    # What was settled twice, as by a job that was killed while it collected a batch, counts once.
    for attempt, took in reserved.items():
        spent.add(*early.get(attempt, took))
    return spent


def begin_ledger(journal: Path | str) -> None:
    """Begin the ledger of a journal that may hold answers from before there were ledgers."""
    folder = Path(journal) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    first = folder / f"{_BEFORE}.jsonl"
    if first.is_file():
        return
    spent = _spent_in_journal(journal)
    tokens = {"prompt_tokens": spent.prompt_tokens, "completion_tokens": spent.completion_tokens}
    record = {"state": "settled", "requests": spent.requests} | tokens
    try:
        handle = os.open(first, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return  # of a job that began at the same time, and may have asked since
    with os.fdopen(handle, "wb") as file:
        file.write(line_of(_BEFORE, record))


def _spent_in_journal(folder: Path | str) -> Spent:
    spent = Spent()
    for _, record in iterate_journal(folder):
        batch = record.get("mode") == "batch"
        spent.add(_count(record, "attempts"), *_tokens(record), batch)
    return spent


def _tokens(record: dict[str, Any]) -> tuple[int, int]:
    return _count(record, "prompt_tokens"), _count(record, "completion_tokens")


def _count(record: dict[str, Any], name: str) -> int:
    value = record.get(name)
    return value if type(value) is int else 0
