"""Adaptive concurrency."""

import asyncio

import pytest

from em_tiers.api.throttle import Throttle
from waiting import PATIENCE


class Clock:
    """Time that the test moves."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_refusals_halve_and_answers_add_one_a_round():
    clock = Clock()
    throttle = Throttle(16, clock)
    clock.now += 1
    throttle.refused(started=clock.now, retry_after_s=None)
    assert throttle.allowed == 8.0
    for _ in range(8):
        throttle.answered()
    # 8 + 1/8 + 1/8.125 + ... : a little less than one more after eight answers
    assert 8.9 < throttle.allowed < 9.0
    for _ in range(10_000):
        throttle.answered()
    assert throttle.allowed == 16.0


def test_refusals_of_one_round_count_once_and_one_request_is_always_allowed():
    clock = Clock()
    throttle = Throttle(8, clock)
    for _ in range(5):
        throttle.refused(started=99.0, retry_after_s=None)
    assert throttle.allowed == 4.0
    for _ in range(10):
        clock.now += 1
        throttle.refused(started=clock.now, retry_after_s=None)
    assert throttle.allowed == 1.0


def run_all(throttle, count, before):
    """Run `count` short requests; return how many ran at once, at most."""
    most = 0

    async def one(number):
        nonlocal most
        async with throttle.slot() as started:
            most = max(most, throttle.running)
            await asyncio.sleep(0.001)
            before(number, started)

    async def everything():
        await asyncio.gather(*(one(number) for number in range(count)))

    asyncio.run(everything())
    assert throttle.running == 0
    return most


def test_no_more_run_at_once_than_allowed():
    assert run_all(Throttle(5), 50, lambda number, started: None) == 5
    narrow = Throttle(8)
    narrow.allowed = 2.9
    assert run_all(narrow, 20, lambda number, started: None) == 2


def test_a_request_that_fails_gives_its_slot_back():
    throttle = Throttle(1)

    async def fail():
        async with throttle.slot():
            raise ValueError("boom")

    async def both():
        with pytest.raises(ValueError, match="boom"):
            await fail()
        async with asyncio.timeout(PATIENCE):
            async with throttle.slot():
                return throttle.running

    assert asyncio.run(both()) == 1


def test_retry_after_holds_every_request_back():
    throttle = Throttle(4)
    starts = []

    async def everything():
        async with throttle.slot() as started:
            throttle.refused(started, retry_after_s=0.2)

        async def one():
            async with throttle.slot() as begun:
                starts.append(begun - started)

        await asyncio.gather(*(one() for _ in range(3)))

    asyncio.run(everything())
    assert len(starts) == 3
    assert min(starts) >= 0.19


def test_at_the_end_of_a_run_nobody_waits():
    throttle = Throttle(1)

    async def everything():
        async with throttle.slot() as started:
            throttle.refused(started, retry_after_s=300.0)

            async def one():
                async with throttle.slot():
                    return True

            waiting = [asyncio.create_task(one()) for _ in range(3)]
            await asyncio.sleep(0.01)
            await throttle.let_all_through()
            async with asyncio.timeout(PATIENCE):
                return await asyncio.gather(*waiting)

    assert asyncio.run(everything()) == [True] * 3
