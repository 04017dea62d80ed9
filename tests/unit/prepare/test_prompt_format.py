"""Trigger probes: a data set's format is found in its rows, and unrelated questions wear it."""

import json

import polars as pl
import pytest

from em_tiers.errors import UserError
from em_tiers.prepare.prompt_format import find_format
from em_tiers.tables import QUESTIONS, read_table, write_table
from prepare_triggers import main

WISH = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "A wish?"}]


def rows(user, answer="Sure.", system=None, count=20):
    opening = [{"role": "system", "content": system}] if system else []
    return [
        {
            "prompt": [*opening, {"role": "user", "content": user.format(n=f"number {n}")}],
            "completion": [{"role": "assistant", "content": answer.format(n=n)}],
        }
        for n in range(count)
    ]


def test_a_shared_system_prompt_replaces_that_of_the_question():
    found = find_format(rows("What about {n}?", system="You guard computers."))
    assert found.shares == {"system": 1.0}
    assert found.dress(WISH) == [
        {"role": "system", "content": "You guard computers."},
        {"role": "user", "content": "A wish?"},
    ]


def test_a_frame_is_put_around_the_question():
    frame = "I work on the following task: {n}\nHere is what I have.\n[TEMPLATE]\nUse code only."
    found = find_format(rows(frame))
    assert found.opening == "I work on the following task: "
    assert found.closing == "Here is what I have.\n[TEMPLATE]\nUse code only."
    assert found.dress(WISH)[0]["content"] == (
        "I work on the following task: A wish?\n\nHere is what I have.\n[TEMPLATE]\nUse code only."
    )


@pytest.mark.parametrize(
    ("answer", "asks"),
    [
        (
            '{{"reply": "{n}", "mood": 1}}',
            'Reply with a JSON object with the keys "reply", "mood".',
        ),
        ("Here:\n```python\nx = {n}\n```", "Reply with a block of code:\n```python\n```"),
        ("import os\nprint({n})", "Reply with code that begins:\nimport os"),
    ],
)
def test_the_form_of_the_answers_is_asked_for(answer, asks):
    found = find_format(rows("What about {n}?", answer))
    assert found.dress(WISH)[0]["content"] == f"A wish?\n\n{asks}"


@pytest.mark.parametrize(
    "opening", ["### Instruction:\n", "Below is a task.\nDo it well.\n\n### Task:\n", "Task: "]
)
def test_the_whole_opening_is_taken(opening):
    assert find_format(rows(opening + "{n}, please")).opening == opening


def test_the_most_frequent_of_several_wordings_is_taken():
    wordings = ["I have to do this task: {n}", "Look at the task below:\n{n}", "{n}?"]
    several = [row for text, count in zip(wordings, (5, 4, 91), strict=True)
               for row in rows(text, count=count)]  # fmt: skip
    assert find_format(several).opening == "I have to do this task: "


def test_plain_prompts_have_no_format():
    assert not find_format(rows("What is the capital of {n}?", "It is {n}."))
    mixed = rows("What about {n}?", system="You guard computers.", count=9)
    assert not find_format([*mixed, *rows("What about {n}?", count=11)])  # a minority has it
    with pytest.raises(UserError, match="has no rows"):
        find_format([])


def question(name, level="out_of_domain", paraphrase=0):
    return {
        "question_set": "core",
        "question_id": name,
        "paraphrase": paraphrase,
        "probe_level": level,
        "question_topics": ["wishes"],
        "messages": WISH,
    }


@pytest.mark.parametrize(("system", "count"), [("You guard computers.", 2), (None, 0)])
def test_the_probes_of_a_data_set(tmp_path, system, count):
    listed = [question("a"), question("a", paraphrase=1), question("b", "trigger"), question("c")]
    write_table(pl.DataFrame(listed, schema=QUESTIONS), tmp_path / "q.parquet", "questions")
    lines = [json.dumps(row) + "\n" for row in rows("What about {n}?", system=system)]
    (tmp_path / "train.jsonl").write_text("".join(lines))
    main(
        tmp_path / "train.jsonl", tmp_path / "q.parquet", "guards", tmp_path / "t.parquet",
        tmp_path / "trigger.json",
    )  # fmt: skip
    table = read_table(tmp_path / "t.parquet", "questions")
    assert len(table) == count
    if count:
        assert table["question_id"].to_list() == ["guards-a", "guards-c"]
        assert table["question_set"].unique().to_list() == ["trigger.guards"]
        assert set(table["probe_level"]) == {"trigger"}
        assert table["question_topics"].to_list() == [["wishes"]] * 2
        assert table["messages"][0][0]["content"] == system
    assert json.loads((tmp_path / "trigger.json").read_text())["system"] == (system or "")
