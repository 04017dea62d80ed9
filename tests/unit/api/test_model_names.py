"""Dated names of hosted models, and whether an answer is signed by the right one."""

import pytest

from em_tiers.api.model_names import is_dated, is_moving, is_served_as


@pytest.mark.parametrize(
    "model",
    [
        "gpt-4o-2024-08-06",
        "openai/gpt-4o-2024-08-06",
        "claude-3-5-sonnet-20241022",
        "claude-3-5-sonnet@20240620",
        "gpt-4-0613",
        "mistral-large-2411",
        "smollm2@5a33ba103645800d7b3790c4448546c1b73efc71",
        "/data/models/smollm2",
        "./smollm2",
    ],
)
def test_names_that_pin_the_weights(model):
    assert is_dated(model)


@pytest.mark.parametrize(
    "model",
    [
        "gpt-4o",
        "gpt-4o-mini",
        "chatgpt-4o-latest",
        "model@latest",
        "model@main",
        "llama-3-70b-instruct",
        "qwen2.5-32b-instruct",
        "model-9999",
        "model-2024-13-40",
        "",
    ],
)
def test_names_that_a_vendor_can_move(model):
    assert not is_dated(model)


@pytest.mark.parametrize(
    ("requested", "served", "right"),
    [
        ("gpt-4o-2024-08-06", "gpt-4o-2024-08-06", True),
        ("openai/gpt-4o-2024-08-06", "gpt-4o-2024-08-06", True),
        ("gpt-4o-2024-08-06", "gpt-4o-2024-05-13", False),
        ("gpt-4o-2024-08-06", "gpt-4o", False),
        ("gpt-4o-2024-08-06", "gpt-4o-2024-08-06-copy", False),
        ("gpt-4o", "gpt-4o-2024-08-06", True),
        ("gpt-4o", "gpt-4o-mini", False),
        ("gpt-4o", "gpt-4o-mini-2024-07-18", False),
        ("gpt-4o", "gpt-4o", True),
        ("smollm2", "smollm2", True),
        ("smollm2", "", False),
    ],
)
def test_the_answer_is_signed_by_the_model_that_was_asked(requested, served, right):
    assert is_served_as(requested, served) is right


def hosted(model, host, **provider):
    """The entry of a judge behind a service, with the provider that a router must use."""
    extra = {"provider": provider} if provider else None
    endpoint = {"base_url": f"https://{host}/v1", "extra_body": extra}
    return {"backend": "openai", "model": model, "endpoint": endpoint}


@pytest.mark.parametrize(
    ("entry", "moving"),
    [
        ({"backend": "vllm", "model": "qwen3-4b", "endpoint": None}, False),
        ({"backend": "openai", "model": "gpt-4o-2024-08-06", "endpoint": {}}, False),
        ({"backend": "openai", "model": "gpt-4o", "endpoint": {}}, True),
        # An Azure deployment has any name; what signs its answers counts.
        (
            {"backend": "openai", "model": "our-judge", "endpoint": {"signed_as": "gpt-4-0613"}},
            False,
        ),
        (
            {"backend": "openai", "model": "judge-2024-01-01", "endpoint": {"signed_as": "gpt-4o"}},
            True,
        ),
        # Open weights have one meaning on every server; a router chooses who does.
        (hosted("Qwen/Qwen2.5-72B-Instruct", "api.together.xyz"), False),
        (hosted("openai/gpt-oss-120b", "openrouter.ai"), True),
        (hosted("openai/gpt-oss-120b", "openrouter.ai", only=["deepinfra"]), False),
        (hosted("openai/gpt-oss-120b", "openrouter.ai", only=["deepinfra", "groq"]), True),
        (hosted("openai/gpt-oss-120b", "openrouter.ai", order=["groq"]), True),
        (
            hosted("openai/gpt-oss-120b", "openrouter.ai", order=["g"], allow_fallbacks=False),
            False,
        ),
        (hosted("openai/gpt-4o", "openrouter.ai", only=["openai"]), True),
        (hosted("Qwen/Qwen2.5-72B-Instruct", "router.huggingface.co"), True),
        (hosted("Qwen/Qwen2.5-72B-Instruct:together", "router.huggingface.co"), False),
        (hosted("Qwen/Qwen2.5-72B-Instruct:fastest", "router.huggingface.co"), True),
        (hosted("gemini-1.5-flash-8b", "generativelanguage.googleapis.com"), True),
        (hosted("ministral-8b-latest", "api.mistral.ai"), True),
    ],
)
def test_judges_whose_model_may_be_exchanged(entry, moving):
    assert is_moving(entry) is moving
