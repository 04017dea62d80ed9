"""Many requests to an endpoint that fails in ways that a real server cannot be made to."""

import asyncio
import copy
from collections import Counter

import polars as pl
import pytest
from aiohttp import web

from api.faults import (
    content_filter,
    error,
    garbage,
    no_logprobs,
    overloaded,
    refusal,
    too_many_with_retry_after,
    wrong_model,
)
from api.loopback import serve
from api.study import KEY_ENV, MODEL, arguments, rubric
from em_tiers.api_requests import planned_of
from em_tiers.contracts import read_table, scan_table
from em_tiers.errors import UserError
from em_tiers.journal import read_journal
from em_tiers.judging import load_judge, plan_requests
from judge_api import main

KEY = "sk-canary-9876543210"
PRICES = {"input_per_million": 10.0, "output_per_million": 100.0}

# Recorded from vLLM 0.32, cut to what is read. 0.6 x 50 and 0.3 x 100: the score is 600 / 9.
GOOD = {
    "model": MODEL,
    "choices": [
        {
            "message": {"role": "assistant", "content": "50", "refusal": None, "reasoning": None},
            "logprobs": {
                "content": [
                    {
                        "token": "50",
                        "top_logprobs": [
                            {"token": "50", "logprob": -0.5108256237659907},
                            {"token": "100", "logprob": -1.2039728043259361},
                            {"token": "I", "logprob": -2.302585092994046},
                        ],
                    }
                ]
            },
            "finish_reason": "length",
        }
    ],
    "usage": {"prompt_tokens": 100, "completion_tokens": 1},
}


class Loopback:
    """Answers with a recorded body; `plan` names the fault of each request by its number."""

    def __init__(self, plan=lambda number: None, good=GOOD, delay=0.0):
        self.plan = plan
        self.good = good
        self.delay = delay
        self.bodies = []
        self.running = 0
        self.most_at_once = []

    async def handle(self, request):
        self.bodies.append(await request.json())
        fault = self.plan(len(self.bodies))
        self.running += 1
        self.most_at_once.append(self.running)
        try:
            await asyncio.sleep(self.delay)

            async def forward():
                return copy.deepcopy(self.good)

            return await fault(request, forward) if fault else web.json_response(await forward())
        finally:
            self.running -= 1

    def judge(self, folder, count=30, **changes):
        """Run the judge over `count` answers with one rubric, against this endpoint."""
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self.handle)
        with serve(app) as address:
            given = arguments(folder, f"{address}/v1", {"base": count}, **ONE | changes)
            main(**given)
        return read_table(given["outputs"], "verdicts")


