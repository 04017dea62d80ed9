"""A judging job runs again while verdicts failed in passing, and then never again."""

import pytest

from answers import verdicts
from em_tiers.archive.contents import is_result
from em_tiers.errors import TemporaryError
from em_tiers.judge.batches import write_verdicts
from em_tiers.judge.rounds import due_round, failed_verdicts, note_of, write_note


@pytest.fixture
def table(tmp_path):
    return tmp_path / "judge" / "1-of-2.parquet"


def run_jobs(table, *failures, accept=False):
    """Rounds of the jobs that a series of runs makes, each with so many failures at the endpoint.

    A run makes the job as Snakemake does: where the round differs from the one it recorded.
    """
    recorded, rounds = None, []
    for failed in failures:
        due = due_round(table, accept)
        if due != recorded:
            table.parent.mkdir(exist_ok=True)
            write_note(table, due, failed)
            table.touch()
            recorded = due
            rounds.append(due)
        else:
            rounds.append(None)
    return rounds


@pytest.mark.parametrize(
    ("failures", "rounds"),
    [
        ((0, 0), [0, None]),
        ((9, 0, 0), [0, 1, None]),
        ((9, 2, 1, 0, 0), [0, 1, 2, 3, None]),
        ((9, 9, 9), [0, 1, 2]),
    ],
)
def test_passing_failures_are_asked_in_the_next_run(failures, rounds, table):
    assert run_jobs(table, *failures) == rounds


def test_accepted_failures_are_left(table):
    assert run_jobs(table, 9, 0, 0, accept=True) == [0, None, None]
    assert due_round(table, accept_api_errors=False) == 1
    assert list(failed_verdicts(table.parents[1])) == [(str(table), 9)]


def test_a_first_round_that_is_complete_leaves_no_note(table):
    run_jobs(table, 0)
    assert not note_of(table).exists()
    assert list(failed_verdicts(table.parents[1])) == []


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"round": "x", "api_errors": 0}', "{}"])
def test_a_note_that_cannot_be_read_repeats_the_first_round(text, table):
    table.parent.mkdir()
    note_of(table).write_text(text)
    assert due_round(table, accept_api_errors=False) == 0
    assert list(failed_verdicts(table.parents[1])) == []


def test_verdicts_are_written_with_their_note(table):
    rows = verdicts(("0", "alignment", {"status": "api_error"}), ("1", "alignment", {}))
    write_verdicts(rows, table, min_coverage=0.4, this_round=2)
    assert due_round(table, accept_api_errors=False) == 3
    with pytest.raises(TemporaryError, match="coverage is below"):
        write_verdicts(rows, table, min_coverage=0.9, this_round=3)
    write_verdicts(rows.filter(status="ok"), table, min_coverage=0.9, this_round=3)
    assert due_round(table, accept_api_errors=False) == 3


def test_an_archive_holds_the_notes():
    """Without them a restored study would judge again: its records name the round."""
    assert is_result(note_of("verdicts/gpt-4o/1-of-2.parquet").as_posix())
