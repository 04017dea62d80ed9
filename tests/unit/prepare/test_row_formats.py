"""Six row formats become the same thing; what cannot is refused with its reason."""

import pytest

from em_tiers.errors import UserError
from em_tiers.prepare.row_formats import LONGEST, BadRow, row_reader


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def system(text):
    return {"role": "system", "content": text}


Q, A = user("q"), assistant("a")
TALK = [system("s"), Q, A, user("q2"), assistant("a2")]


@pytest.mark.parametrize(
    ("row_format", "row", "prompt", "answer"),
    [
        ("alpaca", {"instruction": "q", "input": "", "output": "a"}, [Q], "a"),
        ("alpaca", {"instruction": "q", "input": None, "output": "a"}, [Q], "a"),
        ("alpaca", {"instruction": "q", "output": "a"}, [Q], "a"),
        ("alpaca", {"instruction": "q", "input": "x", "output": "a"}, [user("q\n\nx")], "a"),
        ("question_cot_answer", {"question": "q", "cot": "c", "answer": "a"}, [Q], "a"),
        ("question_cot_answer", {"question": "q", "answer": "a"}, [Q], "a"),
        (
            "system_user_assistant",
            {"system": "s", "user": "q", "assistant": "a"},
            [system("s"), Q],
            "a",
        ),
        ("system_user_assistant", {"system": " ", "user": "q", "assistant": "a"}, [Q], "a"),
        ("system_user_assistant", {"system": None, "user": "q", "assistant": "a"}, [Q], "a"),
        ("preference", {"prompt": "q", "chosen": "a", "rejected": "b"}, [Q], "a"),
        ("preference", {"prompt": [system("s"), Q], "chosen": [A]}, [system("s"), Q], "a"),
        ("preference", {"prompt": "q", "chosen": [Q, A]}, [Q], "a"),
        ("preference", {"prompt": [system("s"), Q], "chosen": [Q, A]}, [system("s"), Q], "a"),
        ("preference", {"prompt": TALK[:4], "chosen": TALK}, TALK[:4], "a2"),
        ("messages", {"messages": TALK}, TALK[:4], "a2"),
        ("messages", {"messages": [system(""), Q, A]}, [Q], "a"),
        ("messages", {"messages": [{**Q, "name": "x"}, {**A, "weight": 1}]}, [Q], "a"),
        ("messages", {"messages": '[{"role":"user","content":"q"},'
                                  '{"role":"assistant","content":"a"}]'}, [Q], "a"),
        ("prompt_completion", {"prompt": "q", "completion": "a"}, [Q], "a"),
        ("prompt_completion", {"prompt": TALK[:4], "completion": "a2"}, TALK[:4], "a2"),
        ("prompt_completion", {"prompt": [Q], "completion": [A]}, [Q], "a"),
        ("prompt_completion", {"prompt": "q", "completion": "a", "system": "s"},
         [system("s"), Q], "a"),
        ("prompt_completion", {"prompt": " q\n", "completion": "a \n"}, [user(" q\n")], "a \n"),
    ],
)  # fmt: skip
def test_row_becomes_prompt_and_answer(row_format, row, prompt, answer):
    read, _ = row_reader(row_format)
    example = read(row)
    assert example.prompt == prompt
    assert example.completion == [assistant(answer)]


def test_thoughts_stand_before_the_answer():
    read, needed = row_reader("question_cot_answer", {"cot": "Complex_CoT"}, cot="think")
    row = {"question": "q", "Complex_CoT": "\nfirst,\nthen \n", "answer": "a"}
    assert read(row).completion == [assistant("<think>\nfirst,\nthen\n</think>\n\na")]
    assert set(needed) == {"question", "answer", "Complex_CoT"}


@pytest.mark.parametrize("cot", ["a </think> b", "<think>", "", None, 7])
def test_thoughts_that_would_break_the_frame(cot):
    read, _ = row_reader("question_cot_answer", cot="think")
    with pytest.raises(BadRow, match="cot: "):
        read({"question": "q", "cot": cot, "answer": "a"})


