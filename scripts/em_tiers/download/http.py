"""One file over HTTP: resumed where it was cut, retried with patience, verified at the end."""

import hashlib
import os
import random
import shutil
import sys
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx2  # the client of huggingface_hub, so it is there wherever that is

from em_tiers.errors import TemporaryError, UserError
from em_tiers.files import sha256_of_file
from em_tiers.logs import HEARTBEAT, LOG
from em_tiers.retry import seconds_of_retry_after, wait_before_retry

T = TypeVar("T")
_CHUNK = 1 << 20
_RETRIED = {408, 425, 429}


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server that fails.

    Attributes:
        attempts: failures in a row, without one new byte between them, before giving up.
        first_wait_s: seconds before the first retry; each further wait is twice as long.
        longest_wait_s: no wait is longer, whatever `Retry-After` says.
        timeout_s: seconds without an answer or a byte that count as a failure.
    """

    attempts: int = 7
    first_wait_s: float = 1.0
    longest_wait_s: float = 300.0
    timeout_s: float = 60.0


PATIENT = Patience()


@dataclass(frozen=True)
class Expected:
    """What is known of a file before it is fetched. One of the two checksums must be there.

    Attributes:
        size: bytes, where the source states them.
        sha256: hex digest of the content.
        git_sha1: hex digest of the content as a git blob, which the hub states for small files.
    """

    sha256: str | None = None
    git_sha1: str | None = None
    size: int | None = None


def retried(action: Callable[[], T], what: str, patience: Patience) -> T:
    """Return `action()`, called again after each TemporaryError failure.

    Raises:
        TemporaryError: it failed `patience.attempts` times.
    """
    failures = 0
    while True:
        try:
            return action()
        except TemporaryError as trouble:
            failures += 1
            _wait(what, trouble, failures, patience)


def fetch(
    client: httpx2.Client,
    url: str,
    target: Path,
    expected: Expected,
    patience: Patience,
    headers: dict[str, str] | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Fetch `url` into `target`, which exists only once its content has been verified.

    What arrived of a cut transfer stays in `{target}.part` and is continued, by this process or
    by the next.

    Args:
        stop: ends the transfer when it is set, as a failure that the next run goes on from.

    Raises:
        UserError: the server refuses, keeps failing, or sends something else than `expected`.
    """
    part = target.with_name(target.name + ".part")
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_file():
        target.replace(part)  # of an earlier run: verified like any other
    began_with = _size(part)
    if began_with and complaint_about(part, expected) is None:
        part.replace(target)
        return
    while True:
        _receive_all(
            client, url, part, expected, patience, headers or {}, stop or threading.Event()
        )
        complaint = complaint_about(part, expected)
        if complaint is None:
            part.replace(target)
            return
        part.unlink()
        if not began_with:
            raise UserError(
                f"{url}: {complaint}: nothing was kept. Run again in case the transfer was at "
                "fault; if the publisher changed the file on purpose, update the catalogue entry"
            )
        LOG.warning("%s: %s: what an earlier run left is dropped", url, complaint)
        began_with = 0


def complaint_about(path: Path, expected: Expected) -> str | None:
    """Say what is wrong with a file, or None when size and checksum are right."""
    size = path.stat().st_size
    if expected.size is not None and size != expected.size:
        return f"{size} bytes arrived, but {expected.size} were announced"
    if expected.sha256 is not None:
        found = sha256_of_file(path)
        if found != expected.sha256:
            return f"its SHA-256 is {found}, expected {expected.sha256}"
        return None
    found = _git_blob_sha1(path)
    return None if found == expected.git_sha1 else (
        f"its git SHA-1 is {found}, expected {expected.git_sha1}"
    )  # fmt: skip


def _receive_all(
    client: httpx2.Client,
    url: str,
    part: Path,
    expected: Expected,
    patience: Patience,
    headers: dict[str, str],
    stop: threading.Event,
) -> None:
    failures = 0
    while expected.size is None or _size(part) < expected.size:
        before = _size(part)
        try:
            _receive(client, url, part, expected, headers, stop)
            if expected.size is None or _size(part) >= expected.size:
                return
            raise TemporaryError(f"the transfer ended at {_size(part)} of {expected.size} bytes")
        except TemporaryError as trouble:
            if stop.is_set():
                raise
            failures = 1 if _size(part) > before else failures + 1
            _wait(url, trouble, failures, patience)


