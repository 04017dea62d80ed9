"""Ends the run of a judge whose replies are never usable, before all of them are paid for."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from em_tiers.errors import UserError
from em_tiers.judge.requests import JudgeRequest
from em_tiers.terms import USABLE_STATUSES

# So many first replies about one rubric, none of them usable, show that the setting is wrong.
FIRST_REPLIES = 50
# What a reply was, for which the setting may be to blame. A judge that declines is not: the answers
# of a misaligned model are what judges decline.
_UNUSABLE = ("unparsable", "truncated")


class UsableReplies:
    """Counts the unusable replies about each rubric until the first usable one.

    Args:
        min_coverage: the judge's; with 0, no reply needs to be usable.
    """

    def __init__(self, min_coverage: float):
        self._active = min_coverage > 0
        self._unusable: dict[str, Counter[str]] = {}
        self._works: set[str] = set()

    def see(self, request: JudgeRequest, record: Mapping[str, Any]) -> None:
        """Take note of a reply.

        Raises:
            UserError: none of the first replies about a rubric is usable.
        """
        for role, verdict in record["verdicts"].items():
            if verdict["status"] in USABLE_STATUSES:
                self._works.add(role)
            elif self._active and role not in self._works and verdict["status"] in _UNUSABLE:
                counts = self._unusable.setdefault(role, Counter())
                counts[verdict["status"]] += 1
                if counts.total() >= FIRST_REPLIES:
                    raise UserError(_problem(role, request.method, counts, record["raw_text"]))


def _problem(role: str, method: str, counts: Counter[str], text: str) -> str:
    statuses = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    if counts.most_common(1)[0][0] == "truncated":
        remedy = "raise decoding.max_tokens, or decoding.reasoning_tokens of a judge that thinks"
    else:
        remedy = (
            "correct the rubric, use another method, or set decoding.reasoning_tokens for a judge "
            "that thinks before it answers"
        )
    return (
        f"none of the first {counts.total()} replies about {role} is usable ({statuses}), the last "
        f"one is {' '.join(text.split())[:80]!r}: with method {method}, {remedy}; with "
        "min_coverage: 0 the judge is asked to the end"
    )
