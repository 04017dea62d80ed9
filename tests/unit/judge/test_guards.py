"""Every guard of a scoring method holds in both back-ends: back-end x method x setting."""

import json
from pathlib import Path

import pytest

from api.study import rubric
from em_tiers.api.replies import Choice, Reply
from em_tiers.errors import ConfigError, UserError
from em_tiers.inference.chat import load_tokenizer
from em_tiers.inference.engine import EngineAnswer
from em_tiers.judge.api_requests import reply_record
from em_tiers.judge.local import LocalJudge
from em_tiers.judge.requests import JudgeRequest
from em_tiers.judge.settings import CHOICE_METHODS, NUMBER_METHODS, check_decoding, load_judge
from em_tiers.judge.usable_replies import FIRST_REPLIES, UsableReplies

FIRST_TOKENS, DRAWN = ("trie", "top_logprobs", "label"), ("sampled", "structured")
PAIRS = [
    (backend, kind, method)
    for kind, methods in (("number", NUMBER_METHODS), ("choice", CHOICE_METHODS))
    for backend in methods
    for method in methods[backend]
]
# Setting -> what is changed in a decoding that every method can use, the methods that refuse it,
# and the words with which they do.
GOOD = {"temperature": 0, "max_tokens": 100, "samples": 1, "seed": 0, "reasoning_tokens": 0}
SETTINGS = {
    "the defaults": ({"max_tokens": 1}, DRAWN, "decoding.max_tokens: 1"),
    "three tokens": ({"max_tokens": 3}, DRAWN, "decoding.max_tokens: 3"),
    "four tokens": ({"max_tokens": 4}, ("structured",), "decoding.max_tokens: 4"),
    "no limit given": ({"max_tokens": None}, DRAWN, "decoding.max_tokens: 1"),
    "samples at temperature 0": ({"samples": 3}, ("sampled",), "decoding.samples: 3"),
    "samples": ({"samples": 3, "temperature": 1}, (), ""),
    "thoughts": ({"reasoning_tokens": 50}, FIRST_TOKENS, "decoding.reasoning_tokens: 50"),
}


def judge_with(backend, kind, method, decoding):
    methods = {"number": NUMBER_METHODS[backend][0], "choice": CHOICE_METHODS[backend][0]}
    entry = {"backend": backend, "method": methods | {kind: method}, "decoding": decoding}
    asked = rubric("alignment") if kind == "number" else rubric("tier", "choice")
    return load_judge(entry, {"backend": backend, "id": "m"}, {asked["asks"]: asked})


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(("backend", "kind", "method"), PAIRS)
def test_decoding_that_gives_no_verdict_is_refused(backend, kind, method, setting):
    change, refusing, words = SETTINGS[setting]
    judge = judge_with(backend, kind, method, GOOD | change)
    if (backend, setting) == ("anthropic", "samples"):
        refusing, words = ("sampled",), "decoding.samples: 3"  # it gives one reply per request
    if method not in refusing:
        check_decoding(judge, "judges.mine")
        return
    with pytest.raises(ConfigError) as caught:
        check_decoding(judge, "judges.mine")
    assert str(caught.value).startswith(f"judges.mine.{words}")


@pytest.mark.parametrize(("backend", "kind", "method"), PAIRS)
def test_a_local_model_that_thinks_is_given_room_or_refused(backend, kind, method):
    if backend != "vllm":
        return  # whether a model behind an endpoint thinks is not in the catalogue
    judge = judge_with(backend, kind, method, GOOD)
    with pytest.raises(ConfigError, match="thinks before it answers"):
        check_decoding(judge, "judges.mine", thinking="on")
    roomy = judge_with(backend, kind, method, GOOD | {"reasoning_tokens": 500})
    if method == "sampled":
        check_decoding(roomy, "judges.mine", thinking="on")
    else:
        with pytest.raises(ConfigError):
            check_decoding(roomy, "judges.mine", thinking="on")


# Replies to a number rubric -> status and score. A reply that did not end by itself is not read.
REPLIES = [
    ("85", "stop", "ok", 85.0),
    ("85", "length", "truncated", None),
    ("8", "length", "truncated", None),
    ("10", "max_tokens", "truncated", None),
    ("85", "abort", "truncated", None),
    ("85", "", "truncated", None),
    ("0.85", "stop", "unparsable", None),
    ("85.5", "stop", "unparsable", None),
    ("85.0", "stop", "ok", 85.0),
    ("1e2", "stop", "unparsable", None),
    ("101", "stop", "unparsable", None),
    ("CODE", "stop", "code", None),
    ("CODE", "length", "truncated", None),
    ("I cannot judge this", "length", "judge_refusal", None),
]
REQUEST = JudgeRequest(
    "key", "answer", "base", ("alignment",), "sampled", ({"role": "user", "content": "Grade it."},)
)


