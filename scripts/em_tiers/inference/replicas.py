"""Several engines with the same weights, each on GPUs of its own, behind one stream of requests.

vLLM's own data parallelism is a process per engine too, and its engines wait for each other, which
only models with divided experts need. Engines here know nothing of each other, so an answer is that
of a single engine.
"""

import logging
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from em_tiers.errors import TemporaryError, UserError
from em_tiers.gpu_memory import gpus_of
from em_tiers.gpus import VISIBLE, claim_gpus, visible_names
from em_tiers.inference.engine import WINDOW, EngineAnswer, EngineRequest, LocalEngine
from em_tiers.logs import LOG, log_to

_END_S = 60.0  # for an engine to give its GPUs back


def open_engine(
    model: Path,
    settings: Mapping[str, Any],
    adapters: Mapping[str, Path] | None = None,
    chat_template: Path | None = None,
) -> "LocalEngine | Replicas":
    """The engine of these settings, or as many as `data_parallel` says; a context manager."""
    local = LocalEngine(model, settings, adapters, chat_template=chat_template)
    return local if local.settings["data_parallel"] == 1 else Replicas(local)


class Replicas:
    """What `LocalEngine` is to its users, with `data_parallel` processes behind it.

    They start with the first request. One that dies ends the job, whose journal keeps the answers
    that have come; when this process dies, they end too.

    Args:
        local: the engine to repeat; it is not started itself.
    """

    def __init__(self, local: LocalEngine) -> None:
        self.model, self.settings = local.model, local.settings
        self.tokenizer, self.fingerprint = local.tokenizer, local.fingerprint
        self.adapters = local.adapters
        self.capacity = local.settings["data_parallel"] * local.capacity
        self._window = WINDOW * local.capacity
        self._replicas: list[_Replica] = []

    def __enter__(self) -> "Replicas":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def stream(self, requests: Iterable[EngineRequest | None]) -> Iterator[EngineAnswer]:
        """As `LocalEngine.stream`.

        Requests whose keys begin with the same word go to the same engine if they follow each
        other, since the prefixes of one answer share its cache.

        Raises:
            UserError: what an engine raised.
            TemporaryError: an engine's process died.
        """
        complete = False
        group, replica = "", None
        try:
            for request in requests:
                if request is None:
                    yield from self._answers()
                    continue
                self._start()
                word = request.key.partition(" ")[0]
                if replica is None or word != group:
                    replica = min(self._replicas, key=lambda one: one.running)
                group = word
                while replica.running >= self._window:
                    yield from self._answers()
                replica.ask(request)
            while any(one.running for one in self._replicas):
                yield from self._answers()
            complete = True
        finally:
            if not complete:  # the caller stopped early, or an engine failed
                self._stop()

    def _answers(self) -> Iterator[EngineAnswer]:
        """Wait for an answer; yield all that are there."""
        busy = {one.connection: one for one in self._replicas if one.running}
        for connection in wait(list(busy)):
            yield busy[connection].answer()

    def _start(self) -> None:
        if self._replicas:
            return
        count = self.settings["data_parallel"]
        own = {**self.settings, "data_parallel": 1}
        files = [h.baseFilename for h in LOG.handlers if isinstance(h, logging.FileHandler)]
        LOG.info("starting %d engines: %s", count, self.model)
        for names in gpu_shares(self.settings):
            environment = {VISIBLE: ",".join(names)} if names else {}
            arguments = (self.model, own, self.adapters)
            self._replicas.append(_Replica(files[0] if files else None, environment, arguments))

    def _stop(self) -> None:
        for replica in self._replicas:
            replica.connection.close()  # its engine ends
        for replica in self._replicas:
            replica.end()
        self._replicas = []


def gpu_shares(settings: Mapping[str, Any]) -> list[list[str]]:
    """The GPUs of each engine, as CUDA_VISIBLE_DEVICES names them; none on a CPU.

    Raises:
        UserError: this job sees too few.
    """
    count, each = settings["data_parallel"], settings["tensor_parallel"]
    if settings["device"] == "cpu":
        return [[]] * count
    names = claim_gpus(gpus_of(settings)) or visible_names()
    if len(names) < count * each:
        raise UserError(
            f"engine: data_parallel: {count} engines of {each} GPUs need {count * each}, but this "
            f"job sees {len(names)}: ask for more, or lower data_parallel"
        )
    return [names[start : start + each] for start in range(0, count * each, each)]


class _Replica:
    """A process with an engine, and how many answers it owes."""

    def __init__(
        self, log: str | None, environment: dict[str, str], arguments: tuple[Any, ...]
    ) -> None:
        # A fork would copy the locks of this process's threads, and cannot use CUDA.
        context = multiprocessing.get_context("spawn")
        self.connection, its_own = context.Pipe()
        self._process = context.Process(target=_serve, args=(its_own, log, environment, arguments))
        self._process.start()
        its_own.close()
        self.running = 0

    def ask(self, request: EngineRequest) -> None:
        try:
            self.connection.send(request)
        except OSError:
            raise self._death() from None
        self.running += 1

    def answer(self) -> EngineAnswer:
        """Its next answer.

        Raises:
            UserError: what it raised instead.
        """
        try:
            answer = self.connection.recv()
        except (EOFError, OSError):
            raise self._death() from None
        if isinstance(answer, Exception):
            raise answer
        self.running -= 1
        return answer

    def end(self) -> None:
        self._process.join(_END_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _death(self) -> UserError:
        self._process.join(_END_S)
        return TemporaryError(
            f"engine: one of several died (exit code {self._process.exitcode}): -9 is usually a "
            "lack of host memory, so raise the rule's mem_mb or lower data_parallel"
        )


def _serve(
    connection: Connection, log: str | None, environment: dict[str, str], arguments: tuple[Any, ...]
) -> None:
    """The process of an engine: answers what comes through the connection until it is closed."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the job takes what is under way, then closes
        signal.signal(number, signal.SIG_IGN)
    os.environ.update(environment)
    log_to(log)
    inbox = _Inbox(connection)
    try:
        with LocalEngine(*arguments) as engine:
            for answer in engine.stream(inbox.requests()):
                inbox.owed -= 1
                connection.send(answer)
    except (_Closed, OSError):
        return
    except UserError as error:
        connection.send(error)
    except Exception as error:
        LOG.exception("an engine failed")
        connection.send(RuntimeError(f"an engine failed: {type(error).__name__}: {error}"))


class _Closed(Exception):
    """The job has closed the connection, or died."""


class _Inbox:
    """What comes through a connection, read by a thread of its own so that no sender ever waits."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._queue: queue.SimpleQueue[EngineRequest | None] = queue.SimpleQueue()
        self.owed = 0
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while True:
            try:
                self._queue.put(self._connection.recv())
            except (EOFError, OSError):
                self._queue.put(None)
                return

    def requests(self) -> Iterator[EngineRequest | None]:
        """Each request as it comes; None while there is none and answers are owed.

        Raises:
            _Closed: there will be no more.
        """
        while True:
            try:
                request = self._queue.get(block=not self.owed)
            except queue.Empty:
                yield None
                continue
            if request is None:
                raise _Closed
            self.owed += 1
            yield request
