"""What is sent to an API judge for each scoring method, and how its reply becomes verdicts."""

import math
from collections.abc import Mapping
from typing import Any

from em_tiers.api.replies import Choice, Reply
from em_tiers.api.spending import PricedRequest
from em_tiers.inference.chat import split_thinking
from em_tiers.judge.requests import JudgeRequest
from em_tiers.judge.settings import READS_FIRST_TOKENS, Judge
from em_tiers.judge.verdicts import (
    Verdict,
    make_record,
    sampled_verdict,
    structured_schema,
    structured_verdicts,
    token_verdict,
)

TOP_TOKENS = 20  # what the standard protocol reads, and the most that endpoints give


def most_tokens(judge: Judge, request: JudgeRequest) -> int:
    """The most tokens that the answers to a request may have together, thinking included."""
    if request.method in READS_FIRST_TOKENS:
        return 1
    one = (judge.decoding.get("max_tokens") or 1) + (judge.decoding.get("reasoning_tokens") or 0)
    return one * _samples(judge, request)


def request_body(judge: Judge, request: JudgeRequest, bounds: bool = True) -> dict[str, Any]:
    """The chat completion request, without the model's name.

    Args:
        bounds: whether the schema of a structured reply bounds its numbers; not every endpoint
            knows that. They are checked in the reply in either case.
    """
    decoding = judge.decoding
    body: dict[str, Any] = {"messages": list(request.messages)}
    for name in ("temperature", "seed"):
        # Some reasoning models refuse a temperature: null in the entry sends none.
        if decoding.get(name) is not None:
            body[name] = decoding[name]
    thinking = decoding.get("reasoning_tokens") or 0
    # OpenAI's reasoning models know the new name only, many other servers only the old one.
    limit = "max_completion_tokens" if thinking else "max_tokens"
    body[limit] = most_tokens(judge, request) // _samples(judge, request)
    if thinking:
        body["reasoning_tokens"] = thinking  # for Anthropic; others are not sent it
    if request.method in ("top_logprobs", "label"):
        body |= {"logprobs": True, "top_logprobs": TOP_TOKENS}
    elif request.method == "structured":
        schema = structured_schema((judge.rubrics[role] for role in request.roles), bounds)
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "verdict", "strict": True, "schema": schema},
        }
    elif _samples(judge, request) > 1:
        body["n"] = _samples(judge, request)
    return body


def reply_record(
    reply: Reply, judge: Judge, request: JudgeRequest, attempts: int
) -> dict[str, Any]:
    """The journal's record of a reply."""
    choices = [_without_thoughts(choice, judge) for choice in reply.choices]
    thoughts = [choice.reasoning for choice in choices if choice.reasoning]
    return make_record(
        _verdicts(choices, judge, request),
        raw_text="\n---\n".join(choice.refusal or choice.text for choice in choices),
        reasoning="\n---\n".join(thoughts) or None,
        served_model=reply.served_model,
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.completion_tokens,
        attempts=attempts,
    )


def priced_request(judge: Judge, request: JudgeRequest) -> PricedRequest:
    """What `spending.estimate` needs to know of a request."""
    return PricedRequest(
        key=request.key,
        characters=characters_of(request.messages),
        completion_tokens=most_tokens(judge, request),
        what="+".join(request.roles),
    )


def characters_of(messages: tuple[Mapping[str, str], ...]) -> int:
    """Length of a prompt's text."""
    return sum(len(message["content"]) for message in messages)


def _samples(judge: Judge, request: JudgeRequest) -> int:
    return (judge.decoding.get("samples") or 1) if request.method == "sampled" else 1


def _without_thoughts(choice: Choice, judge: Judge) -> Choice:
    """The choice with its thinking apart, for servers that leave it in the text."""
    if choice.reasoning or not judge.decoding.get("reasoning_tokens"):
        return choice
    reasoning, text = split_thinking(choice.text, "on")
    return Choice(text, reasoning, choice.refusal, choice.finish_reason, choice.top)


def _verdicts(choices: list[Choice], judge: Judge, request: JudgeRequest) -> dict[str, Verdict]:
    if all(choice.refusal for choice in choices):
        return dict.fromkeys(request.roles, Verdict("judge_refusal"))
    first = choices[0]
    if request.method == "structured":
        rubrics = [judge.rubrics[role] for role in request.roles]
        return structured_verdicts(first.text, first.finish_reason, rubrics)
    rubric = judge.rubrics[request.rubric]
    if request.method == "sampled":
        said = [(choice.refusal or choice.text, choice.finish_reason) for choice in choices]
        return {rubric.asks: sampled_verdict(said, rubric)}
    return {rubric.asks: token_verdict(_probabilities(first), rubric)}


def _probabilities(choice: Choice) -> dict[str, float]:
    """Token -> probability at the first position. Tokens that read the same are added up."""
    shares: dict[str, float] = {}
    for token, logprob in choice.top[0]:
        shares[token] = shares.get(token, 0.0) + math.exp(logprob)
    return shares
