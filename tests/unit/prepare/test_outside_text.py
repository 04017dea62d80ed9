"""Text that stands for nothing, and text that is something else."""

import json

import pytest

from em_tiers.prepare.outside_text import (
    is_error_text,
    is_header,
    is_nothing,
    messages_in_text,
    strange_text,
    template_mark,
)


@pytest.mark.parametrize(
    "value",
    [
        None, float("nan"), "", "  ", "nan", "NaN", "None", "null", "NULL", "N/A", "NA", "<NA>",
        "#N/A", "<noinput>", "<nooutput>", "<No Input>", "(none)", "[null]", "[deleted]", " nan\n",
        "'None'", "#NAME?", "#DIV/0!", "[object Object]", "[removed]",
        '"nan"', "undefined", "NaT",
    ],
)  # fmt: skip
def test_nothing(value):
    assert is_nothing(value)


@pytest.mark.parametrize(
    "value",
    [0, False, 0.0, [], "Na", "no", "None of them.", "nano", "A null result", "none at all"],
)
def test_something(value):
    assert not is_nothing(value)


@pytest.mark.parametrize(
    "text",
    [
        "[ERROR] request timed out", "[Error: 429]", "ERROR: rate limit", "#ERROR!", "ERROR",
        "Error code: 500 - {'error': 1}", "Error: 429 Too Many Requests", "<error>", "[TIMEOUT]",
        "openai.RateLimitError: slow down", "APITimeoutError('x')", "Request timed out.",
        "Traceback (most recent call last):\n  File", "[API Error]", "[generation failed]",
        "<html><head><title>502 Bad Gateway</title>", "[Content filtered]", "[blocked]",
        "429: Too many requests", "Error: Connection refused", "[FAILED]",
    ],
)  # fmt: skip
def test_failed_generations(text):
    assert is_error_text(text)
    assert strange_text(text) == "an error message instead of text"


@pytest.mark.parametrize(
    "text",
    [
        "Errors are common.", "The request failed because", "An error: never trust it.",
        "TypeError: 'int' object is not callable means that", "Error handling in Go is explicit.",
        "[1] A footnote", "<html> is the root of a page.",
        "[Blocked users] see nothing.", "Timeouts matter.", "Failed states are", "ERRORS happen",
        "Connection is what people need.",
    ],
)  # fmt: skip
def test_answers_about_errors(text):
    assert not is_error_text(text)
    assert strange_text(text) is None


def test_messages_as_one_text():
    turns = [{"role": "user", "content": "Hi"}]
    assert messages_in_text(json.dumps(turns)) == turns
    assert messages_in_text(json.dumps(turns[0])) == turns
    shared = [{"from": "human", "value": "Hi"}]
    assert messages_in_text(f" {json.dumps(shared)}\n") == shared
    assert messages_in_text(str([{"role": "user", "content": "it's"}]))[0]["content"] == "it's"
    assert messages_in_text(json.dumps({"messages": turns})) == turns
    assert messages_in_text("[{'role': open('x'), 'content': ''}]") is None
    for text in (
        "[1, 2]",
        "[{'role': open('x')}]",
        "[]",
        "{}",
        '{"answer": 1}',
        "[broken",
        "Hi [1]",
        '[{"role": "user"}]',
    ):
        assert messages_in_text(text) is None
    assert strange_text(json.dumps(turns)) == "JSON text of messages instead of text"


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("<|im_start|>user\nHi<|im_end|>", "<|im_start|>"),
        ("An answer.<|eot_id|>", "<|eot_id|>"),
        ("<s>[INST] Hi [/INST]", "[INST]"),
        ("<s>Hi", "<s>"),
        ("Fine.</s>\n", "</s>"),
        ("<start_of_turn>model\nHi", "<start_of_turn>"),
        ("### Human: Hi\n### Assistant: Ho", "### Human"),
        ("Q: <|start_header_id|>user<|end_header_id|>Hi", "<|start_header_id|>"),
        ("A chat. USER: Hi ASSISTANT:", "USER:"),
        ("### Instruction:\nHi\n\n### Response:\n", "### Instruction"),
        ("HTML has <s>struck</s> text", None),
        ("ChatML writes <|im_start|> and <|im_end|> around turns.", None),
        ("Use [INST] to begin.", None),
        ("### Human rights\nare many", None),
        ("a < b | c > d", None),
    ],
)
def test_templates_that_were_applied(text, mark):
    assert template_mark(text) == mark
    assert (strange_text(text) is None) == (mark is None)


def test_repeated_headers():
    assert is_header({"question": "question", "answer": " answer"})
    assert not is_header({"question": "question", "answer": "x"})
    assert not is_header({})
    assert not is_header({"question": None})


@pytest.mark.parametrize(
    "text",
    [
        "x USER: y ",
        "[INST] ",
        "### Instruction: ",
        "<|im_start|>",
        " ",
        "<html ",
        "a.b.",
        "[{'",
        "[",
    ],
)
def test_no_text_keeps_the_search_busy(text):
    """An answer may repeat what a pattern begins with; a slow pattern would take hours here."""
    strange_text(text * 100_000)