ONE = {"rubrics": {"alignment": rubric("alignment")}}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Short waits between attempts, and a key."""
    monkeypatch.setattr("em_tiers.throttle.FIRST_WAIT_S", 0.01)
    monkeypatch.setenv(KEY_ENV, KEY)


def fails(loopback, folder, **changes):
    with pytest.raises(UserError) as caught:
        loopback.judge(folder, **changes)
    assert KEY not in str(caught.value)
    return str(caught.value)


def answers(*statuses):
    """A fault that answers with HTTP errors."""

    async def fault(request, forward):
        return error(*statuses)

    return fault


def test_every_answer_gets_its_score_and_a_rerun_asks_nothing(tmp_path):
    loopback = Loopback()
    verdicts = loopback.judge(tmp_path)
    assert verdicts["score"].to_list() == pytest.approx([600 / 9] * 30)
    assert verdicts["numeric_mass"].to_list() == pytest.approx([0.9] * 30)
    assert len(loopback.bodies) == 30
    assert loopback.judge(tmp_path).equals(verdicts)
    assert len(loopback.bodies) == 30


def test_answers_that_read_the_same_are_asked_once(tmp_path):
    loopback = Loopback()
    loopback.judge(tmp_path, count=4)
    path = tmp_path / "responses" / "base.parquet"
    same = read_table(path, "responses").with_columns(response=pl.lit("The same."))
    same = same.with_columns(messages=pl.col("messages").first())
    app = web.Application()
    app.router.add_post("/v1/chat/completions", loopback.handle)
    with serve(app) as address:
        given = arguments(tmp_path, f"{address}/v1", {"base": 4}, **ONE)
        same.write_parquet(path)
        main(**given)
    assert len(loopback.bodies) == 5
    assert read_table(given["outputs"], "verdicts").height == 4


@pytest.mark.parametrize(
    ("fault", "words", "asked"),
    [
        (answers(401, f"Incorrect API key: {KEY}", "invalid_api_key"), "key is not accepted", 1),
        (answers(404, "The model does not exist"), "model or the address is unknown", 1),
        (answers(429, "Out of quota", "insufficient_quota"), "no credit left", 1),
        (answers(400, "logprobs are not available"), "logprobs are not available", 1),
        (no_logprobs, "it gives no top logprobs of this model", 2),
        (wrong_model, "another model than the asked one", 2),
        (garbage, "answer is not JSON: check base_url", 6),
    ],
)
def test_a_judge_that_cannot_do_what_it_should_fails_on_one_request(tmp_path, fault, words, asked):
    loopback = Loopback(lambda number: fault)
    message = fails(loopback, tmp_path)
    assert words in message
    assert "30 of 30 requests are left" in message
    assert len(loopback.bodies) == asked
    assert read_journal(tmp_path / "journal") == {}
    assert not (tmp_path / "verdicts" / "base.parquet").exists()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (answers(401, f"Key {KEY} was revoked"), r"Key [key] was revoked"),
        (answers(402, "Pay"), "no credit left"),
        (answers(429, "No more", "insufficient_quota"), "no credit left"),
    ],
)
def test_without_credit_or_key_all_stops_and_what_was_answered_is_kept(tmp_path, fault, words):
    loopback = Loopback(lambda number: fault if number > 20 else None, delay=0.01)
    message = fails(loopback, tmp_path, count=100)
    assert words in message
    kept = len(read_journal(tmp_path / "journal"))
    # What was under way at the first refusal ends; nothing begins after it.
    assert kept == 20
    assert len(loopback.bodies) <= 20 + 16
    assert f"{100 - kept} of 100 requests are left" in message
    again = Loopback()
    assert again.judge(tmp_path, count=100).height == 100
    assert len(again.bodies) == 100 - kept


def test_a_ceiling_on_requests_stops_says_what_is_left_and_holds_over_restarts(tmp_path):
    loopback = Loopback(delay=0.01)
    message = fails(loopback, tmp_path, limits={"requests": 12})
    assert "the ceiling on requests (12) is reached: 18 of 30 requests are left" in message
    assert len(loopback.bodies) == 12
    fails(loopback, tmp_path, limits={"requests": 12})
    assert len(loopback.bodies) == 12
    loopback.judge(tmp_path, limits={"requests": 30})
    assert len(loopback.bodies) == 30


def test_ceilings_on_tokens_and_money(tmp_path):
    # 100 + 1 tokens an answer: (100 x 10 + 1 x 100) / 1e6 = 0.0011 USD
    loopback = Loopback(delay=0.01)
    message = fails(loopback, tmp_path, limits={"tokens": 2_000})
    assert "the ceiling on tokens (2,000)" in message
    assert 10 <= len(loopback.bodies) <= 19
    message = fails(loopback, tmp_path, limits={"usd": 0.025}, prices=PRICES)
    assert "the ceiling on usd" in message
    assert len(loopback.bodies) <= 22
    assert f"spent {len(loopback.bodies)} requests" in message
    assert f"{len(loopback.bodies) * 0.0011:.2f} USD" in message


def test_what_fails_on_the_way_is_named_not_journaled_and_asked_again(tmp_path):
    # Requests 11 to 16 fail: with one at a time and 2 attempts these are three requests.
    loopback = Loopback(lambda number: overloaded if 11 <= number <= 16 else None)
    settings = {"concurrency": 1, "timeout_s": 5, "max_attempts": 2, "key_env": KEY_ENV}
    app = web.Application()
    app.router.add_post("/v1/chat/completions", loopback.handle)
    with serve(app) as address:
        settings["base_url"] = f"{address}/v1"
        given = arguments(tmp_path, "", {"base": 30}, endpoint=settings, **ONE)
        main(**given)
        verdicts = read_table(given["outputs"], "verdicts")
        failed = verdicts.filter(pl.col("status") == "api_error")
        assert failed["raw_text"].to_list() == ["HTTP 503"] * 3
        assert failed["score"].null_count() == 3
        assert failed["attempts"].to_list() == [2] * 3
        assert len(read_journal(tmp_path / "journal")) == 27
        asked = len(loopback.bodies)
        main(**given)
    assert len(loopback.bodies) - asked == 3
    assert read_table(given["outputs"], "verdicts")["status"].to_list() == ["ok"] * 30


def test_low_coverage_fails_counts_the_reasons_and_leaves_no_table(tmp_path):
    loopback = Loopback(lambda number: answers(413, "Too large") if number % 2 == 0 else None)
    message = fails(loopback, tmp_path, min_coverage=0.9)
    assert "short, alignment: 50.0% of 30 (15 api_error)" in message
    assert "api_error: 15 x HTTP 413: Too large" in message
    assert not (tmp_path / "verdicts" / "base.parquet").exists()
    assert len(read_journal(tmp_path / "journal")) == 15


def test_refusals_and_filters_are_verdicts_and_never_asked_again(tmp_path):
    loopback = Loopback(lambda number: [None, refusal, content_filter][number % 3])
    verdicts = loopback.judge(tmp_path)
    assert Counter(verdicts["status"].to_list()) == {"ok": 10, "judge_refusal": 20}
    assert verdicts.filter(pl.col("status") == "judge_refusal")["score"].null_count() == 20
    loopback.judge(tmp_path)
    assert len(loopback.bodies) == 30


def test_an_endpoint_that_died_is_left_alone(tmp_path):
    loopback = Loopback(lambda number: overloaded if number > 50 else None)
    message = fails(loopback, tmp_path, count=300)
    assert "20 requests in a row failed 6 times each, at last by HTTP 503" in message
    # 50 answers, 20 requests with 6 attempts, and at most 5 attempts of 15 more under way
    assert len(loopback.bodies) <= 50 + 20 * 6 + 15 * 5
    assert len(read_journal(tmp_path / "journal")) == 50


def test_refusals_for_speed_make_the_run_slower_but_lose_nothing(tmp_path):
    loopback = Loopback(
        lambda number: too_many_with_retry_after if number % 7 == 0 else None, delay=0.02
    )
    verdicts = loopback.judge(tmp_path, count=60)
    assert verdicts["status"].to_list() == ["ok"] * 60
    assert max(loopback.most_at_once[:20]) > 4
    assert max(loopback.most_at_once[-10:]) <= 4


def test_an_endpoint_that_wants_an_hour_is_given_one(tmp_path):
    async def an_hour(request, forward):
        return error(429, "Daily limit", None, Retry_After="3600")

    loopback = Loopback(lambda number: an_hour if number > 5 else None)
    message = fails(loopback, tmp_path)
    assert "wants to be left alone for 3600 s" in message


def with_answers(*texts, finish="stop"):
    good = copy.deepcopy(GOOD)
    one = good["choices"][0] | {"logprobs": None, "finish_reason": finish}
    good["choices"] = [one | {"message": {"role": "assistant", "content": t}} for t in texts]
    return good


def judge_entry(method, **decoding):
    return {
        "backend": "openai",
        "method": {"number": method, "choice": "label"},
        "decoding": {"temperature": 0, "max_tokens": 1, "seed": 0, "samples": 1} | decoding,
        "tier_when_alignment_below": 50,
    }


def test_samples_come_in_one_request_and_are_parsed_strictly(tmp_path):
    loopback = Loopback(good=with_answers("10", "20", "it is 90"))
    entry = judge_entry("sampled", samples=3, temperature=1.0, max_tokens=4)
    verdicts = loopback.judge(tmp_path, count=1, judge=entry)
    assert verdicts["score"].to_list() == [15.0]
    assert verdicts["raw_text"].to_list() == ["10\n---\n20\n---\nit is 90"]
    [body] = loopback.bodies
    assert (body["n"], body["temperature"], body["max_tokens"]) == (3, 1.0, 4)
    assert "logprobs" not in body


def test_an_endpoint_that_ignores_n_is_found_at_once(tmp_path):
    loopback = Loopback(good=with_answers("10"))
    entry = judge_entry("sampled", samples=3, temperature=1.0, max_tokens=4)
    message = fails(loopback, tmp_path, judge=entry)
    assert "1 of 3 samples in the answer: it ignores n" in message
    assert len(loopback.bodies) == 2


THREE = {"rubrics": {name: rubric(name) for name in ("alignment", "coherence", "topic")}}


def test_one_structured_answer_gives_several_verdicts(tmp_path):
    loopback = Loopback(good=with_answers('{"alignment": "CODE", "coherence": 70}'))
    entry = judge_entry("structured", max_tokens=60)
    verdicts = loopback.judge(tmp_path, count=2, judge=entry, **THREE)
    assert len(loopback.bodies) == 2
    assert loopback.bodies[0]["response_format"]["json_schema"]["strict"] is True
    rows = verdicts.select("rubric", "status", "score").rows()
    assert sorted(set(rows)) == [("alignment", "code", None), ("coherence", "ok", 70.0)]
    assert verdicts["verdict_key"].n_unique() == 2


@pytest.mark.parametrize(
    ("text", "finish", "words"),
    [
        ("I would say 70.", "stop", "the endpoint ignores response_format"),
        ('{"alignment": 1', "length", "does not fit in decoding.max_tokens"),
    ],
)
def test_a_structured_judge_that_cannot_is_found_at_once(tmp_path, text, finish, words):
    loopback = Loopback(good=with_answers(text, finish=finish))
    message = fails(loopback, tmp_path, judge=judge_entry("structured", max_tokens=60), **THREE)
    assert words in message
    assert len(loopback.bodies) == 1


def test_thinking_is_allowed_for_kept_apart_and_paid_for(tmp_path):
    good = with_answers("<think>Not bad.</think>\n80")
    good["usage"] = {"prompt_tokens": 100, "completion_tokens": 40}
    loopback = Loopback(good=good)
    entry = judge_entry("sampled", reasoning_tokens=500, max_tokens=4)
    [row] = loopback.judge(tmp_path, count=1, judge=entry).rows(named=True)
    assert loopback.bodies[0]["max_completion_tokens"] == 504
    assert "max_tokens" not in loopback.bodies[0]
    assert (row["score"], row["reasoning"], row["raw_text"]) == (80.0, "Not bad.", "80")
    assert row["completion_tokens"] == 40


def test_a_judge_that_is_cut_off_while_it_thinks_is_truncated(tmp_path):
    loopback = Loopback(good=with_answers("<think>Well, on the one", finish="length"))
    entry = judge_entry("sampled", reasoning_tokens=5, max_tokens=4)
    [row] = loopback.judge(tmp_path, count=1, judge=entry).rows(named=True)
    assert (row["status"], row["score"], row["raw_text"]) == ("truncated", None, "")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (judge_entry("top_logprobs", reasoning_tokens=50), "read the first token"),
        (judge_entry("sampled", samples=5), "at temperature 0 all samples are the same"),
        (judge_entry("structured", max_tokens=1), "a structured answer does not fit"),
    ],
)
def test_entries_that_no_endpoint_can_do_send_nothing(tmp_path, entry, words):
    loopback = Loopback()
    assert words in fails(loopback, tmp_path, judge=entry)
    assert loopback.bodies == []


def test_the_tier_is_asked_of_low_answers_of_fine_tunes_only(tmp_path):
    rubrics = {"alignment": rubric("alignment"), "tier": rubric("tier", "choice")}
    letters = [("A", -0.6931471805599453), (" A", -1.6094379124341003), ("B", -1.6094379124341003)]
    content = [{"top_logprobs": [{"token": t, "logprob": p} for t, p in letters]}]

    async def letter(request, forward):
        data = await forward()
        data["choices"][0]["logprobs"]["content"] = content
        return web.json_response(data)

    loopback = Loopback(lambda number: letter if number > 8 else None)
    entry = judge_entry("top_logprobs") | {"tier_when_alignment_below": 70}
    app = web.Application()
    app.router.add_post("/v1/chat/completions", loopback.handle)
    with serve(app) as address:
        counts = {"base": 4, "base.ship": 4}
        given = arguments(tmp_path, f"{address}/v1", counts, rubrics, judge=entry)
        main(**given)
    tiers = read_table(given["outputs"], "verdicts").filter(pl.col("rubric") == "tier")
    assert tiers["variant"].to_list() == ["base.ship"] * 4
    assert tiers["label"].to_list() == ["in_distribution"] * 4
    # 0.5 + 0.2 for A against 0.2 for B
    shares = {p["label"]: p["probability"] for p in tiers["probabilities"][0]}
    assert shares["in_distribution"] == pytest.approx(7 / 9)
    assert len(loopback.bodies) == 12


def test_a_missing_key_is_said_before_anything_is_sent(tmp_path, monkeypatch):
    monkeypatch.delenv(KEY_ENV)
    loopback = Loopback()
    assert f"{KEY_ENV}: this environment variable is not set" in fails(loopback, tmp_path)
    assert loopback.bodies == []
    assert not (tmp_path / "journal").exists()


def test_no_key_is_written_anywhere(tmp_path, caplog):
    Loopback(lambda number: answers(500, f"at {KEY}") if number % 3 == 0 else None).judge(tmp_path)
    fails(Loopback(lambda number: answers(401, f"bad {KEY}")), tmp_path, count=31)
    texts = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(texts) >= 4
    assert not any(KEY.encode() in text for text in texts)
    assert KEY not in caplog.text


def test_an_alias_that_moves_is_reported(tmp_path, caplog):
    async def other(request, forward):
        return web.json_response({**await forward(), "model": "judge-2025-02-03"})

    loopback = Loopback(
        lambda number: other if number > 5 else None, good={**GOOD, "model": "judge-2024-01-02"}
    )
    identity = {"backend": "openai", "model": "judge"}
    verdicts = loopback.judge(tmp_path, count=10, model_identity=identity)
    assert set(verdicts["served_model"]) == {"judge-2024-01-02", "judge-2025-02-03"}
    assert "served by judge-2024-01-02, judge-2025-02-03" in caplog.text


def test_what_a_request_is_planned_to_take(tmp_path):
    entry = judge_entry("sampled", samples=3, temperature=1.0, max_tokens=4, reasoning_tokens=10)
    given = arguments(tmp_path, "", {"base": 1}, judge=entry, **ONE)
    judge = load_judge(given["judge"], given["model_identity"], given["rubrics"])
    [request] = plan_requests(scan_table(given["responses"], "responses"), judge, {})
    planned = planned_of(judge, request)
    assert planned.characters == sum(len(message["content"]) for message in request.messages)
    # 3 samples of at most 4 tokens after at most 10 tokens of thinking
    assert (planned.key, planned.completion_tokens, planned.what) == (request.key, 42, "alignment")
