"""What refusals mean, in the words and codes of providers and of the gateways before them."""

import pytest

from em_tiers.api.refusals import FailedAttempt, Final, message_of, refusal_of
from em_tiers.errors import UserError


def meaning(status, body):
    """judge_refusal, truncated or api_error (of one request), retry, or stop."""
    found = refusal_of(status, body, message_of(body), "endpoint h, model m")
    if isinstance(found, Final):
        return found.status
    return "retry" if isinstance(found, FailedAttempt) else "stop"


def openai(message, code=None, kind=None):
    return {"error": {"message": message, "code": code, "type": kind}}


FILTERED = {
    "Azure": (400, openai("The response was filtered", "content_filter")),
    "OpenAI": (400, openai("Invalid prompt: your prompt was flagged", "invalid_prompt")),
    "Anthropic": (400, openai("Output blocked by content filtering policy")),
    "Bedrock": (400, {"message": "Output blocked by content filtering policy"}),
    "Bedrock guardrail": (400, {"detail": {"error": "Violated guardrail policy"}}),
    "Vertex": (400, [openai("The prompt contains sensitive words that violate Google's AI rules")]),
    "xAI": (403, {"code": "permission", "error": "Content violates usage guidelines."}),
    "OpenRouter": (403, openai("openai/gpt-4o requires moderation. Your input was flagged", 403)),
    "DeepSeek": (400, openai("Content Exists Risk", "invalid_request_error")),
    "DashScope": (400, openai("Output data may contain inappropriate content.", "x")),
    "DashScope, code": (400, openai("Rejected", "DataInspectionFailed")),
    "Moonshot": (400, openai("The request was rejected because it was considered high risk")),
    "Zhipu": (400, {"error": {"code": "1301", "message": "系统检测到输入可能包含敏感内容"}}),
    "MiniMax": (400, {"base_resp": {"status_code": 1026, "status_msg": "input new_sensitive"}}),
    "Together": (422, openai("Input flagged by a safety model")),
    "LiteLLM": (400, openai("litellm.ContentPolicyViolationError: content management policy")),
    "Cloudflare": (
        424,
        {"success": False, "error": [{"code": 2016, "message": "Prompt blocked by guardrails"}]},
    ),
    "Portkey": (446, openai("The guardrail checks defined in the config failed")),
    "new-api": (500, openai("request refused", "sensitive_words_detected")),
    "a gateway that makes 500 of it": (500, openai("upstream: Content violates usage guidelines")),
}
TOO_LONG = {
    "OpenAI": (400, openai("This model's maximum context length is 8192 tokens", None)),
    "OpenAI, code": (400, openai("Reduce it", "context_length_exceeded")),
    "OpenAI, more than a minute allows": (429, openai("Request too large for gpt-4o on TPM")),
    "Anthropic": (400, openai("prompt is too long: 210000 tokens > 200000 maximum")),
    "Anthropic, bytes": (413, openai("Request exceeds the maximum size", None, "too_big")),
    "Google": (400, [openai("The input token count (2000000) exceeds the maximum of 1048576")]),
    "DashScope": (400, openai("Range of input length should be [1, 30720]")),
    "Moonshot": (400, openai("Your request exceeded model token limit: 131072")),
    "Zhipu": (400, openai("Prompt 超长", "1261")),
    "vLLM": (400, openai("The decoder prompt (length 9000) is longer than the maximum model len")),
    "SGLang": (400, {"message": "The input (9000 tokens) is longer than the model's context"}),
    "TGI": (422, {"error": "`inputs` must have less than 4095 tokens. Given: 9000"}),
    "llama.cpp": (500, openai("the request exceeds the available context size")),
    "Ollama": (500, {"error": "input length exceeds the context length"}),
    "Cohere": (400, {"message": "too many tokens: total number of tokens cannot exceed 4096"}),
}
PASSING = {
    "a filter that is down": (503, openai("The content filter is unavailable")),
    "tokens of a minute": (429, openai("Rate limit reached: tokens per min (TPM)")),
    "a gateway that makes 500 of it": (500, openai("exceeded tokens per minute quota")),
    "overloaded": (529, openai("Overloaded")),
    "HTML": (502, "<html>Bad gateway</html>"),
}
ALL_REQUESTS = {
    "no key": (401, openai("Incorrect API key provided")),
    "no credit": (402, openai("Insufficient Balance")),
    "no credit, OpenAI": (429, openai("You exceeded your quota", "insufficient_quota")),
    "no such model": (404, openai("The model does not exist")),
}
ONE_REQUEST = {
    "no right": (403, openai("You may not use logprobs with this model")),
    "a suspended account": (403, openai("Your account was suspended for violating our policies")),
    "unknown": (400, openai("We would rather not")),
    "tokens of a day": (400, openai("request exceeded the token quota per day")),
}


@pytest.mark.parametrize(
    ("status", "body", "right"),
    [
        pytest.param(*case, right, id=f"{right}: {name}")
        for right, cases in [
            ("judge_refusal", FILTERED),
            ("truncated", TOO_LONG),
            ("retry", PASSING),
            ("stop", ALL_REQUESTS),
            ("api_error", ONE_REQUEST),
        ]
        for name, case in cases.items()
    ],
)
def test_a_refusal_is_understood(status, body, right):
    assert meaning(status, body) == right


def test_the_words_of_the_endpoint_are_always_kept():
    for status, body in [*FILTERED.values(), *ONE_REQUEST.values(), *ALL_REQUESTS.values()]:
        found = refusal_of(status, body, message_of(body), "endpoint h, model m")
        assert message_of(body) and message_of(body) in str(found)
    found = refusal_of(500, {"weird": {"why": "disk"}}, message_of({"weird": {"why": "disk"}}), "")
    assert found.full == 'HTTP 500: {"weird": {"why": "disk"}}'


def test_a_missing_right_has_a_remedy_for_when_it_is_about_all_requests():
    found = refusal_of(403, {}, "no", "endpoint h, model m")
    assert isinstance(found, Final)
    assert found.remedy == "the key may not do this: check its rights and the model"
    assert isinstance(refusal_of(401, {}, "no", "endpoint h, model m"), UserError)
