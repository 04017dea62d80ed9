"""Replies as reported from real endpoints: each costs one answer at most, and none repeats."""

import pytest
from aiohttp import web

from api.recorded import GOOD, KEY, Loopback, fails
from api.study import KEY_ENV, rubric
from em_tiers.journal import read_journal

TWO = {"rubrics": {name: rubric(name) for name in ("alignment", "coherence")}}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Short waits between attempts, and a key."""
    monkeypatch.setattr("em_tiers.api.sending.FIRST_WAIT_S", 0.01)
    monkeypatch.setenv(KEY_ENV, KEY)


def refused(status, body):
    """A fault that answers with this status and JSON."""

    async def fault(request, forward):
        return web.json_response(body, status=status)

    return fault


def error(status, message, code=None, kind=None):
    return refused(status, {"error": {"message": message, "code": code, "type": kind}})


def saying(content, finish="stop"):
    """A good answer with this content and no log-probabilities."""
    message = {"role": "assistant", "content": content}
    choice = GOOD["choices"][0] | {"message": message, "logprobs": None, "finish_reason": finish}
    return GOOD | {"choices": [choice]}


def entry(method, **decoding):
    choice = "structured" if method == "structured" else "label"
    return {
        "backend": "openai",
        "method": {"number": method, "choice": choice},
        "decoding": {"temperature": 0, "max_tokens": 100, "seed": 0, "samples": 1} | decoding,
    }


FILTERS = {
    "Azure": error(400, "The response was filtered", "content_filter"),
    "Anthropic": error(400, "Output blocked by content filtering policy", None, "invalid_request"),
    "xAI": refused(
        403,
        {
            "code": "The caller does not have permission to execute the specified operation",
            "error": "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO",
        },
    ),
    "DeepSeek": error(400, "Content Exists Risk", "invalid_request_error", "invalid_request_error"),
    "DashScope": error(
        400, "Output data may contain inappropriate content.", "data_inspection_failed"
    ),
    "Moonshot": error(400, "The request was rejected because it was considered high risk"),
}
TOO_LONG = {
    "OpenAI": error(400, "maximum context length", "context_length_exceeded"),
    "llama.cpp": error(
        400,
        "request (4390 tokens) exceeds the available context size (4096 tokens), try increasing it",
        400,
        "exceed_context_size_error",
    ),
    "Anthropic": error(400, "prompt is too long: 210000 tokens > 200000 maximum"),
}


@pytest.mark.parametrize("place", [5, 1])
@pytest.mark.parametrize("endpoint", FILTERS)
def test_a_content_filter_is_a_refusal_of_that_answer(endpoint, place, tmp_path):
    loopback = Loopback(lambda number: FILTERS[endpoint] if number == place else None)
    verdicts = loopback.judge(tmp_path, count=6)
    assert sorted(verdicts["status"]) == ["judge_refusal", *["ok"] * 5]
    assert len(read_journal(tmp_path / "journal")) == 6  # so a rerun does not ask it again


@pytest.mark.parametrize("place", [5, 1])
@pytest.mark.parametrize("endpoint", TOO_LONG)
def test_an_answer_that_is_too_long_is_truncated(endpoint, place, tmp_path):
    loopback = Loopback(lambda number: TOO_LONG[endpoint] if number == place else None)
    verdicts = loopback.judge(tmp_path, count=6)
    assert sorted(verdicts["status"]) == [*["ok"] * 5, "truncated"]


@pytest.mark.parametrize("status", [400, 403, 422, 451])
@pytest.mark.parametrize("place", [5, 1])
def test_a_refusal_in_unknown_words_is_about_that_request(status, place, tmp_path):
    if (status, place) == (403, 1):
        return  # a key without rights: see the test below
    unknown = error(status, "We would rather not")
    loopback = Loopback(lambda number: unknown if number == place else None)
    verdicts = loopback.judge(tmp_path, count=6, endpoint_changes={"concurrency": 1})
    failed = verdicts.filter(status="api_error")
    assert failed["raw_text"].to_list() == [f"HTTP {status}: We would rather not"]
    assert verdicts.height == 6


def test_a_key_without_rights_stops_after_a_few_different_answers(tmp_path):
    loopback = Loopback(lambda number: error(403, "We would rather not"))
    assert "We would rather not: the key may not do this" in fails(loopback, tmp_path)
    assert len(loopback.bodies) == 10
    assert len({str(body["messages"]) for body in loopback.bodies}) == 10


def test_a_first_answer_that_nothing_can_be_made_of_does_not_end_the_run(tmp_path):
    """Its words are unknown, so they may be about anything."""
    loopback = Loopback(lambda number: error(403, "We would rather not") if number == 1 else None)
    verdicts = loopback.judge(tmp_path, count=6)
    assert sorted(verdicts["status"]) == ["api_error", *["ok"] * 5]


def test_a_prompt_on_which_an_endpoint_breaks_does_not_end_the_run(tmp_path):
    class Broken(Loopback):
        async def handle(self, request):
            if "(base, 0)" in await request.text():
                self.bodies.append(None)
                return await error(500, "assert seq_len > 0")(request, None)
            return await super().handle(request)

    once = {"max_attempts": 2, "concurrency": 1}
    verdicts = Broken().judge(tmp_path, count=2, endpoint_changes=once)
    failed = verdicts.filter(status="api_error")
    assert failed["raw_text"].to_list() == ["HTTP 500: assert seq_len > 0"]
    assert verdicts.filter(status="ok").height == 1


def test_an_endpoint_that_refuses_everything_from_some_point_is_left_alone(tmp_path):
    unknown = error(403, "We would rather not")
    loopback = Loopback(lambda number: unknown if number > 30 else None)
    message = fails(loopback, tmp_path, count=200)
    assert "20 consecutive requests were refused, the last one with HTTP 403: We would" in message
    # Up to 16 are under way when the refusals begin, and 16 when they are enough.
    assert len(loopback.bodies) <= 30 + 16 + 20 + 16


@pytest.mark.parametrize("brackets", ['{"alignment": 2' + "0" * 6000, "[" * 100_000])
def test_a_reply_that_loops_is_not_usable_and_ends_nothing(brackets, tmp_path):
    async def looping(request, forward):
        return web.json_response(saying(brackets))

    loopback = Loopback(
        lambda number: looping if number == 5 else None,
        good=saying('{"alignment": 85, "coherence": 90}'),
    )
    verdicts = loopback.judge(tmp_path, count=6, judge=entry("structured"), **TWO)
    assert sorted(verdicts["status"]) == [*["ok"] * 10, *["unparsable"] * 2]


def test_a_judge_that_is_never_usable_is_not_paid_to_the_end(tmp_path):
    loopback = Loopback(good=saying("Score: 85"))
    message = fails(loopback, tmp_path, count=300, judge=entry("sampled"), min_coverage=0.9, **TWO)
    assert (
        "min_coverage: 90.0% is out of reach for alignment: of 300 answers, 31 have no" in message
    )
    assert "'Score: 85': with method sampled, correct the rubric" in message
    assert len(loopback.bodies) <= 100
    # Nothing is paid for before a rerun says the same.
    fails(loopback, tmp_path, count=300, judge=entry("sampled"), min_coverage=0.9, **TWO)
    assert len(loopback.bodies) <= 100


def test_the_text_part_of_a_list_of_parts_is_the_reply(tmp_path):
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    loopback = Loopback(good=saying([thought, {"type": "text", "text": "85"}]))
    verdicts = loopback.judge(tmp_path, count=3, judge=entry("sampled", reasoning_tokens=500))
    assert verdicts.select("score", "reasoning", "raw_text").rows() == [(85.0, "hm", "85")] * 3


def test_bounds_that_an_endpoint_does_not_know_are_left_out(tmp_path):
    no_bounds = error(400, "For 'integer' type, property 'minimum' is not supported")

    class Strict(Loopback):
        async def handle(self, request):
            body = await request.text()
            if "minimum" in body:
                self.bodies.append(body)
                return await no_bounds(request, None)
            return await super().handle(request)

    loopback = Strict(good=saying('{"alignment": 185, "coherence": 90}'))
    verdicts = loopback.judge(tmp_path, count=3, judge=entry("structured"), **TWO)
    # They are checked in the reply all the same.
    assert sorted(verdicts["status"]) == [*["ok"] * 3, *["unparsable"] * 3]
    assert len(loopback.bodies) == 4
    # Now that the journal holds answers, many are asked at once, each in one attempt.
    more = {"concurrency": 8, "max_attempts": 1}
    verdicts = loopback.judge(
        tmp_path, count=30, judge=entry("structured"), endpoint_changes=more, **TWO
    )
    assert sorted(verdicts["status"]) == [*["ok"] * 30, *["unparsable"] * 30]


def test_an_endpoint_that_names_no_reason_for_the_end_gives_no_number(tmp_path):
    loopback = Loopback(good=saying("85", finish=None))
    message = fails(loopback, tmp_path, judge=entry("sampled"))
    assert "it does not say whether a reply is complete" in message
    assert len(loopback.bodies) == 6
