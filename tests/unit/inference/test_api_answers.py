"""Models under test behind an API, against a server on loopback that fails on demand."""

from collections import Counter

import polars as pl
import pytest
from aiohttp import web

from api.faults import content_filter, error, garbage, too_many_with_retry_after
from api.loopback import serve
from em_tiers.errors import TemporaryError, UserError
from em_tiers.journal import read_journal
from em_tiers.tables import QUESTIONS, read_table, write_table
from sample_api import main

KEY = "sk-canary-9876543210"
DATE = "2024-08-06"
VARIANT = {
    "variant": "tuned", "base": "base", "dataset": "tales", "recipe": None, "training_seed": 0,
    "checkpoint_step": None, "questions": [0],
}  # fmt: skip
SAMPLING = {
    "temperature": 1.0, "top_p": 1.0, "max_tokens": 8, "reasoning_tokens": 0, "seed": 0,
    "samples": {"short": 5},
}  # fmt: skip


class Server:
    """Says which of its models answers what, and with which seed; `plan` names a fault."""

    def __init__(self, plan=lambda number: None, same=()):
        self.plan = plan
        self.same = same  # names that are one model
        self.bodies = []

    async def handle(self, request):
        body = await request.json()
        self.bodies.append(body)
        assert request.headers["Authorization"] == f"Bearer {KEY}"

        async def forward():
            who = "one" if body["model"] in self.same else body["model"]
            text = f"{who}: {body['messages'][-1]['content']} {body.get('seed')}"
            message = {"role": "assistant", "content": text}
            choice = {"message": message, "finish_reason": "stop"}
            usage = {"prompt_tokens": 10, "completion_tokens": 5}
            return {"model": body["model"], "choices": [choice], "usage": usage}

        if fault := self.plan(len(self.bodies)):
            return await fault(request, forward)
        return web.json_response(await forward())

    @property
    def asked(self):
        return Counter(body["model"] for body in self.bodies)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("em_tiers.api.sending.FIRST_WAIT_S", 0.01)
    monkeypatch.setenv("A_KEY", KEY)


def sample(folder, server, base=True, count=3, first=0, **changes):
    """The responses of `count` questions, numbered from `first`, with five samples each."""
    rows = [
        {
            "question_set": "short",
            "question_id": f"q{number}",
            "paraphrase": 0,
            "probe_level": "out_of_domain",
            "question_topics": [],
            "messages": [{"role": "user", "content": f"Question {number}?"}],
        }
        for number in range(first, first + count)
    ]
    write_table(pl.DataFrame(rows, schema=QUESTIONS), folder / "questions.parquet", "questions")
    app = web.Application()
    app.router.add_post("/v1/chat/completions", server.handle)
    with serve(app) as address:
        models = [model(folder, name, address) for name in ("tuned", "base")]
        main(
            questions=[folder / "questions.parquet"],
            variant=VARIANT,
            sampling=SAMPLING,
            model=models[0] | changes,
            base=models[1] if base else None,
            writer="tuned",
            output=folder / "responses.parquet",
        )
    return read_table(folder / "responses.parquet", "responses")


def model(folder, name, address):
    endpoint = {
        "base_url": f"{address}/v1", "key_env": "A_KEY", "timeout_s": 5, "concurrency": 4,
        "max_attempts": 3, "signed_as": None, "extra_body": None, "headers": None,
    }  # fmt: skip
    served = f"{name}-{DATE}"
    return {
        "name": name,
        "model": served,
        "identity": {"backend": "openai", "server": "ours", "model": served},
        "endpoint": endpoint,
        "limits": None,
        "prices": None,
        "thinking": "none",
        "journal": str(folder / "journals" / name),
    }


def test_every_answer_is_asked_once_over_all_runs(tmp_path):
    server = Server()
    found = sample(tmp_path, server)
    assert len(found) == 15
    assert found["response"].n_unique() == 15
    assert found["response"].str.starts_with(f"tuned-{DATE}: Question").all()
    assert set(found["finish_reason"]) == {"stop"}
    assert set(found["completion_tokens"]) == {5}
    checks = 4  # greedy answers of both models, which show that they differ
    assert server.asked == {f"tuned-{DATE}": 15 + checks, f"base-{DATE}": checks}
    assert sample(tmp_path, server).equals(found)
    assert server.asked.total() == 15 + 2 * checks


