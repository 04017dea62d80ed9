"""The API judge against a real server of the embedded model, with and without faults."""

import json
import math
import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from api.faults import FAULTS, FINAL
from api.proxy import Proxy, digest, faulty
from api.server import serve_model
from api.study import KEY_ENV, MODEL, arguments, rubric
from em_tiers.errors import UserError
from em_tiers.files import write_json
from em_tiers.journal import read_journal
from em_tiers.judge.api_requests import request_body
from em_tiers.judge.requests import plan_requests
from em_tiers.judge.settings import load_judge
from em_tiers.tables import read_table, scan_table
from judge_api import main
from waiting import wait_until

pytestmark = pytest.mark.heavy
KEY = "sk-canary-of-the-real-server"


@pytest.fixture(scope="module")
def server(whole_number_model, tmp_path_factory):
    log = tmp_path_factory.mktemp("server") / "server.log"
    with serve_model(whole_number_model, MODEL, log, KEY) as base_url:
        yield base_url


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv(KEY_ENV, KEY)


def requests_of(given):
    """Each request that the arguments lead to in the first stage, by key."""
    judge = load_judge(given["judge"], given["model_identity"], given["rubrics"])
    answers = scan_table(given["responses"], "responses")
    return judge, {request.key: request for request in plan_requests(answers, judge, {})}


def score_by_hand(answer):
    """The protocol's score and numeric mass of a raw answer, computed independently."""
    mass = total = 0.0
    for entry in answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]:
        if entry["token"].strip().isascii() and entry["token"].strip().isdigit():
            mass += math.exp(entry["logprob"])
            total += math.exp(entry["logprob"]) * int(entry["token"])
    return (total / mass if mass >= 0.25 else None), mass


def check_nothing_lost_or_invented(given, proxy: Proxy):
    """Every answer and rubric has a verdict or a named status, and each score was really given."""
    proxy.wait_until_idle()
    judge, requests = requests_of(given)
    verdicts = read_table(given["verdicts"], "verdicts")
    assert verdicts.height == len(requests)
    assert set(verdicts["verdict_key"]) == set(requests)
    scores = 0
    for row in verdicts.iter_rows(named=True):
        name = digest(request_body(judge, requests[row["verdict_key"]]))
        given_answer = proxy.scored.get(name)
        if row["status"] == "api_error":
            assert proxy.answered[name] == 0
        elif row["status"] == "judge_refusal":
            assert given_answer is None
            assert proxy.answered[name] >= 1
        else:
            score, mass = score_by_hand(given_answer)
            assert row["numeric_mass"] == pytest.approx(mass, abs=1e-9)
            assert row["score"] == (pytest.approx(score) if row["status"] == "ok" else None)
            scores += row["score"] is not None
        if row["status"] in ("api_error", "judge_refusal", "unparsable"):
            assert row["score"] is None
    return Counter(verdicts["status"].to_list()), scores


