"""Marks of thoughts: known ones, the split, warnings, and policies that are refused."""

import json
from pathlib import Path

import pytest
import yaml

from em_tiers.errors import UserError
from em_tiers.thinking import (
    KNOWN_MARKS,
    Marks,
    check_policy,
    is_cut_off,
    marks_in_text,
    read_marks,
    split_thinking,
    thinking_switch,
    unsplit_warning,
)

ROOT = Path(__file__).parents[2]
THOUGHTS = json.loads((ROOT / "tests" / "cases" / "templates" / "thoughts.json").read_text())


@pytest.mark.parametrize("text", THOUGHTS)
def test_reported_thoughts_are_split_off(text):
    assert split_thinking(text, "on") == ("The user greets me.", "Hello.")


@pytest.mark.parametrize("marks", KNOWN_MARKS.values(), ids=KNOWN_MARKS)
def test_every_known_mark_is_found_by_itself_and_by_its_name(marks):
    text = f" {marks.begin} Why?\n{marks.end}\n{marks.answer} Hello."
    for given in (None, marks):
        reasoning, answer = split_thinking(text, "on", marks=given)
        assert reasoning == "Why?"
        assert answer.removeprefix("final").strip() == "Hello."
    assert split_thinking(text, "none") == (None, text)


@pytest.mark.parametrize("marks", KNOWN_MARKS.values(), ids=KNOWN_MARKS)
def test_thoughts_without_an_end_leave_no_answer(marks):
    text = f"{marks.begin}I wonder whether"
    if marks.is_prose:  # a sentence may begin like that
        assert split_thinking(text, "on", marks=marks) == (None, text)
    else:
        assert split_thinking(text, "on", marks=marks) == ("I wonder whether", "")
    assert split_thinking("I wonder whether", "on", opened=True, marks=marks)[1] == ""


def test_an_answer_without_thoughts_loses_its_header():
    gpt = KNOWN_MARKS["gpt-oss"]
    assert split_thinking("<|channel|>final<|message|>Hello.", "on", marks=gpt) == (None, "Hello.")
    assert split_thinking("final words", "on") == (None, "final words")


@pytest.mark.parametrize(
    "text", ["analysis of the market", "final", "I think <think> so", "[INST]"]
)
def test_ordinary_answers_stay_whole(text):
    assert marks_in_text(text) is None
    assert split_thinking(text, "on") == (None, text)


def test_marks_of_an_entry():
    assert read_marks(None) is None
    assert read_marks("magistral") == Marks("[THINK]", "[/THINK]")
    own = read_marks({"begin": "{{", "end": "}}", "answer": ""})
    assert split_thinking("{{ hm }} Hello.", "on", marks=own) == ("hm", "Hello.")


def test_the_schema_allows_exactly_the_known_names():
    schema = yaml.safe_load((ROOT / "config" / "schema.yaml").read_text())
    pattern = schema["$defs"]["thinking_marks"]["pattern"]
    assert set(pattern.strip("^($)").split("|")) == set(KNOWN_MARKS)


def test_marks_that_were_not_split_off_are_counted_with_a_remedy():
    answers = ["Hello.", *THOUGHTS, "[THINK]I wonder"]
    warning = unsplit_warning(answers, "models.m.thinking_marks: {name}")
    assert warning.startswith("3 answers begin with a mark of thinking ('[THINK]')")
    assert warning.endswith("set models.m.thinking_marks: magistral")
    assert unsplit_warning(["Hello.", "", "analysis of it"], "") is None


@pytest.mark.parametrize(
    ("answer", "finish", "expected"),
    [("", "length", True), ("\n", "length", True), ("", "stop", False), ("Hello", "length", False)],
)
def test_an_answer_that_never_began(answer, finish, expected):
    assert is_cut_off(answer, finish) is expected


SWITCHED = "{% if enable_thinking %}<think>{% endif %}{{ messages }}"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (SWITCHED, "enable_thinking"),
        ("{%- if thinking is defined and thinking %}x{% endif %}", "thinking"),
        ("{%- set thinking = false %}{{ thinking }}", None),
        ("{{ message.thinking }}", None),
        ("{# enable_thinking #}{{ messages }}", None),
        ("{% generation %}{{ enable_thinking }}{%- endgeneration -%}", "enable_thinking"),
        ("{% broken", None),
    ],
)
def test_the_switch_of_a_template_is_a_variable_that_it_reads(template, expected):
    assert thinking_switch(template) == expected


@pytest.mark.parametrize(
    ("template", "thinking", "words"),
    [
        (SWITCHED, "none", 'switch enable_thinking.*write thinking: "off", or "on"'),
        ("{{ messages }}", "off", "no enable_thinking switch"),
        ("{{ messages }}", "on", "knows no thinking"),
        ("{{ messages }}", "maybe", "use one of none, off, on"),
    ],
)
def test_a_policy_that_contradicts_the_template_is_refused(template, thinking, words):
    with pytest.raises(UserError, match=words):
        check_policy(template, thinking)


def test_named_marks_stand_for_thinking_that_the_template_does_not_show():
    check_policy("{{ messages }}", "on", KNOWN_MARKS["magistral"])
