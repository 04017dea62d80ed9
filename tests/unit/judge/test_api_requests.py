"""The requests of each scoring method, and how it reads the replies."""

import copy

import polars as pl
import pytest
from aiohttp import web

from api.loopback import serve
from api.recorded import GOOD, KEY, ONE, Loopback, fails
from api.study import KEY_ENV, arguments, rubric
from em_tiers.judge.api_requests import priced_request
from em_tiers.judge.requests import plan_requests
from em_tiers.judge.settings import load_judge
from em_tiers.tables import read_table, scan_table
from judge_api import main


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Short waits between attempts, and a key."""
    monkeypatch.setattr("em_tiers.api.sending.FIRST_WAIT_S", 0.01)
    monkeypatch.setenv(KEY_ENV, KEY)


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
    assert len(loopback.bodies) == 3 * 2


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
        ("I would say 70.", "stop", "it ignores response_format"),
        ('{"alignment": 1', "length", "does not fit in decoding.max_tokens"),
    ],
)
def test_a_structured_judge_that_cannot_is_found_at_once(tmp_path, text, finish, words):
    loopback = Loopback(good=with_answers(text, finish=finish))
    message = fails(loopback, tmp_path, judge=judge_entry("structured", max_tokens=60), **THREE)
    assert words in message
    assert len(loopback.bodies) == 3


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
        (judge_entry("top_logprobs", reasoning_tokens=50), "reads the first token"),
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
    tiers = read_table(given["verdicts"], "verdicts").filter(pl.col("rubric") == "tier")
    assert tiers["variant"].to_list() == ["base.ship"] * 4
    assert tiers["label"].to_list() == ["in_distribution"] * 4
    # 0.5 + 0.2 for A against 0.2 for B
    shares = {p["label"]: p["probability"] for p in tiers["probabilities"][0]}
    assert shares["in_distribution"] == pytest.approx(7 / 9)
    assert len(loopback.bodies) == 12


def test_what_a_request_is_planned_to_take(tmp_path):
    entry = judge_entry("sampled", samples=3, temperature=1.0, max_tokens=4, reasoning_tokens=10)
    given = arguments(tmp_path, "", {"base": 1}, judge=entry, **ONE)
    judge = load_judge(given["judge"], given["model_identity"], given["rubrics"])
    [request] = plan_requests(scan_table(given["responses"], "responses"), judge, {})
    planned = priced_request(judge, request)
    assert planned.characters == sum(len(message["content"]) for message in request.messages)
    # 3 samples of at most 4 tokens after at most 10 tokens of thinking
    assert (planned.key, planned.completion_tokens, planned.what) == (request.key, 42, "alignment")