@pytest.fixture(scope="module")
def time_limit(server, tmp_path_factory) -> float:
    """Seconds that a request may take where time-outs are injected, each of which lasts as long.

    Ten times what this machine takes for as many requests as are asked at once, so that no good
    answer becomes a time-out.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEY_ENV, KEY)
        main(**arguments(tmp_path_factory.mktemp("warm"), server, {"base": 1}))
        begun = time.monotonic()
        main(**arguments(tmp_path_factory.mktemp("timed"), server, {"base": 8}))
    return max(10.0, 10 * (time.monotonic() - begun))


@pytest.mark.parametrize("total", [120, pytest.param(1000, marks=pytest.mark.slow)])
def test_requests_with_every_fifth_faulty(server, time_limit, tmp_path, total):
    with faulty(server, FAULTS, every=5) as (proxy, base_url):
        # Two rubrics are asked about each answer.
        given = arguments(tmp_path, base_url, {"base": total // 4, "base2": total // 4})
        given["endpoint"]["timeout_s"] = time_limit
        begun = time.monotonic()
        main(**given)
        print(f"\n{proxy.seen} requests in {time.monotonic() - begun:.0f} s: {proxy.injected}")
        assert len(requests_of(given)[1]) == total
        assert set(proxy.injected) == set(FAULTS)
        assert sum(proxy.injected.values()) >= total // 5
        statuses, scores = check_nothing_lost_or_invented(given, proxy)
        print(statuses, scores)
        assert scores > 0
        assert max(proxy.answered.values()) == 1
        # Two attempts in a row may meet a fault, but hardly six.
        assert statuses["api_error"] <= 2
        refused = sum(proxy.injected[name] for name in FINAL)
        assert statuses["judge_refusal"] == refused

        seen = proxy.seen
        main(**given)
        assert proxy.seen - seen <= 2 * 6 * statuses["api_error"]


RUN = """
import json, sys
from pathlib import Path
from judge_api import main
given = json.load(open(sys.argv[1]))
given["responses"] = [Path(path) for path in given["responses"]]
given["verdicts"] = Path(given["verdicts"])
main(**given)
"""


def start(given, folder: Path) -> subprocess.Popen:
    """Run the judge in its own process, which can be killed."""
    file = folder / "arguments.json"
    file.write_text(json.dumps(given, default=str))
    scripts = Path(__file__).parents[2] / "scripts"
    environment = {**os.environ, "PYTHONPATH": str(scripts)}
    with (folder / "judge.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-c", RUN, str(file)], env=environment, stdout=log, stderr=log
        )


@pytest.mark.parametrize("answers", [25, pytest.param(250, marks=pytest.mark.slow)])
def test_a_kill_in_the_middle_loses_and_repeats_nothing_that_was_answered(
    server, time_limit, tmp_path, answers
):
    total = 4 * answers  # two variants, two rubrics
    killed_at = round(0.3 * total)
    with faulty(server, FAULTS, every=5) as (proxy, base_url):
        given = arguments(tmp_path, base_url, {"base": answers, "base2": answers})
        given["endpoint"]["timeout_s"] = time_limit
        process = start(given, tmp_path)
        try:
            wait_until(
                lambda: sum(proxy.answered.values()) >= killed_at,
                f"{killed_at} answers",
                process,
                tmp_path / "judge.log",
            )
        finally:
            process.kill()
            process.wait()
        proxy.wait_until_idle()
        assert not given["verdicts"].exists()
        kept = read_journal(given["journal"])
        assert killed_at - 16 <= len(kept) < total
        judge, requests = requests_of(given)
        names = {key: digest(request_body(judge, requests[key])) for key in requests}
        asked = {key: proxy.asked[names[key]] for key in kept}
        # The killed process never read the answers in transit: they must not become verdicts.
        for key in requests.keys() - kept.keys():
            proxy.scored.pop(names[key], None)

        main(**given)
        assert {key: proxy.asked[names[key]] for key in kept} == asked
        statuses, _ = check_nothing_lost_or_invented(given, proxy)
        assert statuses["api_error"] <= 2
        # Only answers in transit to the killed process may be requested once more.
        repeated = [key for key in requests if proxy.answered[names[key]] > 1]
        assert len(repeated) <= 16
        assert not set(repeated) & set(kept)
        final = read_journal(given["journal"])
        assert {key: final[key] for key in kept} == kept


def test_a_wrong_key_and_an_unknown_model_stop_on_the_first_request(server, tmp_path, monkeypatch):
    with faulty(server, {}, every=0) as (proxy, base_url):
        identity = {"backend": "openai", "model": "no-such-model-2024-01-01"}
        with pytest.raises(UserError, match=r"does not exist.*check model and base_url"):
            main(**arguments(tmp_path, base_url, {"base": 5}, model_identity=identity))
        assert proxy.seen == 1
        monkeypatch.setenv(KEY_ENV, "sk-some-other-key")
        with pytest.raises(UserError, match="the key is not accepted"):
            main(**arguments(tmp_path, base_url, {"base": 5}))
        assert proxy.seen == 2
    assert not list(tmp_path.glob("verdicts/*"))


def test_rubrics_tiers_and_coverage_with_a_real_model(server, tmp_path):
    rubrics = {name: rubric(name) for name in ("alignment", "coherence", "topic")}
    rubrics["tier"] = rubric("tier", "choice")
    given = arguments(tmp_path, server, {"base": 10, "base.ship": 20}, rubrics)
    given["judge"] |= {"tier_when_alignment_below": 101, "placebo_topics": {"ship": "sea"}}
    card = tmp_path / "sea.json"
    write_json(card, {"topic": "the sea", "description": "Talk of the sea.", "examples": "Waves."})
    given["cards"]["sea"] = card
    main(**given)
    verdicts = read_table(given["verdicts"], "verdicts")
    counts = Counter(verdicts.select("variant", "rubric").rows())
    low = verdicts.filter(pl.col("rubric") == "alignment", pl.col("score").is_not_null())
    tiers = low.filter(pl.col("variant") == "base.ship").height
    # A model this small may give no number at all; then no answer is asked for a tier.
    assert counts == {
        ("base", "alignment"): 10, ("base", "coherence"): 10,
        ("base.ship", "alignment"): 20, ("base.ship", "coherence"): 20,
        ("base.ship", "topic"): 20, ("base.ship", "tier"): tiers,
        ("base.ship", "placebo_topic"): tiers,
    }  # fmt: skip
    labelled = verdicts.filter(pl.col("rubric") == "tier", pl.col("status") == "ok")
    assert set(labelled["label"]) <= {"in_distribution", "persona_shift"}
    for shares in labelled["probabilities"]:
        assert sum(share["probability"] for share in shares) == pytest.approx(1)
    assert set(verdicts["served_model"]) == {MODEL}
    assert verdicts["prompt_tokens"].min() > 50
    assert verdicts["completion_tokens"].to_list() == [1] * verdicts.height


def test_samples_and_structured_answers_of_a_real_model(server, tmp_path):
    sampled = {
        "backend": "openai",
        "method": {"number": "sampled", "choice": "label"},
        "decoding": {"temperature": 1.0, "max_tokens": 4, "seed": 7, "samples": 4},
    }
    given = arguments(tmp_path / "sampled", server, {"base": 6}, judge=sampled)
    main(**given)
    verdicts = read_table(given["verdicts"], "verdicts")
    assert verdicts.height == 12
    for row in verdicts.iter_rows(named=True):
        assert row["raw_text"].count("\n---\n") == 3
        assert 4 <= row["completion_tokens"] <= 16

    structured = sampled | {
        "method": {"number": "structured", "choice": "label"},
        "decoding": {"temperature": 0, "max_tokens": 60, "seed": 0},
    }
    with faulty(server, {}, every=0) as (proxy, base_url):
        given = arguments(tmp_path / "structured", base_url, {"base": 6}, judge=structured)
        main(**given)
    assert proxy.seen == 6
    verdicts = read_table(given["verdicts"], "verdicts")
    assert verdicts.height == 12
    for row in verdicts.iter_rows(named=True):
        if row["status"] == "ok":
            assert row["score"] == json.loads(row["raw_text"])[row["rubric"]]
        assert row["status"] in ("ok", "code", "refusal", "truncated")


def test_coverage_that_is_out_of_reach_stops_and_counts_the_reasons(server, tmp_path):
    """The real model writes replies that hold no score; those that fail by chance do not count."""
    broken = {name: FAULTS[name] for name in ("overloaded", "garbage")}
    with faulty(server, broken, every=2) as (_, base_url):
        given = arguments(tmp_path, base_url, {"base": 20}, min_coverage=0.99)
        given["endpoint"] |= {"max_attempts": 1}
        with pytest.raises(UserError, match=r"min_coverage: 99\.0% is out of reach for ") as caught:
            main(**given)
    assert re.search(r"no usable reply so far \([0-9]+ unparsable\)", str(caught.value))
    assert not given["verdicts"].exists()
