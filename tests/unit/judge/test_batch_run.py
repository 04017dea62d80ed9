"""Batch mode: the verdicts of direct requests, each paid for once, wherever a job is killed."""

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from aiohttp import web

from api.batch_server import BatchServer, expired_line, good_line, line_with
from api.loopback import serve
from api.recorded import KEY, Loopback, fails
from api.study import KEY_ENV
from em_tiers.api.batch_book import BatchBook, open_batches, open_in_words
from em_tiers.api.ledger import spent_so_far
from em_tiers.api.spending import Reserved, Spent
from em_tiers.journal import read_journal
from em_tiers.statistics.counts import add_costs
from em_tiers.tables import read_table
from show_status import judging_lines

ROOT = Path(__file__).parents[3]
BATCH = {"mode": "batch"}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("em_tiers.api.sending.FIRST_WAIT_S", 0.01)
    for name, seconds in (("FIRST_LOOK_S", 0.01), ("LONGEST_LOOK_S", 0.02), ("FOUND_AFTER_S", 0.0)):
        monkeypatch.setattr(f"em_tiers.judge.batch_run.{name}", seconds)
    monkeypatch.setenv(KEY_ENV, KEY)


def test_a_batch_gives_the_verdicts_of_direct_requests(tmp_path):
    direct = Loopback().judge(tmp_path / "direct", count=30)
    server = BatchServer()
    batch = server.judge(tmp_path / "batch", count=30, **BATCH)
    assert batch.drop("mode").equals(direct.drop("mode"))
    assert Counter(batch["mode"]) == {"batch": 29, "direct": 1}
    assert len(server.bodies) == 1  # the check
    assert server.asked.total() == 29
    assert not set(server.asked) & {json.dumps(body, sort_keys=True) for body in server.bodies}
    # 100 + 1 tokens each
    spent = spent_so_far(tmp_path / "batch" / "journal")
    assert spent == Spent(30, 3000, 30, 2900, 29)
    assert open_batches(tmp_path / "batch" / "journal") == []


def test_changing_between_the_modes_repeats_nothing(tmp_path):
    server = BatchServer()
    server.judge(tmp_path, count=20, **BATCH)
    server.judge(tmp_path, count=30)
    assert (server.asked.total(), len(server.bodies)) == (19, 1 + 10)
    server.judge(tmp_path, count=40, **BATCH)
    assert (server.asked.total(), len(server.bodies)) == (19 + 10, 11)
    assert len(read_journal(tmp_path / "journal")) == 40


def test_each_request_has_the_price_of_its_own_mode(tmp_path):
    prices = {"input_per_million": 10.0, "output_per_million": 100.0, "batch_share": 0.5}
    BatchServer().judge(tmp_path, count=20, **BATCH)
    verdicts = BatchServer().judge(tmp_path, count=30)
    direct = 1 + 10
    paid = (direct + 0.5 * 19) * 0.0011  # 100 x 10 + 1 x 100 per million
    assert spent_so_far(tmp_path / "journal").usd(prices) == pytest.approx(paid)
    found = add_costs(verdicts.lazy(), {verdicts["judge"][0]: prices})
    assert found.filter(variant="all")["usd"].item() == pytest.approx(paid)
    # So a ceiling holds over both: four more fit at most.
    limits = {"limits": {"usd": paid + 4.5 * 0.0011}, "prices": prices}
    server = BatchServer()
    assert "the ceiling on usd" in fails(server, tmp_path, count=40, **limits)
    assert 1 <= len(server.bodies) <= 4


def test_large_batches_are_split(tmp_path, monkeypatch):
    monkeypatch.setattr("em_tiers.judge.batch_run.REQUESTS_IN_BATCH", 10)
    server = BatchServer()
    assert server.judge(tmp_path, count=36, **BATCH).height == 36
    assert sorted(batch["count"] for batch in server.batches.values()) == [5, 10, 10, 10]


