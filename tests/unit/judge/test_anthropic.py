"""Judges behind Anthropic's own interface, directly and in batches."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from api.anthropic_server import AnthropicServer, error, error_body, message, succeeded
from api.loopback import serve
from api.recorded import KEY, fails
from api.study import KEY_ENV, MODEL, rubric
from em_tiers.api.batch_book import open_batches
from em_tiers.api.ledger import spent_so_far
from em_tiers.journal import read_journal

TWO = {"rubrics": {name: rubric(name) for name in ("alignment", "coherence")}}
GOOD_OBJECT = message('{"alignment": 85, "coherence": 90}')


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("em_tiers.api.sending.FIRST_WAIT_S", 0.01)
    for name, seconds in (("FIRST_LOOK_S", 0.01), ("LONGEST_LOOK_S", 0.02), ("FOUND_AFTER_S", 0.0)):
        monkeypatch.setattr(f"em_tiers.judge.batch_run.{name}", seconds)
    monkeypatch.setattr("em_tiers.api.anthropic_batches._LOOK_S", 0.01)
    monkeypatch.setenv(KEY_ENV, KEY)


def entry(method, **decoding):
    judge = {
        "backend": "anthropic",
        "method": {"number": method, "choice": method},
        "decoding": {"temperature": 0, "max_tokens": 100, "seed": 0, "samples": 1} | decoding,
    }
    identity = {"backend": "anthropic", "server": "loopback", "model": MODEL}
    return {"judge": judge, "model_identity": identity}


def test_sampled_and_structured_replies_are_scored(tmp_path):
    server = AnthropicServer()
    verdicts = server.judge(tmp_path / "sampled", count=5, **entry("sampled"))
    assert verdicts["score"].to_list() == [85.0] * 5
    assert verdicts["prompt_tokens"].to_list() == [100] * 5
    [asked, *_] = server.bodies
    assert asked["max_tokens"] == 100
    assert "Grade alignment" in asked["system"]
    assert "seed" not in asked
    server = AnthropicServer(good=GOOD_OBJECT)
    verdicts = server.judge(tmp_path / "structured", count=5, **entry("structured"), **TWO)
    assert sorted(verdicts["score"]) == [85.0] * 5 + [90.0] * 5
    assert len(server.bodies) == 5  # no bounds, which it does not know, from the first request on


def test_thoughts_are_kept_apart(tmp_path):
    server = AnthropicServer(good=message(thoughts="hm"))
    verdicts = server.judge(tmp_path, count=3, **entry("sampled", reasoning_tokens=500))
    assert verdicts.select("score", "reasoning").rows() == [(85.0, "hm")] * 3
    assert server.bodies[0]["thinking"] == {"type": "enabled", "budget_tokens": 1024}
    assert server.bodies[0]["max_tokens"] == 1124


def test_refusals_and_cut_replies_have_their_status(tmp_path):
    faults = {
        2: lambda: message("", "refusal"),
        3: lambda: message("8", "max_tokens"),
        4: lambda: message("I", "model_context_window_exceeded"),
    }

    class Server(AnthropicServer):
        async def handle(self, request):
            made = faults.get(len(self.bodies) + 1)
            self.good = made() if made else message()
            return await super().handle(request)

    verdicts = Server().judge(
        tmp_path, count=6, **entry("sampled"), endpoint_changes={"concurrency": 1}
    )
    assert sorted(verdicts["status"]) == ["judge_refusal", *["ok"] * 3, *["truncated"] * 2]
    assert len(read_journal(tmp_path / "journal")) == 6


@pytest.mark.parametrize(
    ("status", "kind", "words", "said"),
    [
        (401, "authentication_error", f"invalid x-api-key {KEY}", "the key is not accepted"),
        (400, "invalid_request_error", "Your credit balance is too low", "no credit left"),
        (404, "not_found_error", "model: claude-9", "the model or the address is unknown"),
    ],
)
def test_what_is_about_all_requests_stops_at_once(status, kind, words, said, tmp_path):
    async def refuse(request, forward):
        return error(status, kind, words)

    server = AnthropicServer(plan=lambda number: refuse)
    assert said in fails(server, tmp_path, **entry("sampled"))
    assert len(server.bodies) == 1


def test_overloaded_is_asked_again(tmp_path):
    async def overloaded(request, forward):
        return error(529, "overloaded_error", "Overloaded")

    server = AnthropicServer(plan=lambda number: overloaded if number % 3 == 0 else None)
    verdicts = server.judge(tmp_path, count=9, **entry("sampled"))
    assert verdicts["status"].to_list() == ["ok"] * 9


def answers_of_batches(number, key, params):
    kinds = [
        succeeded(GOOD_OBJECT),
        {"type": "expired"},
        {"type": "errored", "error": error_body("overloaded_error", "Overloaded")},
    ]
    return kinds[int(key, 16) % 3] if number == 1 else kinds[0]


def test_batches_and_direct_requests_share_a_journal(tmp_path):
    server = AnthropicServer(answers_of_batches, good=GOOD_OBJECT)
    asked = entry("structured") | TWO
    verdicts = server.judge(tmp_path, count=30, mode="batch", **asked)
    assert verdicts["status"].to_list() == ["ok"] * 60
    assert next(iter(server.batches.values()))["count"] == 29
    assert len(server.batches) == 2
    assert len(server.bodies) == 1
    assert open_batches(tmp_path / "journal") == []
    assert spent_so_far(tmp_path / "journal").prompt_tokens == 3000
    again = AnthropicServer(good=GOOD_OBJECT)
    assert again.judge(tmp_path, count=30, **asked).equals(verdicts)
    assert again.bodies == []


def test_a_batch_whose_making_was_not_confirmed_is_found_and_not_made_again(tmp_path):
    failed = []

    def on(step):
        if step == "create" and not failed:
            failed.append(step)
            return error(500, "api_error", "hiccup")
        return None

    server = AnthropicServer(on=on, good=GOOD_OBJECT)
    judged = entry("structured") | {"mode": "batch"} | TWO
    assert server.judge(tmp_path, count=10, **judged)["status"].to_list() == ["ok"] * 20
    assert failed
    assert len(server.batches) == 1


CHILD = """
import sys; sys.path[:0] = ["scripts", "tests", "tests/unit/judge"]
from pathlib import Path
import em_tiers.api.anthropic_batches as batches
import em_tiers.judge.batch_run as run
run.FIRST_LOOK_S, run.LONGEST_LOOK_S, run.FOUND_AFTER_S = 0.01, 0.02, 0.0
batches._LOOK_S = 0.01
import judge_api
from api.study import arguments
from em_tiers.logs import run_script
from test_anthropic import TWO, entry
changes = entry("structured") | {"mode": "batch"} | TWO
given = arguments(Path(sys.argv[1]), sys.argv[2], {"base": 60}, **changes)
given["judge"] |= changes["judge"]
run_script(judge_api.main, sys.argv[1] + "/log", **given)
"""


@pytest.mark.parametrize(
    "step",
    [
        "create",
        *(
            pytest.param(s, marks=pytest.mark.slow)
            for s in ("before create", "retrieve", "content")
        ),
    ],
)
def test_a_job_that_is_killed_between_two_steps_pays_nothing_twice(step, tmp_path):
    """Its interface keeps no tag of ours, so the batch is found by its time and its size."""
    killed = []

    def kill(here):
        if here == step and not killed:
            killed.append(here)
            os.kill(process.pid, signal.SIGKILL)

    server = AnthropicServer(on=kill, good=GOOD_OBJECT)
    with serve(server.app()) as address:
        command = [sys.executable, "-c", CHILD, str(tmp_path), f"{address}/v1"]
        options = {"cwd": Path(__file__).parents[3], "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(command, **options)
        process.communicate(timeout=60)
        assert killed
        assert process.returncode == -signal.SIGKILL
        assert len(open_batches(tmp_path / "journal")) == 1
        again = subprocess.run(command, timeout=60, **options)
        assert again.returncode == 0, again.stderr
    assert max(server.asked.values()) == 1
    assert server.asked.total() + len(server.bodies) == 60
    assert len(read_journal(tmp_path / "journal")) == 60
    assert open_batches(tmp_path / "journal") == []
    spent = spent_so_far(tmp_path / "journal")
    assert (spent.requests, spent.prompt_tokens) in [(60, 6000), (60 + 59, 6000)]