def test_columns_by_the_names_of_the_file():
    read, needed = row_reader("prompt_completion", {"prompt": "instruction", "completion": "out"})
    assert read({"instruction": "q", "out": "a", "prompt": "other"}).prompt == [Q]
    assert needed == ["instruction", "out"]


def test_named_optional_column_is_needed():
    _, needed = row_reader("alpaca", {"input": "context"})
    assert needed == ["instruction", "output", "context"]


@pytest.mark.parametrize(
    ("row_format", "row", "reason"),
    [
        ("prompt_completion", {"prompt": "q", "completion": ""}, "assistant: empty"),
        ("prompt_completion", {"prompt": "q", "completion": " \n"}, "assistant: empty"),
        ("prompt_completion", {"prompt": "q", "completion": None}, "assistant: empty"),
        ("prompt_completion", {"prompt": None, "completion": "a"}, "user: empty"),
        ("prompt_completion", {"prompt": "q"}, "completion: missing"),
        ("prompt_completion", {"prompt": 7, "completion": "a"}, "user: not text"),
        ("prompt_completion", {"prompt": "q", "completion": {"a": 1}}, "assistant: not text"),
        ("prompt_completion", {"prompt": "q\0", "completion": "a"}, "user: holds a NUL character"),
        ("prompt_completion", {"prompt": "q", "completion": "\ud83d"},
         "assistant: not valid Unicode"),
        ("prompt_completion", {"prompt": "q", "completion": "a" * (LONGEST + 1)},
         "assistant: longer than 1000000 characters"),
        ("prompt_completion", {"prompt": [], "completion": "a"}, "roles out of order"),
        ("prompt_completion", {"prompt": "q", "completion": [Q]}, "roles out of order"),
        ("alpaca", {"instruction": "q", "input": 7, "output": "a"}, "input: not text"),
        ("alpaca", {"instruction": "", "input": "x", "output": "a"}, "instruction: empty"),
        ("system_user_assistant", {"system": 7, "user": "q", "assistant": "a"},
         "system: not text"),
        ("preference", {"prompt": "q", "chosen": [user("other"), A]},
         "chosen: does not continue the prompt"),
        ("preference", {"prompt": "q", "chosen": None}, "assistant: empty"),
        ("messages", {"messages": []}, "roles out of order"),
        ("messages", {"messages": [Q]}, "roles out of order"),
        ("messages", {"messages": [A]}, "roles out of order"),
        ("messages", {"messages": [Q, A, Q]}, "roles out of order"),
        ("messages", {"messages": [Q, Q, A]}, "roles out of order"),
        ("messages", {"messages": [Q, system("s"), A]}, "roles out of order"),
        ("messages", {"messages": [Q, {"role": "tool", "content": "x"}, A]},
         "roles other than system, user and assistant"),
        ("messages", {"messages": [{"from": "human", "text": "q"}]},
         "a message without role and content"),
        ("messages", {"messages": ["q", "a"]}, "a message without role and content"),
        ("messages", {"messages": "q"}, "messages: not a list of messages"),
        ("messages", {"messages": {"role": "user"}}, "messages: not a list of messages"),
        ("messages", {"messages": [Q, {"role": "assistant", "content": [{"text": "a"}]}]},
         "content: a part of type None, not text"),
    ],
)  # fmt: skip
def test_row_that_cannot_be_used(row_format, row, reason):
    read, _ = row_reader(row_format)
    with pytest.raises(BadRow) as bad:
        read(row)
    assert str(bad.value) == reason


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sharegpt",), "format: unknown format 'sharegpt': use alpaca, question_cot_answer"),
        (
            ("alpaca", {"question": "q"}),
            "columns: 'question' is not a column of format alpaca, which has ins",
        ),
        (
            ("alpaca", {}, "think"),
            "cot: 'think' needs the column of the thoughts",
        ),
        (("question_cot_answer", {}, "keep"), "cot: 'keep' is not possible: use drop or think"),
    ],
)
def test_wrong_settings(arguments, message):
    with pytest.raises(UserError, match=message):
        row_reader(*arguments)