def test_what_expired_or_failed_goes_into_the_next_batch(tmp_path):
    """Of 39 in the first batch: 8 expired, 8 lost, 8 overloaded, 8 garbage."""
    seen = []

    def answer(number, key, body):
        if number > 1:
            return good_line(key)
        seen.append(key)
        return [
            good_line(key),
            expired_line(key),
            None,
            line_with(key, 503, {"error": {"message": "overloaded"}}),
            line_with(key, 200, {"choices": []}),
        ][len(seen) % 5]

    server = BatchServer(answer, status="expired")
    verdicts = server.judge(tmp_path, count=40, **BATCH)
    assert verdicts["status"].to_list() == ["ok"] * 40
    assert [batch["count"] for batch in server.batches.values()] == [39, 32]
    assert max(server.asked.values()) == 2


def test_refusals_in_a_batch_are_verdicts(tmp_path):
    filtered = {"error": {"message": "The response was filtered", "code": "content_filter"}}
    too_long = {"error": {"message": "maximum context length is 8 tokens"}}
    seen = []

    def answer(number, key, body):
        seen.append(key)
        bad = [filtered, too_long]
        return good_line(key) if len(seen) > 2 else line_with(key, 400, bad[len(seen) - 1])

    verdicts = BatchServer(answer).judge(tmp_path, count=12, **BATCH)
    assert sorted(verdicts["status"]) == ["judge_refusal", *["ok"] * 10, "truncated"]


def test_a_batch_that_never_brings_an_answer_ends(tmp_path):
    server = BatchServer(lambda number, key, body: None)
    once = {"max_attempts": 2}
    verdicts = server.judge(tmp_path, count=5, endpoint_changes=once, **BATCH)
    assert sorted(verdicts["status"]) == [*["api_error"] * 4, "ok"]
    assert verdicts.filter(status="api_error")["raw_text"][0] == "no answer in 2 batches"
    assert len(server.batches) == 2
    assert spent_so_far(tmp_path / "journal").prompt_tokens == 100


def test_a_batch_that_is_refused_as_a_whole_says_why(tmp_path):
    message = fails(BatchServer(status="failed"), tmp_path, **BATCH)
    assert "was refused: Enqueued token limit reached" in message
    assert open_batches(tmp_path / "journal") == []
    assert BatchServer().judge(tmp_path, **BATCH).height == 30


def flaky(*steps):
    """Each named step fails once, with HTTP 500 after the server has done its part."""
    left = list(steps)

    def on(step):
        if step in left:
            left.remove(step)
            return web.json_response({"error": {"message": "hiccup"}}, status=500)
        return None

    return on


def test_hiccups_between_the_steps_cost_nothing(tmp_path):
    server = BatchServer(on=flaky("file", "before create", "create", "retrieve", "content"))
    assert server.judge(tmp_path, **BATCH)["status"].to_list() == ["ok"] * 30
    # The batch whose making was not confirmed is found by its tag, and not made again.
    assert len(server.batches) == 1


def test_a_ceiling_holds_in_batches(tmp_path):
    server = BatchServer()
    message = fails(server, tmp_path, limits={"requests": 12}, **BATCH)
    assert "the ceiling on requests (12) is reached: 18 of 30 requests are left" in message
    assert server.asked.total() + len(server.bodies) == 12
    fails(server, tmp_path, limits={"requests": 12}, **BATCH)
    assert server.asked.total() + len(server.bodies) == 12
    server.judge(tmp_path, limits={"requests": 30}, **BATCH)
    assert server.asked.total() + len(server.bodies) == 30


CHILD = """
import sys; sys.path[:0] = ["scripts", "tests"]
from pathlib import Path
import em_tiers.judge.batch_run as run
run.FIRST_LOOK_S, run.LONGEST_LOOK_S, run.FOUND_AFTER_S = 0.01, 0.02, 0.0
import judge_api
from api.recorded import ONE
from api.study import arguments
from em_tiers.logs import run_script
given = arguments(Path(sys.argv[1]), sys.argv[2], {"base": int(sys.argv[3])}, mode="batch", **ONE)
run_script(judge_api.main, sys.argv[1] + "/log", **given)
"""


class Killer:
    """Kills the job at one step, once, or lets it wait there."""

    def __init__(self, step, number=signal.SIGKILL):
        self.step, self.number, self.process, self.done = step, number, None, False

    def __call__(self, step):
        if step != self.step or self.done:
            return
        self.done = True
        os.kill(self.process.pid, self.number)
        return


