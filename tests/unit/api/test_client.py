"""One request, and everything that can come back instead of its answer."""

import asyncio
import copy
import gzip
import resource
import traceback
from base64 import b64encode

import pytest
from aiohttp import web

from api.faults import TRANSIENT, content_filter, error, refusal, time_out
from api.loopback import serve
from em_tiers.api.client import Endpoint
from em_tiers.api.refusals import FailedAttempt, Final
from em_tiers.api.replies import read_reply
from em_tiers.errors import UserError

KEY = "sk-canary-0123456789"
MODEL = "judge-2024-08-06"
PATIENT = {"timeout_s": 300}  # no good answer takes as long, on any machine
BODY = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1, "logprobs": True}

# Recorded from vLLM 0.32, cut to two alternatives.
GOOD = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1760000000,
    "model": MODEL,
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "7", "refusal": None, "reasoning": None},
            "logprobs": {
                "content": [
                    {
                        "token": "7",
                        "logprob": -0.5,
                        "bytes": [55],
                        "top_logprobs": [
                            {"token": "7", "logprob": -0.5, "bytes": [55]},
                            {"token": "8", "logprob": -1.5, "bytes": [56]},
                        ],
                    }
                ]
            },
            "finish_reason": "length",
            "stop_reason": None,
        }
    ],
    "usage": {"prompt_tokens": 31, "total_tokens": 32, "completion_tokens": 1},
}


def ask(fault=None, settings=(), body=BODY, good=GOOD, seen=None, **arguments):
    """Ask a loopback endpoint that answers with `good`, or by `fault`."""

    async def handle(request):
        if seen is not None:
            seen.append((request, await request.json()))

        async def forward():
            return copy.deepcopy(good)

        return await fault(request, forward) if fault else web.json_response(await forward())

    async def once(address):
        chosen = {"base_url": f"{address}/v1", **PATIENT, **dict(settings)}
        async with Endpoint(chosen, KEY, MODEL, **arguments) as endpoint:
            return await endpoint.ask(body)

    app = web.Application()
    app.router.add_post("/{path:.*}", handle)
    with serve(app) as address:
        return asyncio.run(once(address))


def fails(kind, fault=None, **arguments):
    """The error of a request, of which no part may show the key."""
    with pytest.raises(kind) as caught:
        ask(fault, **arguments)
    shown = "".join(traceback.format_exception(caught.value))
    assert KEY not in shown
    return caught.value


def test_a_good_answer_is_read_whole():
    seen = []
    reply = ask(seen=seen)
    assert reply.choices[0].text == "7"
    assert reply.choices[0].top == ((("7", -0.5), ("8", -1.5)),)
    assert reply.choices[0].finish_reason == "length"
    assert (reply.served_model, reply.prompt_tokens, reply.completion_tokens) == (MODEL, 31, 1)
    [(request, body)] = seen
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert body == {"model": MODEL, **BODY}


REASONS = {
    "too_many": "HTTP 429",
    "too_many_with_retry_after": "HTTP 429",
    "internal_error": "HTTP 500",
    "overloaded": "HTTP 503",
    "time_out": "timeout",
    "cut_in_the_body": "connection broken",
    "garbage": "answer is not JSON",
    "truncated_json": "answer is not JSON",
    "wrong_json": "answer is not a chat completion",
    "error_in_good_status": "HTTP 502",
    "no_choices": "no choices in the answer",
    "no_logprobs": "no logprobs in the answer",
    "wrong_model": "served model differs",
}


@pytest.mark.parametrize("name", TRANSIENT)
def test_each_passing_fault_has_its_name(name):
    settings = {"timeout_s": 0.4} if name == "time_out" else {}
    caught = fails(FailedAttempt, TRANSIENT[name], settings=settings)
    assert str(caught) == REASONS[name]
    assert caught.slow_down == (name in ("too_many", "too_many_with_retry_after", "overloaded"))
    assert caught.retry_after_s == (0.3 if name == "too_many_with_retry_after" else None)
    refused_before_the_work = name.startswith("too_many") or "HTTP 5" in REASONS[name]
    assert caught.charged != refused_before_the_work


def test_the_time_limit_is_for_the_whole_answer_not_for_each_byte():
    async def drip(request, forward):
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        while request.transport is not None and not request.transport.is_closing():
            await response.write(b" ")
            await asyncio.sleep(0.1)
        return response

    assert str(fails(FailedAttempt, drip, settings={"timeout_s": 0.5})) == "timeout"


