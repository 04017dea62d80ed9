"""However a run is stopped, what is paid for is kept, and ceilings hold over restarts."""

import asyncio
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiohttp import web

from api.loopback import serve
from api.recorded import GOOD, KEY, Loopback, fails
from api.study import KEY_ENV
from em_tiers.api.ledger import spent_so_far
from em_tiers.journal import read_journal
from waiting import wait_until

ROOT = Path(__file__).parents[3]
CHILD = """
import sys; sys.path[:0] = ["scripts", "tests"]
from pathlib import Path
import judge_api
from api.recorded import ONE
from api.study import arguments
from em_tiers.logs import run_script
given = arguments(Path(sys.argv[1]), sys.argv[2], {"base": 100}, **ONE)
run_script(judge_api.main, sys.argv[1] + "/log", **given)
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("em_tiers.api.sending.FIRST_WAIT_S", 0.01)
    monkeypatch.setenv(KEY_ENV, KEY)


@contextmanager
def child(loopback, folder):
    """A judging job in a process of its own; yields it when its 40th request is under way."""
    with serve(loopback.app()) as address:
        command = [sys.executable, "-c", CHILD, str(folder), f"{address}/v1"]
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        try:
            wait_until(lambda: len(loopback.bodies) >= 40, "40 requests", process)
            yield process
        finally:
            process.kill()
            process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_what_is_under_way(number, tmp_path):
    loopback = Loopback(delay=0.5)
    with child(loopback, tmp_path) as process:
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in said
    assert f"stopped by {number.name}: " in said
    asked = len(loopback.bodies)
    assert asked < 100
    assert len(read_journal(tmp_path / "journal")) == asked
    assert not list(tmp_path.rglob("*.lease"))
    rest = Loopback()
    rest.judge(tmp_path, count=100)
    assert len(rest.bodies) == 100 - asked


def test_a_second_signal_aborts_and_what_is_lost_is_booked(tmp_path):
    loopback = Loopback(lambda number: slow if number > 30 else None)
    with child(loopback, tmp_path) as process:
        process.send_signal(signal.SIGINT)
        time.sleep(1.5)  # the second Ctrl-C, not the same one passed on twice
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert "aborted: the answers under way are lost" in said
    assert "Traceback" not in said
    assert len(read_journal(tmp_path / "journal")) == 30
    assert spent_so_far(tmp_path / "journal").requests == len(loopback.bodies)


async def slow(request, forward):
    await asyncio.sleep(60)
    return web.json_response(await forward())


def test_a_killed_job_has_spent_what_was_under_way(tmp_path):
    loopback = Loopback(delay=0.5)
    with child(loopback, tmp_path) as process:
        process.kill()
        process.wait()
        asked = len(loopback.bodies)
    spent = spent_so_far(tmp_path / "journal")
    assert asked <= spent.requests <= asked + 16
    assert len(read_journal(tmp_path / "journal")) < asked
    rest = Loopback()
    message = fails(rest, tmp_path, count=100, limits={"requests": spent.requests + 10})
    assert "the ceiling on requests" in message
    assert len(rest.bodies) == 10


PRICES = {"input_per_million": 20.0, "output_per_million": 20.0}


@pytest.mark.parametrize("limits", [{"tokens": 1000}, {"usd": 0.02}])
def test_a_ceiling_holds_over_restarts_where_the_endpoint_counts_nothing(limits, tmp_path):
    unmetered = {name: value for name, value in GOOD.items() if name != "usage"}
    asked = []
    for _ in range(4):
        loopback = Loopback(good=unmetered)
        changes = {"limits": limits, "prices": PRICES, "endpoint_changes": {"concurrency": 1}}
        assert "the ceiling on" in fails(loopback, tmp_path, count=60, **changes)
        asked.append(len(loopback.bodies))
    assert asked[0] > 0
    assert asked[1:] == [0, 0, 0]


def test_a_ceiling_holds_over_restarts_where_answers_come_too_late(tmp_path):
    asked = []
    for _ in range(3):
        loopback = Loopback(lambda number: late)
        changes = {"timeout_s": 0.2, "max_attempts": 1, "concurrency": 1}
        fails(loopback, tmp_path, count=60, limits={"requests": 5}, endpoint_changes=changes)
        asked.append(len(loopback.bodies))
    assert sum(asked) == 5


async def late(request, forward):
    await asyncio.sleep(0.6)
    return web.json_response(await forward())


@contextmanager
def disk(folder, size):
    """A disk of this size at `folder`; the test is skipped where none can be mounted."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("size", ["64k", "400k", "450k"])
def test_a_full_disk_costs_nothing(size, tmp_path):
    small = tmp_path / "small"
    with disk(small, size):
        loopback = Loopback(delay=0.02)
        message = fails(loopback, tmp_path, count=300, journal=small / "journal")
        assert "cannot be written (No space left on device)" in message
        assert (size == "64k") == ("nothing was asked" in message)
        assert len(read_journal(small / "journal")) == len(loopback.bodies) < 300
        remount = ["mount", "-o", "remount,size=40m", str(small)]
        subprocess.run(remount, check=True)
        rest = Loopback()
        rest.judge(tmp_path, count=300, journal=small / "journal")
        assert len(loopback.bodies) + len(rest.bodies) == 300
