"""How long to wait before a request is sent again."""

import email.utils
import random
from collections.abc import Mapping


def wait_before_retry(
    attempt: int, random_source: random.Random, first_s: float, longest_s: float
) -> float:
    """Seconds to wait after failed attempt number `attempt` (from 1): exponential, with jitter.

    The jitter takes up to half of the wait away, so that requests which failed together do not
    come back together; the wait never grows beyond `longest_s`.
    """
    longest = min(longest_s, first_s * 2.0 ** min(attempt - 1, 30))
    return longest * random_source.uniform(0.5, 1.0)


def seconds_of_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """What a refusal's headers ask for, in seconds; None when they say nothing readable.

    `Retry-After` holds a number or a date (RFC 9110, 10.2.3); some APIs add `Retry-After-Ms`.

    Args:
        headers: of the answer, with names that compare in any case (or in lower case).
        now: the time as seconds since the epoch, for a date.
    """
    exact = _seconds(headers.get("retry-after-ms"))
    if exact is not None:
        return exact / 1000.0
    value = headers.get("retry-after")
    seconds = _seconds(value)
    if seconds is not None or value is None:
        return seconds
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - now)
    except (TypeError, ValueError):
        return None


def _seconds(value: str | None) -> float | None:
    try:
        number = float(value) if value is not None else -1.0
    except ValueError:
        return None
    return number if 0.0 <= number < float("inf") else None
