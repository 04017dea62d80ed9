"""What the first requests of a run show about an endpoint: it can judge, it cannot, or not yet."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from em_tiers.api.refusals import FailedAttempt, Final
from em_tiers.errors import TemporaryError, UserError
from em_tiers.judge.requests import JudgeRequest

# Different answers to ask before it is concluded that an endpoint refuses all of them,
REFUSED_IN_CHECK = 10
# and that it fails, or cannot do what it is asked.
FAILED_IN_CHECK = 3


class FirstCheck:
    """The check of one scoring method, fed with one record after the other.

    Args:
        endpoint: names endpoint and model.
        drawn: how many requests may be asked.

    Attributes:
        failed: how many requests failed in all their attempts.
        passed: the endpoint can do what it is asked.
        was_conclusive: the last request was answered or refused, so it need not be asked again.
    """

    def __init__(self, endpoint: str, drawn: int):
        self.failed = 0
        self.passed = False
        self.was_conclusive = False
        self._refusal: Final | None = None
        self._remedy = ""
        self._endpoint = endpoint
        self._drawn = drawn
        self._seen = 0
        self._declined = 0
        self._refused = 0
        self._useless = 0
        self._lacks: Counter[str] = Counter()

    def lacks(self, fault: FailedAttempt) -> bool:
        """Note a failed attempt; true if it shows a limit of the endpoint."""
        if fault.lacks:
            self._lacks[fault.lacks] += 1
        return bool(fault.lacks)

    def refused(self, fault: Final) -> None:
        """Note that the request under way is refused."""
        self._refusal = fault
        self._remedy = fault.remedy

    def problem(self, request: JudgeRequest, record: Mapping[str, Any]) -> UserError | None:
        """What the records so far show to be wrong with the endpoint; None for nothing yet."""
        self._seen += 1
        refusal, self._refusal = self._refusal, None
        self.was_conclusive = refusal is not None or was_answered(record)
        if was_answered(record):
            return self._of_answer(request, record)
        # A prompt that is too long says nothing about the others.
        self._refused += self.was_conclusive and record["attempts"] > 0
        self.failed += not self.was_conclusive
        enough = self.failed >= FAILED_IN_CHECK or self.failed == self._drawn
        if enough and self._lacks:
            words = record["raw_text"]
            return UserError(f"{self._endpoint}: {words}: {self._lacks.most_common(1)[0][0]}")
        if enough or self._refused >= REFUSED_IN_CHECK:
            return TemporaryError(
                f"{self._endpoint}: the first {self._seen} requests, about different answers, were "
                f"not answered: {record['raw_text']}: "
                f"{self._remedy or 'check base_url, model and method'}"
            )
        return None

    def _of_answer(self, request: JudgeRequest, record: Mapping[str, Any]) -> UserError | None:
        if declined(record):
            self._declined += 1
            self.passed = self._declined >= REFUSED_IN_CHECK
            return None
        problem = _inability(request, record)
        self._useless += problem is not None
        self.passed = problem is None
        return UserError(problem) if problem and self._useless >= FAILED_IN_CHECK else None


def was_answered(record: Mapping[str, Any]) -> bool:
    """Whether a record is that of a reply, and so belongs into the journal."""
    statuses = {verdict["status"] for verdict in record["verdicts"].values()}
    return "api_error" not in statuses and record["attempts"] > 0


def declined(record: Mapping[str, Any]) -> bool:
    """Whether the judge refused to judge."""
    return all(verdict["status"] == "judge_refusal" for verdict in record["verdicts"].values())


def _inability(request: JudgeRequest, record: Mapping[str, Any]) -> str | None:
    """What an answer shows that the judge cannot do."""
    statuses = {verdict["status"] for verdict in record["verdicts"].values()}
    if request.method != "structured" or not statuses <= {"unparsable", "truncated"}:
        return None
    if "truncated" in statuses:
        return "a structured answer does not fit in decoding.max_tokens: raise it"
    return (
        f"asked for a JSON object, the model answers {record['raw_text'][:80]!r}: "
        "it ignores response_format, or writes values that the schema does not allow: use method "
        "sampled, or correct the rubric"
    )