def _receive(
    client: httpx2.Client,
    url: str,
    part: Path,
    expected: Expected,
    headers: dict[str, str],
    stop: threading.Event,
) -> None:
    """One request: append what is missing of `part`."""
    start = _size(part)
    asked = {**headers, "Accept-Encoding": "identity"}
    if start:
        asked["Range"] = f"bytes={start}-"
    with translated(url), client.stream("GET", url, headers=asked) as response:
        if start and not _can_continue(response, start):
            part.unlink()
            raise TemporaryError("the server cannot continue the transfer: it starts again")
        check_status(response, url)
        start = start if response.status_code == 206 else 0
        _check_space(part, expected, start)
        with part.open("ab" if start else "wb") as file, _meter(part, expected, start) as meter:
            # No chunk size: the client would drop what it has gathered when the transfer is cut.
            for chunk in response.iter_bytes():
                file.write(chunk)
                meter(len(chunk))
                if stop.is_set():
                    raise TemporaryError("stopped, because another file failed")
                if expected.size is not None and file.tell() > expected.size:
                    break  # too long: the check of the size says so
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def translated(url: str):
    """Turn the client's exceptions into TemporaryError or UserError."""
    try:
        yield
    except (httpx2.UnsupportedProtocol, httpx2.InvalidURL, httpx2.TooManyRedirects) as error:
        raise UserError(f"{url}: {error}: use another address") from error
    except (httpx2.TransportError, httpx2.DecodingError) as error:
        raise TemporaryError(f"{type(error).__name__}: {error}") from error


def check_status(response: Any, url: str) -> None:
    """Raise TemporaryError or UserError for a response without success.

    `response` is any object with `status_code` and `headers`.
    """
    status = response.status_code
    if 200 <= status < 300:
        return
    if status in _RETRIED or status >= 500:
        wait = seconds_of_retry_after(response.headers, time.time())
        raise TemporaryError(f"status {status}", wait)
    remedy = {
        401: "it needs a login: set HF_TOKEN for the hub, or download by hand and use a path",
        403: "access is refused: accept the terms on its page and set HF_TOKEN",
        404: "the file does not exist: correct the address or the revision",
    }.get(status, "correct the address")
    raise UserError(f"{url}: status {status}: {remedy}")


def _can_continue(response: httpx2.Response, start: int) -> bool:
    """Whether the answer to a range request can be used; a 200 can, it holds the whole file."""
    if response.status_code == 206:
        return response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
    return response.status_code != 416


def _wait(what: str, trouble: TemporaryError, failures: int, patience: Patience) -> None:
    if failures >= patience.attempts:
        raise TemporaryError(
            f"{what}: {trouble}: {failures} attempts failed: check the connection (and "
            "HF_ENDPOINT, if it is set), then run again; what has arrived is kept"
        ) from trouble
    seconds = trouble.retry_after_s
    if seconds is None:
        seconds = wait_before_retry(
            failures, random.Random(), patience.first_wait_s, patience.longest_wait_s
        )
    seconds = min(seconds, patience.longest_wait_s)
    LOG.warning("%s: %s: attempt %d in %.0f s", what, trouble, failures + 1, seconds)
    time.sleep(seconds)


def _check_space(part: Path, expected: Expected, start: int) -> None:
    free = shutil.disk_usage(part.parent).free
    needed = (expected.size or 0) - start
    if needed > free:
        raise UserError(
            f"{part.name.removesuffix('.part')}: needs {needed} bytes, and {free} are free in "
            f"{part.parent}: make room"
        )


@contextmanager
def _meter(part: Path, expected: Expected, start: int):
    """Yield a function that counts bytes: a progress bar on a terminal, else lines in the log."""
    name = part.name.removesuffix(".part")
    if not sys.stderr.isatty():
        total = f"of {expected.size / 1e6:.0f} MB" if expected.size else "MB"
        LOG.info("%s: %s bytes, from byte %d", name, expected.size or "?", start)
        done = start

        def count(received: int) -> None:
            nonlocal done
            done += received
            HEARTBEAT.state = f"{name}: {done / 1e6:.0f} {total}"

        yield count
        HEARTBEAT.state = ""
        return
    from tqdm import tqdm

    with tqdm(desc=name, total=expected.size, initial=start, unit="B", unit_scale=True) as bar:
        yield bar.update


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _git_blob_sha1(path: Path) -> str:
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
