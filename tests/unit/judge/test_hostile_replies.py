"""Replies that endpoints and gateways are known to send: each costs one answer at most.

All of them come in one run, each about another answer: none may end it, and none may become a
score.
"""

import copy
import json
import re

import polars as pl
from aiohttp import web

from api.recorded import GOOD, KEY, Loopback
from api.study import KEY_ENV
from em_tiers.journal import read_journal
from em_tiers.tables import read_table

ENTRY = {
    "backend": "openai",
    "method": {"number": "sampled", "choice": "label"},
    "decoding": {"temperature": 0, "max_tokens": 100, "seed": 0, "samples": 1},
}
WELL = 10  # answers about which the endpoint says 85, before all others


def say(content, finish="stop", **changes):
    """A good answer with this content; `changes` of its choice."""
    choice = copy.deepcopy(GOOD["choices"][0]) | {"logprobs": None, "finish_reason": finish}
    choice |= {"message": {"role": "assistant", "content": content}} | changes
    return 200, GOOD | {"choices": [choice]}


def failing(status, message, code=None, **more):
    return status, {"error": {"message": message, "code": code, **more}}


WITHHELD = {
    "Google, safety": say("", "SAFETY"),
    "Google, recitation": say("", "RECITATION"),
    "Google, prompt": (
        200,
        {"choices": [], "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}},
    ),
    "Bedrock, guardrail": say("Sorry, I cannot answer this.", "guardrail_intervened"),
    "Azure, inner error": failing(400, "no", innererror={"code": "ResponsibleAIPolicyViolation"}),
    "OpenAI, cyber": failing(400, "flagged for possible cybersecurity risk", "cyber"),
    "Volcengine": failing(400, "the output text may contain sensitive information.", "Sensitive"),
    "Baidu": (200, {"error_code": 336104, "error_msg": "the content of message is unsafe"}),
    "StepFun": failing(451, "The content you provided or machine outputted is blocked."),
    "SenseNova": failing(400, "input sensitive", 18),
    "Mistral, moderation": (403, {"object": "error", "message": "blocked by moderation"}),
    "NeMo": (400, {"title": "Bad Request", "detail": "Request blocked by NeMo guardrails"}),
    "OpenRouter, in a choice": say(
        "", "error", error={"code": 403, "message": "Input flagged for violence"}
    ),
    "a refusal beside the content": say(
        None, message={"role": "assistant", "content": None, "refusal": "I can't"}
    ),
}
TOO_LONG = {
    "TGI behind SageMaker": (424, {"message": "`inputs` must have less than 4095 tokens"}),
    "Bedrock": (400, {"message": "Malformed input: expected maxLength: 25000, actual: 30000"}),
    "Databricks": (400, {"message": "input_ids length 9000 exceeds 8192"}),
    "LM Studio": (400, {"error": "the model is loaded with context length of only 4096 tokens"}),
    "KoboldCpp": (400, {"detail": {"msg": "Prompt too long for context size"}}),
    "nginx": (413, b"<html><h1>413 Request Entity Too Large</h1></html>"),
}
CUT = {
    "length": say("8", "length"),
    "an unknown end": say("85", "weird"),
    "a number as the end": say("85", 3),
}
NOT_READ = {
    "empty": say(""),
    "null": say(None),
    "no parts": say([]),
    "a call of a tool": say(None, "tool_calls"),
    "half a surrogate": say("85\ud800"),
    "a NUL": say("85\0"),
    "brackets": say("[" * 100_000),
    "5,000 digits": say("9" * 5000),
    "1e400": say("1e400"),
    "NaN": say("NaN"),
    "other digits": say("٨٥"),
    "full width": say("８５"),
    "superscript": say("8⁵"),
    "negative": say("-5"),
    "a share": say("85%"),
    "zero width": say("\u200b85"),
    "byte order mark": say("\ufeff85"),
    "two numbers": say("85 90"),
    "thoughts": say("<think>hm</think>85"),
    "marks of a template": say("<|channel|>final<|message|>85"),
}
PASSING = {
    "a number": say(85),
    "an object": say({"text": "85"}),
    "an image": say([{"type": "image", "image": "x"}, {"type": "text", "text": "85"}]),
    "no message": say(None, message=None),
    "a list as choice": (200, GOOD | {"choices": [[1]]}),
    "a list": (200, [1, 2]),
    "a text": (200, "85"),
    "HTML": (200, b"<html>maintenance</html>"),
    "a stream": (200, b'data: {"choices":[]}\n\ndata: [DONE]\n\n'),
    "nothing": (200, b""),
    "cut JSON": (200, json.dumps(say("85")[1]).encode()[:-20]),
    "not UTF-8": (200, b'{"choices":[{"message":{"content":"caf\xe9"}}]}'),
    "100,000 objects": (200, b'{"a":' * 100_000),
    "an error as text": (200, {"error": "model overloaded"}),
    "a code beyond any": (200, {"error": {"code": 10**400, "message": "no"}}),
    "a code that is true": (200, {"error": {"code": True, "message": "no"}}),
    "another model": (200, say("85")[1] | {"model": "other"}),
    "no model": (200, say("85")[1] | {"model": None}),
    "OpenRouter, a provider fails": say("", "error", error={"code": 502, "message": "lost"}),
    "AWS, too fast": (400, {"message": "ThrottlingException: Too many requests"}),
    "teapot": (418, {}),
    "400 without words": (400, b""),
    "400 with 50,000 objects": (400, b'{"error":' * 50_000),
    "400 of 5 MB": (400, b'{"error":{"message":"' + b"a" * 5_000_000 + b'"}}'),
    "503 of 5 MB": (503, b"<html>" + b"a" * 5_000_000),
    "a redirect": (302, b""),
    "the key": failing(500, f"key {KEY}"),
}
SCORED = {
    "a reference beside the text": say(
        [{"type": "text", "text": "85"}, {"type": "reference", "reference_ids": [1]}]
    ),
    "output_text": say([{"type": "output_text", "text": "85"}]),
    "counts that are none": (200, say("85")[1] | {"usage": {"prompt_tokens": -5}}),
    "counts as text": (200, say("85")[1] | {"usage": {"prompt_tokens": "100"}}),
    "an empty error": (200, say("85")[1] | {"error": {}}),
    "an empty refusal": say("85", message={"role": "a", "content": "85", "refusal": ""}),
}
STATUSES = [
    (WITHHELD, "judge_refusal"),
    (TOO_LONG, "truncated"),
    (CUT, "truncated"),
    (NOT_READ, "unparsable"),
    (PASSING, "api_error"),
    (SCORED, "ok"),
]
REPLIES = [(name, reply, status) for replies, status in STATUSES for name, reply in replies.items()]


def number_of(text):
    return int(re.search(r"\(base, (\d+)\)", text)[1])


class Hostile(Loopback):
    async def handle(self, request):
        body = await request.json()
        self.bodies.append(body)
        number = number_of(json.dumps(body)) - WELL
        status, reply = say("85") if number < 0 else REPLIES[number][1]
        data = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
        return web.Response(status=status, body=data, content_type="application/json")


def test_no_reply_ends_a_run_or_becomes_a_score_it_is_not(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("em_tiers.api.sending.FIRST_WAIT_S", 0.01)
    monkeypatch.setattr("em_tiers.api.sending.FAILED_IN_A_ROW", len(REPLIES))
    monkeypatch.setenv(KEY_ENV, KEY)
    count, once = WELL + len(REPLIES), {"max_attempts": 2, "concurrency": 8}
    Hostile().judge(tmp_path, count=WELL, judge=ENTRY)  # it can judge
    verdicts = Hostile().judge(tmp_path, count=count, judge=ENTRY, endpoint_changes=once)
    answers = read_table(tmp_path / "responses" / "base.parquet", "responses")
    found = verdicts.join(answers.select("response_key", "response"), on="response_key")
    rows = {number_of(row["response"]): row for row in found.iter_rows(named=True)}
    got = {name: rows[n]["status"] for n, (name, _, _) in enumerate(REPLIES, WELL)}
    assert got == {name: status for name, _, status in REPLIES}
    assert set(found["score"].drop_nulls()) == {85.0}
    assert found.filter(pl.col("score").is_not_null()).height == len(SCORED) + WELL
    # What may pass is asked again, all else is known for good; the key is in no file.
    assert len(read_journal(tmp_path / "journal")) == count - len(PASSING) - len(TOO_LONG)
    again = Hostile()
    again.judge(tmp_path, count=count, judge=ENTRY, endpoint_changes=once)
    asked = {number_of(json.dumps(body)) for body in again.bodies}
    assert asked == {n for n, r in enumerate(REPLIES, WELL) if r[0] in {*PASSING, *TOO_LONG}}
    assert KEY not in caplog.text
    assert not any(KEY.encode() in p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