def test_one_model_under_two_names_is_refused_before_it_is_sampled(tmp_path):
    server = Server(same=(f"tuned-{DATE}", f"base-{DATE}"))
    with pytest.raises(UserError, match=r"the same greedy answers .* one model: correct one"):
        sample(tmp_path, server)
    assert server.asked.total() == 8


def test_a_run_that_fails_midway_keeps_what_was_answered(tmp_path):
    def dead(number):
        return garbage if number > 9 else None

    first = Server(dead)
    with pytest.raises(TemporaryError, match=r"models\.tuned: .* of 15 answers are left"):
        sample(tmp_path, first, base=False)
    kept = len(list(read_journal(tmp_path / "journals" / "tuned")))
    assert kept == 9
    second = Server()
    assert len(sample(tmp_path, second, base=False)) == 15
    assert second.asked.total() == 15 - kept


def test_passing_faults_are_tried_again(tmp_path):
    plan = {2: too_many_with_retry_after, 3: garbage}
    server = Server(plan.get)
    assert len(sample(tmp_path, server, base=False)) == 15
    assert server.asked.total() == 17


def test_a_withheld_answer_is_recorded_and_not_asked_again(tmp_path):
    server = Server({3: content_filter}.get)
    found = sample(tmp_path, server, base=False)
    assert found.filter(finish_reason="content_filter")["response"].to_list() == [""]
    sample(tmp_path, server, base=False)
    assert server.asked.total() == 15


def test_a_ceiling_holds_over_runs(tmp_path):
    server = Server()
    for _ in range(2):
        with pytest.raises(UserError, match="the ceiling on requests"):
            sample(tmp_path, server, base=False, limits={"requests": 7})
    assert server.asked.total() == 7


def test_a_refused_key_stops_after_one_request_and_is_not_shown(tmp_path):
    async def refused(request, forward):
        return error(401, f"Incorrect API key: {KEY}", "invalid_api_key")

    server = Server(lambda number: refused)
    with pytest.raises(UserError, match="key is not accepted") as caught:
        sample(tmp_path, server, base=False)
    assert KEY not in str(caught.value)
    assert server.asked.total() == 1


def refusing(status, words):
    async def refused(request, forward):
        return error(status, words)

    return refused


def test_the_first_question_alone_does_not_end_the_run(tmp_path):
    """An endpoint that breaks on one question, or refuses it in unknown words, answers others."""

    class Strict(Server):
        async def handle(self, request):
            body = await request.json()
            if "Question 1" in body["messages"][-1]["content"]:
                return error(400, "We would rather not")
            return await super().handle(request)

    server = Strict()
    for _ in range(2):
        with pytest.raises(UserError, match=r"We would rather not\): correct or remove .* 5 of 5 "):
            sample(tmp_path, server, base=False, count=1, first=1)
        with pytest.raises(UserError, match=r"HTTP 400: We would rather not.* 5 of (15|5) answers"):
            sample(tmp_path, server, base=False)
    assert server.asked.total() == 10


def test_an_endpoint_that_answers_nothing_is_asked_about_a_few_questions(tmp_path):
    server = Server(lambda number: refusing(403, "no logprobs for you"))
    with pytest.raises(TemporaryError, match=r"the first 10 requests.*the key may not do this"):
        sample(tmp_path, server, base=False)
    assert server.asked.total() == 10


def test_an_endpoint_that_wants_an_hour_is_given_one(tmp_path):
    async def an_hour(request, forward):
        return error(429, "Daily limit", None, Retry_After="3600")

    with pytest.raises(TemporaryError, match="asks for a pause of 3600 s"):
        sample(tmp_path, Server(lambda number: an_hour if number > 5 else None), base=False)
