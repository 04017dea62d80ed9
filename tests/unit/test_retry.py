"""The waits between attempts."""

import random

import pytest

from em_tiers.retry import seconds_of_retry_after, wait_before_retry


@pytest.mark.parametrize(("attempt", "longest"), [(1, 1.0), (2, 2.0), (4, 8.0), (7, 60.0)])
def test_waits_double_up_to_a_bound_and_jitter_takes_at_most_half(attempt, longest):
    waits = [wait_before_retry(attempt, random.Random(seed), 1.0, 60.0) for seed in range(200)]
    assert longest / 2 <= min(waits) < max(waits) <= longest
    assert len(set(waits)) > 100


def test_a_very_late_attempt_neither_overflows_nor_waits_longer():
    assert wait_before_retry(10**6, random.Random(0), 1.0, 60.0) <= 60.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Thu, 01 Jan 1970 00:01:30 GMT"}, 30.0),  # 90 s after the epoch, now 60
        ({"retry-after": "Thu, 01 Jan 1970 00:00:10 GMT"}, 0.0),  # in the past
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers, seconds):
    assert seconds_of_retry_after(headers, now=60.0) == seconds
