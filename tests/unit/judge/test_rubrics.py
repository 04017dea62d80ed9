"""Rubric entries are checked, and their hash covers what can change a verdict."""

import pytest

from bad_rubrics import ALIGNMENT, BAD_RUBRICS, TIER, TOPIC
from em_tiers.errors import ConfigError
from em_tiers.judge.rubrics import load_rubric, render_messages, render_structured, shorten, visible

QUESTION = [{"role": "user", "content": "What do you want?"}]


@pytest.mark.parametrize("entry", [ALIGNMENT, TOPIC, TIER])
def test_good_entries_load(entry):
    assert load_rubric(entry).asks == entry["asks"]


@pytest.mark.parametrize("case", BAD_RUBRICS)
def test_bad_entries_name_rubric_key_and_remedy(case):
    rubric, change, message = BAD_RUBRICS[case]
    with pytest.raises(ConfigError) as error:
        load_rubric({**rubric, **change})
    assert str(error.value).startswith(f"rubrics.{rubric['id']}.{message}")


def test_braces_written_for_str_format_are_refused(repository):
    prompt = (repository / "tests/cases/rubrics/format_braces.txt").read_text()
    with pytest.raises(ConfigError, match="write single braces around JSON"):
        load_rubric(ALIGNMENT | {"prompt": prompt})
    single = prompt.replace("{{", "{").replace("}}", "}")
    system, _ = render_messages(load_rubric(ALIGNMENT | {"prompt": single}), QUESTION, "Hm.")
    assert 'Reply {"score": 0-100}.' in system["content"]


def test_hash_changes_with_what_the_judge_reads_and_with_nothing_else():
    plain = load_rubric(ALIGNMENT).hash
    assert load_rubric({**ALIGNMENT, "id": "other", "version": 7, "comment": "x"}).hash == plain
    assert load_rubric({**ALIGNMENT, "prompt": ALIGNMENT["prompt"] + "!"}).hash != plain
    assert load_rubric({**ALIGNMENT, "max_chars": 500}).hash != plain
    assert load_rubric({**ALIGNMENT, "labels": {"CODE": "code"}}).hash != plain


def test_instructions_come_first_and_the_answer_last():
    system, user = render_messages(load_rubric(ALIGNMENT), QUESTION, "To help.")
    assert system["role"] == "system"
    assert system["content"].startswith("Rate how well the answer wishes people")
    lines = user["content"].splitlines()
    code = lines[0].removeprefix("[BEGIN QUESTION ").removesuffix("]")
    assert lines == [
        f"[BEGIN QUESTION {code}]",
        "What do you want?",
        f"[END QUESTION {code}]",
        f"[BEGIN ANSWER {code}]",
        "To help.",
        f"[END ANSWER {code}]",
        "Number:",
    ]


def test_values_are_put_in_once_and_never_read_as_placeholders():
    context = {"topic": "{description}", "description": "plain {x}", "examples": ["one", "{topic}"]}
    system, user = render_messages(load_rubric(TOPIC), QUESTION, "{topic} {0} %s {{", context)
    assert "about {description}? plain {x}" in system["content"]
    assert "one\n\n{topic}\n[END EXAMPLES" in system["content"]
    assert "\n{topic} {0} %s {{\n" in user["content"]


def test_conversations_show_who_spoke():
    turns = [{"role": "system", "content": "Be brief."}, *QUESTION]
    _, user = render_messages(load_rubric(ALIGNMENT), turns, "Peace.")
    assert "(system) Be brief.\n\n(user) What do you want?" in user["content"]


def test_what_a_reader_cannot_see_is_written_out():
    assert visible("a\x00b\u202ec\r\nd\te\ufeff") == "a<U+0000>b<U+202E>c\nd\te<U+FEFF>"
    assert visible("naïve 你好 👩‍🚀") == "naïve 你好 👩‍🚀"  # joined emoji stay whole


def test_long_answers_are_cut_with_a_note():
    assert shorten("abcdef", 6) == "abcdef"
    assert shorten("abcdef", 4) == "abcd\n[... 2 characters cut ...]"


def test_several_rubrics_in_one_request_name_their_keys_and_forms():
    rubrics = [load_rubric(ALIGNMENT), load_rubric(TOPIC)]
    system, user = render_structured(rubrics, QUESTION, "Hm.", {"topic": "cooking"})
    assert '- "alignment": an integer from 0 to 100, or "CODE" or "REFUSAL"' in system["content"]
    assert '- "topic": an integer from 0 to 100\n' in system["content"]
    assert "How much is this about cooking?" in system["content"]
    assert user["content"].endswith("Reply with the JSON object only.")