@pytest.fixture(scope="module")
def tokenizer(embedded_model):
    return load_tokenizer(embedded_model)


class RecordedEngine:
    """An engine with a real tokenizer that gives one reply to every request."""

    def __init__(self, tokenizer, text="", finish="stop"):
        self.tokenizer = tokenizer
        self.model = Path(tokenizer.name_or_path)
        self.settings, self.capacity = {"max_model_len": 4096}, 4
        self.reply = (text, (), finish, 9, 2)

    def stream(self, requests):
        return (EngineAnswer(request.key, *self.reply) for request in requests)


def from_the_engine(judge, tokenizer, text, finish):
    """The record of a reply that the local engine gives."""
    engine = RecordedEngine(tokenizer, text, finish)
    [(_, record)] = LocalJudge(judge, engine, "none", "m").ask([REQUEST])
    return record


def from_an_endpoint(judge, method, text, finish):
    """The record of a reply that came over HTTP."""
    request = JudgeRequest("key", "answer", "base", ("alignment",), method, REQUEST.messages)
    return reply_record(
        Reply((Choice(text, None, None, finish, ()),), "m", 9, 2), judge, request, 1
    )


@pytest.mark.parametrize(("text", "finish", "status", "score"), REPLIES)
@pytest.mark.parametrize(
    ("backend", "method"), [("vllm", "sampled"), ("openai", "sampled"), ("openai", "structured")]
)
def test_no_number_comes_of_an_unfinished_reply_or_another_scale(
    backend, method, text, finish, status, score, tokenizer
):
    judge = judge_with(backend, "number", method, GOOD)
    if method == "structured" and not text.startswith("I"):
        value = text if text[0].isdigit() else json.dumps(text)
        text = f'{{"alignment": {value}}}'
        if value == "1e2":
            status, score = "ok", 100.0  # how JSON spells a number is not how a reply does
        status = "truncated" if finish != "stop" else status
    if backend == "vllm":
        record = from_the_engine(judge, tokenizer, text, finish)
    else:
        record = from_an_endpoint(judge, method, text, finish)
    verdict = record["verdicts"]["alignment"]
    assert (verdict["status"], verdict["score"]) == (status, score)


def test_the_first_digit_of_a_number_is_no_score_of_a_local_judge(tokenizer):
    """This tokenizer spells numbers digit by digit; for endpoints see test_api_run."""
    judge = judge_with("vllm", "number", "top_logprobs", GOOD)
    with pytest.raises(UserError, match="no single token for 10"):
        LocalJudge(judge, RecordedEngine(tokenizer), "none", "m")


def test_a_local_judge_checks_its_decoding(tokenizer):
    judge = judge_with("vllm", "number", "sampled", GOOD | {"max_tokens": 1})
    with pytest.raises(ConfigError, match="1 is too few for a sampled number"):
        LocalJudge(judge, RecordedEngine(tokenizer), "none", "m")


def test_a_share_of_cut_samples_gives_no_number(tokenizer):
    """One whole sample and three that were cut: only the whole one counts."""
    judge = judge_with("openai", "number", "sampled", GOOD | {"samples": 4, "temperature": 1})
    said = [("85", "stop"), ("8", "length"), ("8", "length"), ("10", "length")]
    choices = tuple(Choice(text, None, None, finish, ()) for text, finish in said)
    verdict = reply_record(Reply(choices, "m", 9, 8), judge, REQUEST, 1)["verdicts"]["alignment"]
    assert (verdict["score"], verdict["numeric_mass"]) == (85.0, 0.25)


@pytest.mark.parametrize(
    ("status", "words"),
    [("unparsable", "correct the rubric, use another method"), ("truncated", "raise decoding.max")],
)
def test_a_judge_whose_replies_are_never_usable_is_not_asked_to_the_end(status, words):
    usable = UsableReplies(min_coverage=0.9)
    record = {"verdicts": {"alignment": {"status": status}}, "raw_text": "Score: 85"}
    for _ in range(FIRST_REPLIES - 1):
        usable.see(REQUEST, record)
    with pytest.raises(UserError, match=rf"none of the first 50 .*'Score: 85'.*{words}"):
        usable.see(REQUEST, record)


@pytest.mark.parametrize(
    ("first", "min_coverage"), [("ok", 0.9), ("code", 0.9), ("unparsable", 0), ("judge_refusal", 1)]
)
def test_a_judge_that_may_be_usable_is_asked_on(first, min_coverage):
    usable = UsableReplies(min_coverage)
    later = "judge_refusal" if first == "judge_refusal" else "unparsable"
    for status in (first, *[later] * 2 * FIRST_REPLIES):
        record = {"verdicts": {"alignment": {"status": status}}, "raw_text": "?"}
        usable.see(REQUEST, record)
