"""Many requests to an endpoint that fails in ways that a real server cannot be made to."""

import asyncio
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
from api.recorded import GOOD, KEY, ONE, Loopback, fails
from api.study import KEY_ENV, arguments
from em_tiers.journal import read_journal
from em_tiers.judge.rounds import due_round
from em_tiers.tables import read_table
from judge_api import main

PRICES = {"input_per_million": 10.0, "output_per_million": 100.0}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Short waits between attempts, and a key."""
    monkeypatch.setattr("em_tiers.api.sending.FIRST_WAIT_S", 0.01)
    monkeypatch.setenv(KEY_ENV, KEY)


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
    assert read_table(given["verdicts"], "verdicts").height == 4


@pytest.mark.parametrize(
    ("fault", "words", "asked"),
    [
        (answers(401, f"Incorrect API key: {KEY}", "invalid_api_key"), "key is not accepted", 1),
        (answers(404, "The model does not exist"), "model or the address is unknown", 1),
        (answers(429, "Out of quota", "insufficient_quota"), "no credit left", 1),
        (answers(400, "logprobs are not available"), "logprobs are not available", 10),
        (no_logprobs, "it gives no top logprobs of this model", 6),
        (wrong_model, "'some-other-model' answered: another model than the requested", 6),
        (garbage, "about different answers, were not answered: answer is not JSON", 10),
    ],
)
def test_a_judge_that_cannot_do_what_it_should_fails_on_a_few_requests(
    tmp_path, fault, words, asked
):
    loopback = Loopback(lambda number: fault)
    message = fails(loopback, tmp_path)
    assert words in message
    assert "30 of 30 requests are left" in message
    assert len(loopback.bodies) == asked
    assert read_journal(tmp_path / "journal") == {}
    assert not (tmp_path / "verdicts" / "batch.parquet").exists()


def digits(*tokens):
    """A good answer with these first tokens, all equally likely."""
    top = [{"token": token, "logprob": -2.5} for token in tokens]
    choice = {
        **GOOD["choices"][0],
        "logprobs": {"content": [{"token": tokens[0], "top_logprobs": top}]},
    }
    return {**GOOD, "choices": [choice]}


@pytest.mark.parametrize(
    ("first", "asked"), [(["0", "1", "3", "5", "7", "9", "I"], 1), (["7", "8", "The"], 10)]
)
def test_a_tokenizer_that_spells_numbers_digit_by_digit_is_found_out(tmp_path, first, asked):
    """The first token of 85 is 8: no score may come of it."""
    loopback = Loopback(good=digits(*first))
    message = fails(loopback, tmp_path, endpoint_changes={"concurrency": 1})
    assert "spells numbers digit by digit" in message
    assert len(loopback.bodies) == asked
    assert not (tmp_path / "verdicts" / "batch.parquet").exists()
    # What the first runs journaled does not make a table in the end.
    while len(read_journal(tmp_path / "journal")) < 30:
        assert "spells numbers digit by digit" in fails(loopback, tmp_path)
    assert "spells numbers digit by digit" in fails(loopback, tmp_path)
    assert not (tmp_path / "verdicts" / "batch.parquet").exists()


def test_a_tokenizer_that_holds_whole_numbers_is_not(tmp_path):
    loopback = Loopback(good=digits("0", "1", "2", "3", "4", "5", "10"))
    assert loopback.judge(tmp_path).height == 30


def test_a_refusal_shows_nothing_of_what_an_endpoint_can_do(tmp_path):
    """The check goes on to a request that is answered: this endpoint gives no logprobs."""
    loopback = Loopback(lambda number: content_filter if number <= 3 else no_logprobs)
    assert "it gives no top logprobs" in fails(loopback, tmp_path)
    assert len(loopback.bodies) == 3 + 3 * 2


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
    # 100 + 1 tokens per answer: (100 x 10 + 1 x 100) / 1e6 = 0.0011 USD
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
    settings = {"concurrency": 1, "timeout_s": 300, "max_attempts": 2, "key_env": KEY_ENV}
    app = web.Application()
    app.router.add_post("/v1/chat/completions", loopback.handle)
    with serve(app) as address:
        settings["base_url"] = f"{address}/v1"
        given = arguments(tmp_path, "", {"base": 30}, endpoint=settings, **ONE)
        main(**given)
        verdicts = read_table(given["verdicts"], "verdicts")
        failed = verdicts.filter(pl.col("status") == "api_error")
        assert failed["raw_text"].to_list() == ["HTTP 503"] * 3
        assert failed["score"].null_count() == 3
        assert failed["attempts"].to_list() == [2] * 3
        assert len(read_journal(tmp_path / "journal")) == 27
        asked = len(loopback.bodies)
        main(**given)
    assert len(loopback.bodies) - asked == 3
    assert read_table(given["verdicts"], "verdicts")["status"].to_list() == ["ok"] * 30


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (overloaded, "HTTP 503"),
        (answers(400, "We would rather not"), "HTTP 400: We would rather not"),
        (answers(403, "We would rather not"), "HTTP 403: We would rather not"),
        (answers(402, "Pay"), "no credit left"),
        (answers(401, "Revoked"), "key is not accepted"),
    ],
)
def test_a_second_round_that_fails_brings_the_table_of_the_first_back(tmp_path, fault, words):
    """Snakemake has removed it before the job began."""
    ill = Loopback(lambda number: overloaded if number > 21 else None)
    once = {"concurrency": 1, "max_attempts": 1}
    # Nineteen in a row: one more, and the endpoint would count as dead.
    first = ill.judge(tmp_path, count=40, endpoint_changes=once, min_coverage=0.5)
    assert first.filter(status="api_error").height == 19
    table = tmp_path / "verdicts" / "batch.parquet"
    assert due_round(table, accept_api_errors=False) == 1
    table.unlink()
    again = Loopback(lambda number: fault)
    changes = {"min_coverage": 0.5, "this_round": 1}
    second = again.judge(tmp_path, count=40, endpoint_changes=once, **changes)
    failed = second.filter(status="api_error")
    assert failed.height == 19
    assert words in failed["raw_text"][0]
    assert due_round(table, accept_api_errors=False) == 2
    well = Loopback().judge(tmp_path, count=40, **changes | {"this_round": 2})
    assert well["status"].to_list() == ["ok"] * 40
    assert due_round(table, accept_api_errors=False) == 2


def test_low_coverage_fails_counts_the_reasons_and_leaves_no_table(tmp_path):
    loopback = Loopback(lambda number: answers(422, "Not taken") if number % 2 == 0 else None)
    message = fails(loopback, tmp_path, min_coverage=0.9)
    assert "short, alignment: 50.0% of 30 (15 api_error)" in message
    assert "api_error: 15 x HTTP 422: Not taken" in message
    assert not (tmp_path / "verdicts" / "batch.parquet").exists()
    assert len(read_journal(tmp_path / "journal")) == 15


def test_prompts_too_long_for_the_context_are_named_and_the_others_go_on(tmp_path):
    too_long = answers(400, "This model's maximum context length is 2048 tokens")
    loopback = Loopback(lambda number: too_long if number in (1, 7) else None)
    verdicts = loopback.judge(tmp_path)
    assert Counter(verdicts["status"].to_list()) == {"ok": 28, "truncated": 2}
    assert verdicts.filter(pl.col("status") == "truncated")["attempts"].to_list() == [0, 0]
    # A server with more room may take them: they are not in the journal.
    assert Loopback().judge(tmp_path)["status"].to_list() == ["ok"] * 30


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
    assert "20 consecutive requests failed 6 times each, the last one with HTTP 503" in message
    # 50 answers, 20 requests with 6 attempts, and at most 5 attempts of 15 more under way
    assert len(loopback.bodies) <= 50 + 20 * 6 + 15 * 5
    assert len(read_journal(tmp_path / "journal")) == 50


def test_refusals_for_speed_make_the_run_slower_but_lose_nothing(tmp_path):
    async def once_five_are_under_way(request, forward):
        while max(loopback.most_at_once) < 5:
            await asyncio.sleep(0.01)
        return web.json_response(await forward())

    def plan(number):
        if number % 7 == 0:
            return too_many_with_retry_after
        return once_five_are_under_way if 2 <= number <= 6 else None

    loopback = Loopback(plan, delay=0.02)
    # Where five are never asked at once, requests time out here, and the numbers below say so.
    verdicts = loopback.judge(tmp_path, count=60)
    assert verdicts["status"].to_list() == ["ok"] * 60
    assert max(loopback.most_at_once[:20]) > 4
    assert max(loopback.most_at_once[-10:]) <= 4


def test_an_endpoint_that_wants_an_hour_is_given_one(tmp_path):
    async def an_hour(request, forward):
        return error(429, "Daily limit", None, Retry_After="3600")

    loopback = Loopback(lambda number: an_hour if number > 5 else None)
    message = fails(loopback, tmp_path)
    assert "asks for a pause of 3600 s" in message


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
