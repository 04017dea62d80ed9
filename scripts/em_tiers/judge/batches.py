"""Judge a batch of answers: ask what the journal lacks, and write one table of verdicts.

A batch is judged in two stages: first the scores of every answer (alignment, coherence, topic),
then the tier of the answers whose alignment turned out low. How a request is asked is the only
difference between a local judge and one behind an API; each passes its own `ask`.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from em_tiers.errors import TemporaryError, UserError
from em_tiers.files import read_json
from em_tiers.journal import Journal
from em_tiers.judge.requests import ANSWER_COLUMNS, JudgeRequest, plan_requests, plan_tier_requests
from em_tiers.judge.rounds import write_note
from em_tiers.judge.settings import Judge
from em_tiers.judge.usable_replies import UsableReplies
from em_tiers.judge.verdicts import verdict_frame, verdict_rows
from em_tiers.logs import LOG
from em_tiers.tables import scan_table, write_table
from em_tiers.terms import USABLE_STATUSES

# Answers whose requests and journal records are in memory together: about half a gigabyte.
ANSWERS_AT_ONCE = 20_000
REASONS_SHOWN = 8
# Rubric first: who wants the tiers alone, which few answers have, need not read the other verdicts,
# each with a hundred probabilities.
ORDER = ("rubric", "variant", "response_key")

Records = dict[str, dict[str, Any]]
# Asks requests with distinct keys, journals each answer as it arrives, and returns the records of
# all of them by key. The text names the stage, for progress lines; the set has the methods of which
# the journal holds answers.
Ask = Callable[[list[JudgeRequest], str, set[str]], Records]


def judge_batch(
    judge: Judge,
    judge_name: str,
    ask: Ask,
    journal: Journal,
    responses: list[Path],
    cards: Mapping[str, Path],
    usable: UsableReplies,
) -> pl.DataFrame:
    """The VERDICTS of all answers in `responses`, sorted by rubric, variant and answer.

    The order does not depend on how the answers are split into files.

    Args:
        judge_name: written into the table; it changes nothing else.
        ask: called only for requests that the journal does not answer.
        responses: RESPONSES tables, each of any number of variants.
        cards: data set -> its card, for rubrics about a data set.
        usable: told of all requests, and of the records that the journal holds.
    """
    read_cards = {name: read_json(path) for name, path in cards.items()}

    def verdicts(requests: list[JudgeRequest], stage: str, later: int) -> pl.DataFrame:
        known = journal.read(request.key for request in requests)
        usable.expect(requests, known, later)
        records = complete_records(requests, known, ask, f"{judge_name}, {stage}")
        return verdict_frame(
            row
            for request in requests
            for row in verdict_rows(request, records[request.key], judge, judge_name)
        )

    frames = [verdict_frame([])]
    for answers, later in answer_slices(responses):
        scores = verdicts(list(plan_requests(answers, judge, read_cards)), "scores", later)
        tiers = list(plan_tier_requests(answers, judge, read_cards, scores.lazy()))
        frames += [scores, verdicts(tiers, "tiers", later)]
    return pl.concat(frames).sort(ORDER)


def answer_slices(responses: list[Path]) -> Iterator[tuple[pl.LazyFrame, int]]:
    """Answers of all tables, at most ANSWERS_AT_ONCE at a time, and how many come later.

    They have the columns that a judge needs.
    """
    answers = scan_table(responses, "responses").select(ANSWER_COLUMNS)
    rows = answers.select(pl.len()).collect().item()
    for start in range(0, rows, ANSWERS_AT_ONCE):
        later = max(0, rows - start - ANSWERS_AT_ONCE)
        yield answers.slice(start, ANSWERS_AT_ONCE).collect().lazy(), later


def complete_records(
    requests: list[JudgeRequest], records: Records, ask: Ask, what: str
) -> Records:
    """Records of all requests by key; those without one are asked, each key once."""
    pending = {r.key: r for r in requests if r.key not in records}
    LOG.info("%s: %d of %d requests to ask", what, len(pending), len(requests))
    if not pending:
        return records
    answered = {request.method for request in requests if request.key in records}
    return records | ask(list(pending.values()), what, answered)


def write_verdicts(
    verdicts: pl.DataFrame, path: Path, min_coverage: float, this_round: int = 0
) -> None:
    """Write the VERDICTS table of a batch, and the note of its round.

    Raises:
        UserError: too few answers have a verdict; nothing is written. It is a TemporaryError when
            requests failed on the way, which another run asks again.
    """
    failed = verdicts.filter(status="api_error").height
    if problem := coverage_error(verdicts, min_coverage):
        raise TemporaryError(problem) if failed else UserError(problem)
    if failed:
        LOG.warning(
            "%s: %d of %d verdicts are missing, because their requests failed on the way: run "
            "again to ask them once more, or accept them (config.accept_api_errors: true)",
            path, failed, verdicts.height,
        )  # fmt: skip
    # First the note: a table without it would look complete.
    write_note(path, this_round, failed)
    write_table(verdicts, path, "verdicts")


def coverage_error(verdicts: pl.DataFrame, min_coverage: float) -> str | None:
    """What to tell the user when too many verdicts failed; None when coverage suffices.

    An answer is covered when it has a score, or when the judge called it code or a refusal.

    Args:
        verdicts: at least judge, rubric, status and raw_text.
        min_coverage: share of answers that need a verdict, for each rubric.
    """
    by_rubric = verdicts.partition_by("judge", "rubric", as_dict=True)
    low = []
    for (judge, rubric), part in sorted(by_rubric.items()):
        failed = part.filter(~pl.col("status").is_in(USABLE_STATUSES))
        coverage = 1 - failed.height / part.height
        if coverage < min_coverage:
            counts = Counter(sorted(failed.get_column("status"))).most_common()
            reasons = ", ".join(f"{count} {status}" for status, count in counts)
            low.append(f"{judge}, {rubric}: {coverage:.1%} of {part.height} ({reasons})")
    if not low:
        return None
    errors = Counter(verdicts.filter(status="api_error").get_column("raw_text").to_list())
    listed = "; ".join(f"{count} x {reason}" for reason, count in errors.most_common(REASONS_SHOWN))
    return (
        f"coverage is below the judge's min_coverage of {min_coverage:.1%}: {'; '.join(low)}; "
        "see the log for examples, correct the judge or its rubric, run again if requests failed "
        "on the way, or lower min_coverage and report it"
        + (f" (api_error: {listed})" if listed else "")
    )