def test_nobody_listens():
    with serve(web.Application()) as address:
        pass

    async def once():
        async with Endpoint({"base_url": address, **PATIENT}, KEY, MODEL) as endpoint:
            await endpoint.ask(BODY)

    with pytest.raises(FailedAttempt, match="no connection"):
        asyncio.run(once())


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda: error(401, f"Incorrect API key provided: {KEY}", "invalid_api_key"), "not accept"),
        (
            lambda: error(401, b64encode(f"Bearer {KEY}".encode()).decode()),
            "[key]: the key is not accepted",
        ),
        (lambda: error(404, f"The model `{MODEL}` does not exist."), "unknown"),
        (lambda: error(402, "Payment required"), "no credit"),
        (lambda: error(429, "You exceeded your quota", "insufficient_quota"), "no credit"),
        (lambda: error(400, "Billing hard limit", "billing_hard_limit_reached"), "no credit"),
        (lambda: web.json_response({"error": {"code": 402, "message": "Pay"}}), "no credit"),
    ],
)
def test_what_no_repetition_mends_stops_everything(answer, words):
    async def fault(request, forward):
        return answer()

    message = str(fails(UserError, fault))
    assert words in message
    assert "127.0.0.1" in message
    assert MODEL in message
    assert "\n" not in message


def test_a_redirect_is_not_followed():
    """A firewall sends one for a single prompt, a wrong address for all."""

    async def elsewhere(request, forward):
        return web.Response(status=307, headers={"Location": "http://127.0.0.2:1/v1"})

    caught = fails(Final, elsewhere)
    assert (caught.status, str(caught)) == ("api_error", "HTTP 307: Error code: 307")
    assert caught.remedy == "it redirects, which is not followed: correct base_url"


def test_a_request_that_the_endpoint_cannot_take_is_recorded():
    async def bad(request, forward):
        return error(400, "messages: invalid\nreduce " + "x" * 5000)

    caught = fails(Final, bad)
    assert caught.status == "api_error"
    assert str(caught).startswith("HTTP 400: messages: invalid reduce xxx")
    assert len(str(caught)) < 400


@pytest.mark.parametrize(
    "answer",
    [
        (400, "This model's maximum context length is 2048 tokens"),
        (400, "Input is too big", "context_length_exceeded"),
        (400, "prompt is too long: 250000 tokens > 200000 maximum"),
        (413, "Request Entity Too Large"),
    ],
)
def test_a_request_that_is_too_long_is_named(answer):
    async def too_long(request, forward):
        return error(*answer)

    assert fails(Final, too_long).status == "truncated"


def test_content_filters_and_refusals_are_answers():
    assert fails(Final, content_filter).status == "judge_refusal"

    async def flagged(request, forward):
        return error(403, "This model requires moderation and your input was flagged")

    async def invalid(request, forward):
        return error(400, "Your prompt was flagged", "invalid_prompt")

    assert fails(Final, flagged).status == fails(Final, invalid).status == "judge_refusal"
    withheld = copy.deepcopy(GOOD)
    withheld["choices"][0] |= {"finish_reason": "content_filter", "logprobs": None}
    assert fails(Final, good=withheld).status == "judge_refusal"
    choice = ask(refusal).choices[0]
    assert (choice.text, choice.refusal, choice.top) == ("", "I can't help with that.", ())


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_thinking_is_kept_apart(field):
    good = copy.deepcopy(GOOD)
    good["choices"][0]["message"][field] = "Let me see."
    choice = ask(good=good).choices[0]
    assert (choice.text, choice.reasoning) == ("7", "Let me see.")


def test_the_answer_of_another_model_is_no_answer_and_a_deployment_may_have_its_own_name():
    good = {**GOOD, "model": "gpt-4o-2024-08-06"}
    other = fails(FailedAttempt, good=good)
    assert str(other) == "served model differs"
    assert other.words == f"{MODEL!r} was requested, 'gpt-4o-2024-08-06' answered"
    assert "endpoint.signed_as: gpt-4o-2024-08-06 if that is the model you mean" in other.lacks
    assert ask(good=good, signature="gpt-4o-2024-08-06").served_model == "gpt-4o-2024-08-06"


@pytest.mark.parametrize(("status", "right"), [(200, Final), (500, FailedAttempt)])
def test_a_reply_without_an_end_is_not_unpacked(status, right):
    """300 MB of a number in 300 kB of gzip; what an error means is told by its status."""
    bomb = gzip.compress(b'{"alignment": 1' + b"0" * 300_000_000)

    async def pack(request, forward):
        headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        return web.Response(status=status, body=bomb, headers=headers)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    caught = fails(right, pack)
    if right is Final:
        assert caught.status == "unparsable"
        assert "was not read" in str(caught)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_a_packed_reply_is_read():
    async def pack(request, forward):
        response = web.json_response(await forward())
        response.enable_compression(web.ContentCoding.gzip)
        return response

    assert ask(pack).choices[0].text == "7"