def interrupted(folder, killer):
    """Run the job in its own process until it is killed, then again; the server and the output."""
    server = BatchServer(on=killer)
    if killer.number == signal.SIGINT:
        server.looks = 10**6  # nothing to collect before the job has ended
    with serve(server.app()) as address:
        command = [sys.executable, "-c", CHILD, str(folder), f"{address}/v1", "60"]
        options = {"cwd": ROOT, "stderr": subprocess.PIPE, "text": True}
        killer.process = subprocess.Popen(command, **options)
        _, said = killer.process.communicate(timeout=60)
        assert killer.done
        assert killer.process.returncode
        left = open_batches(folder / "journal")
        server.looks = 2
        again = subprocess.run(command, timeout=60, **options)
        assert again.returncode == 0, again.stderr
    return server, said, left


@pytest.mark.parametrize(
    "step",
    [
        "create",
        *(pytest.param(s, marks=pytest.mark.slow) for s in ("file", "before create", "retrieve")),
        pytest.param("content", marks=pytest.mark.slow),
    ],
)
def test_a_job_that_is_killed_between_two_steps_pays_nothing_twice(step, tmp_path):
    server, _, left = interrupted(tmp_path, Killer(step))
    assert len(left) == 1
    assert max(server.asked.values()) == 1
    assert server.asked.total() + len(server.bodies) == 60
    assert len(read_journal(tmp_path / "journal")) == 60
    spent = spent_so_far(tmp_path / "journal")
    assert (spent.requests, spent.prompt_tokens) in [(60, 6000), (60 + 59, 6000)]


def test_a_batch_is_left_with_the_provider_and_collected_later(tmp_path):
    server, said, left = interrupted(tmp_path, Killer("retrieve", signal.SIGINT))
    assert "1 batch with the provider (59 requests), sent 0 min ago: run again to collect" in said
    assert "Traceback" not in said
    assert [len(batch.requests) for batch in left] == [59]
    assert len(server.batches) == 1
    assert server.asked.total() == 59


def test_the_status_shows_batches_with_the_provider(tmp_path):
    with BatchBook(tmp_path, "one") as book:
        for tag in ("a", "b"):
            book.plan(tag, {f"{tag}{n}": Reserved(f"{tag}.{n}", 9, 4, 1) for n in range(600)})
    lines = judging_lines("short", {"journal": tmp_path}, [], 0.0)
    assert lines[1] == "  2 batches with the provider (1,200 requests), sent 0 min ago"
    batches = open_batches(tmp_path)
    assert "sent 3 h ago" in open_in_words(batches, batches[0].planned_at + 3 * 3600)
    with BatchBook(tmp_path, "another job") as book:
        for batch in book.open():
            book.close(batch)
    assert len(judging_lines("short", {"journal": tmp_path}, [], 0.0)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_1000_requests_with_faults_and_kills(seed, tmp_path):
    """Nothing invented, nothing lost, and nothing paid for twice that brought an answer."""
    draw = random.Random(seed)
    answered = Counter()

    def answer(number, key, body):
        fault = draw.choice(["expired", "lost", "busy", *["fine"] * 7])
        if fault == "fine":
            answered[key] += 1
            return good_line(key)
        busy = line_with(key, 503, {"error": {"message": "overloaded"}})
        return {"expired": expired_line(key), "lost": None, "busy": busy}[fault]

    class Killers(Killer):
        def __call__(self, step):
            if step in ("create", "retrieve", "content") and draw.random() < 0.2:
                os.kill(self.process.pid, signal.SIGKILL)

    killer = Killers("any")
    server = BatchServer(answer, on=killer, status="expired")
    with serve(server.app()) as address:
        command = [sys.executable, "-c", CHILD, str(tmp_path), f"{address}/v1", "1000"]
        for _ in range(30):
            killer.process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
            if killer.process.wait(120) == 0:
                break
    verdicts = read_table(tmp_path / "verdicts" / "batch.parquet", "verdicts")
    assert verdicts["status"].to_list() == ["ok"] * 1000
    assert set(answered.values()) == {1}
    assert sum(answered.values()) + len(server.bodies) == 1000
