"""The waits of the other tests: they end early where nothing can happen any more."""

import subprocess

import pytest

from waiting import PATIENCE, hold_after, wait_for_end, wait_until


def test_a_process_that_ended_fails_the_wait_with_its_output(tmp_path):
    log = tmp_path / "log"
    with log.open("w") as file:
        process = subprocess.Popen(["sh", "-c", "echo no disk; exit 3"], stdout=file)
    with pytest.raises(AssertionError, match=r"no answer: process ended with status 3:\nno disk"):
        wait_until(lambda: False, "answer", process, log)


def test_what_a_process_does_last_is_seen(tmp_path):
    file = tmp_path / "file"
    process = subprocess.Popen(["touch", file])
    assert wait_for_end(process) == 0
    assert wait_until(file.exists, "file", process)


def test_a_limit_says_how_far_things_were():
    with pytest.raises(AssertionError, match=r"no answer within 0.1 s:\n3 of 4"):
        wait_until(lambda: False, "answer", output=lambda: "3 of 4", seconds=0.1)


def test_a_held_process_stands_still_once_and_where_it_was_told_to(monkeypatch):
    class Journal:
        lines = 0

        def append(self) -> int:
            self.lines += 1
            return self.lines

    journal, stops = Journal(), []
    monkeypatch.setattr("waiting.time.sleep", lambda s: stops.append((s, journal.lines)))
    hold_after(2, Journal, "append")
    assert [journal.append() for _ in range(4)] == [1, 2, 3, 4]
    assert stops == [(2 * PATIENCE, 2)]
