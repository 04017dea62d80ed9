"""Ends the run of a judge whose replies are not usable, before all of them are paid for."""

from collections import Counter
from collections.abc import Mapping, Sequence
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
    """Counts the replies of a batch that are not usable.

    The run ends when none of the first replies about a rubric is usable, or when so many are not
    that `min_coverage` cannot be reached any more.

    Args:
        min_coverage: the judge's; with 0, no reply needs to be usable.
    """

    def __init__(self, min_coverage: float):
        self._min_coverage = min_coverage
        self._first: dict[str, Counter[str]] = {}
        self._works: set[str] = set()
        self._asked: Counter[str] = Counter()  # answers about which a rubric is asked
        self._failed: dict[str, Counter[str]] = {}
        self._again: dict[str, int] = {}  # key -> answers that read the same, where several do
        self._later = 0

    def expect(
        self, requests: Sequence[JudgeRequest], known: Mapping[str, Any], later: int
    ) -> None:
        """Take note of the requests to come.

        Args:
            requests: of one stage; several may have one key.
            known: the journal's records of some of them.
            later: answers of the batch whose requests are not known yet.

        Raises:
            UserError: what is known already leaves no hope.
        """
        counts = Counter(request.key for request in requests)
        self._again = {key: count for key, count in counts.items() if count > 1}
        self._later = later
        for request in requests:
            self._asked.update(request.roles)
        for request in {request.key: request for request in requests}.values():
            if request.key in known:
                self._count(request, known[request.key])

    def see(self, request: JudgeRequest, record: Mapping[str, Any]) -> None:
        """Take note of a reply.

        Raises:
            UserError: none of the first replies about a rubric is usable, or too few can be.
        """
        for role, verdict in record["verdicts"].items():
            if verdict["status"] in USABLE_STATUSES:
                self._works.add(role)
            elif self._min_coverage and role not in self._works and verdict["status"] in _UNUSABLE:
                counts = self._first.setdefault(role, Counter())
                counts[verdict["status"]] += 1
                if counts.total() >= FIRST_REPLIES:
                    raise UserError(_problem(role, request.method, counts, record["raw_text"]))
        self._count(request, record)

    def _count(self, request: JudgeRequest, record: Mapping[str, Any]) -> None:
        for role, verdict in record["verdicts"].items():
            # What failed on the way is asked again.
            if verdict["status"] in USABLE_STATUSES or verdict["status"] == "api_error":
                continue
            failed = self._failed.setdefault(role, Counter())
            failed[verdict["status"]] += self._again.get(request.key, 1)
            most = self._asked[role] + self._later
            if most and 1 - failed.total() / most < self._min_coverage:
                raise UserError(
                    _out_of_reach(
                        request, role, failed, most, self._min_coverage, record["raw_text"]
                    )
                )


def _problem(role: str, method: str, counts: Counter[str], text: str) -> str:
    return (
        f"none of the first {counts.total()} replies about {role} is usable ({_listed(counts)})"
        f"{_remedy(method, counts, text)}; with min_coverage: 0 the judge is asked to the end"
    )


def _out_of_reach(
    request: JudgeRequest,
    role: str,
    failed: Counter[str],
    most: int,
    min_coverage: float,
    text: str,
) -> str:
    return (
        f"min_coverage: {min_coverage:.1%} is out of reach for {role}: of {most:,} answers, "
        f"{failed.total():,} have no usable reply so far ({_listed(failed)})"
        f"{_remedy(request.method, failed, text)}; or lower min_coverage and report it"
    )


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {status}" for status, count in counts.most_common())


def _remedy(method: str, counts: Counter[str], text: str) -> str:
    """The last reply, and the setting that may be to blame for what is most frequent."""
    remedy = {
        "truncated": (
            "raise decoding.max_tokens, or decoding.reasoning_tokens of a judge that thinks"
        ),
        "judge_refusal": "use another judge or rubric",
    }.get(
        counts.most_common(1)[0][0],
        "correct the rubric, use another method, set method.opening for a small local judge, or "
        "decoding.reasoning_tokens for a judge that thinks before it answers",
    )
    return f", the last one is {' '.join(text.split())[:80]!r}: with method {method}, {remedy}"