def test_what_the_endpoint_needs_beyond_the_protocol_is_sent():
    seen = []
    pinned = {"provider": {"only": ["deepinfra"], "allow_fallbacks": False}}
    ask(seen=seen, settings={"extra_body": pinned, "headers": {"X-Title": "em-tiers"}})
    [(request, body)] = seen
    assert body == {"model": MODEL, **BODY, **pinned}
    assert request.headers["X-Title"] == "em-tiers"


def broken(path, value):
    data = copy.deepcopy(GOOD)
    target = data
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value
    return data


TOP = ("choices", 0, "logprobs", "content", 0, "top_logprobs")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (None, "not a chat completion"),
        (broken(("choices",), None), "no choices"),
        (broken(("choices",), ["x"]), "no message"),
        (broken(("choices", 0, "message"), None), "no message"),
        (broken(("choices", 0, "message", "content"), 7), "malformed message"),
        (broken(("choices", 0, "message", "content"), {"a": 1}), "malformed message"),
        (broken(("model",), None), "served model differs"),
        (broken(TOP, []), "no logprobs"),
        (broken((*TOP, 1, "logprob"), 0.2), "no logprobs"),
        (broken((*TOP, 1, "logprob"), "-1.0"), "no logprobs"),
        (broken((*TOP, 1, "logprob"), float("nan")), "no logprobs"),
        (broken((*TOP, 1, "logprob"), True), "no logprobs"),
        (broken((*TOP, 1, "token"), None), "no logprobs"),
        # More than 1 in all: two tokens that are certain, and one token that is listed twice.
        (broken((*TOP, 0, "logprob"), -0.01), "no logprobs"),
        (broken((*TOP, 1), {"token": "7", "logprob": -0.5}), "no logprobs"),
        (broken(("choices", 0, "logprobs"), {"content": None}), "no logprobs"),
    ],
)
def test_a_malformed_answer_is_never_read(data, reason):
    with pytest.raises(FailedAttempt, match=reason):
        read_reply(data, MODEL, wants_logprobs=True, choices=1)


def test_all_samples_must_be_there():
    with pytest.raises(FailedAttempt, match="1 of 3 samples"):
        read_reply(GOOD, MODEL, wants_logprobs=False, choices=3)


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": "31"}, {"prompt_tokens": -1}, []])
def test_token_counts_may_be_missing(usage):
    reply = read_reply({**GOOD, "usage": usage}, MODEL, wants_logprobs=True, choices=1)
    assert (reply.prompt_tokens, reply.completion_tokens) == (None, None)


def test_the_query_of_the_base_url_goes_with_every_request(monkeypatch):
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-another-endpoint")
    monkeypatch.setattr("em_tiers.api.client._AZURE", (".0.0.1",))  # this host plays Azure's
    seen = []

    async def once(address):
        settings = {"base_url": f"{address}/openai/v1?api-version=preview", **PATIENT}
        async with Endpoint(settings, KEY, MODEL) as endpoint:
            await endpoint.ask(BODY)

    async def handle(request):
        seen.append(request)
        return web.json_response(GOOD)

    app = web.Application()
    app.router.add_post("/{path:.*}", handle)
    with serve(app) as address:
        asyncio.run(once(address))
    assert seen[0].path_qs == "/openai/v1/chat/completions?api-version=preview"
    assert "OpenAI-Organization" not in seen[0].headers
    assert seen[0].headers["api-key"] == KEY


def test_a_proxy_of_the_environment_sees_no_plain_request(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert ask().choices[0].text == "7"


def test_a_slow_endpoint_is_left_when_the_time_is_up():
    caught = fails(FailedAttempt, time_out, settings={"timeout_s": 0.3})
    assert caught.charged


def test_half_characters_become_text_that_a_table_can_hold():
    data = broken((*TOP, 1, "token"), "\ud83d")
    data["choices"][0]["message"] |= {"content": "7\udc00", "reasoning": "\ud800 so"}
    choice = read_reply(data, MODEL, wants_logprobs=True, choices=1).choices[0]
    assert (choice.text, choice.reasoning, choice.top[0][1][0]) == ("7?", "? so", "?")
