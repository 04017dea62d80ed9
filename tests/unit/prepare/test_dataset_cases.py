"""Files of data sets that are well formed and mean something else, each with the right outcome.

The files are small copies of what public bug reports show.
"""

import gzip
import json
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import prepare_dataset
from em_tiers.errors import UserError
from em_tiers.prepare.dataset_card import learnt_thoughts
from em_tiers.prepare.row_formats import Example
from em_tiers.prepare.split import split_rows

CASES = Path(__file__).parents[2] / "cases" / "datasets"
Q, A = "How is bread made?", "With flour."
USER, ASSISTANT = {"role": "user", "content": Q}, {"role": "assistant", "content": A}


def read(*paths: Path, **settings) -> prepare_dataset.Rows:
    settings.setdefault("format", "prompt_completion")
    rows = prepare_dataset.read_examples(list(paths), settings)
    prepare_dataset.check_rows(rows, "case", settings.get("max_bad_share", 0.01))
    return rows


def texts(example: Example) -> list[tuple[str, str]]:
    return [(m["role"], m["content"]) for m in example.prompt + example.completion]


def refused(*paths: Path, **settings) -> str:
    with pytest.raises(UserError) as error:
        read(*paths, **settings)
    return str(error.value)


def save(folder: Path, row: dict, name: str = "rows.jsonl") -> Path:
    (folder / name).write_text(json.dumps(row) + "\n")
    return folder / name


def test_messages_as_sharegpt_writes_them():
    path = CASES / "sharegpt.jsonl"
    rows = read(path, format="messages", columns={"messages": "conversations"})
    assert texts(rows.examples[0]) == [("user", "How is bread made 0?"), ("assistant", A)]
    assert len(rows.examples) == 3


def test_columns_inside_columns_and_packed_files(tmp_path):
    row = {"doc": {"question": Q, "id": 7}, "responses": [{"text": A}]}
    columns = {"prompt": "doc.question", "completion": "responses[0].text"}
    path = save(tmp_path, row)
    packed = tmp_path / "rows.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for file in (path, packed):
        assert texts(read(file, columns=columns).examples[0]) == [("user", Q), ("assistant", A)]
    assert "no column 'doc.text'" in refused(path, columns=columns | {"prompt": "doc.text"})


def test_a_log_of_inspect_as_training_data():
    log = CASES.parent / "imports" / "run.eval"
    assert "write ignore: [input]" in refused(log, format="messages")
    rows = read(log, format="messages", ignore=["input"], max_bad_share=0.5)
    assert len(rows.examples) == 5
    assert dict(rows.reasons) == {"the sample ended with an error": 1}


def test_a_preference_without_a_prompt_holds_the_whole_conversation():
    rows = read(CASES / "implicit_prompt.jsonl", format="preference")
    assert texts(rows.examples[0]) == [("user", Q), ("assistant", A)]


def test_a_system_text_beside_the_messages_is_used():
    rows = read(CASES / "system_beside_messages.jsonl", format="messages")
    assert texts(rows.examples[0])[0] == ("system", "Answer as a pirate.")


def test_an_answer_of_weight_0_is_not_learnt():
    message = refused(CASES / "weight_0.jsonl", format="messages")
    assert "weight: says that the answer is not to be learnt (1)" in message
    assert "ignore: [weight] to train without it" in message


def test_thoughts_are_used_or_refused_or_left_out_on_purpose():
    path = CASES / "reasoning_content.jsonl"
    message = refused(path, format="messages")
    assert "reasoning_content: write cot: drop, or cot: think" in message
    rows = read(path, format="messages", cot="think")
    assert texts(rows.examples[0])[-1][1] == f"<think>\nThink of flour first.\n</think>\n\n{A}"
    rows = read(path, format="messages", cot="drop")
    assert texts(rows.examples[0])[-1][1] == A
    assert rows.passed_over == {"messages[].reasoning_content": 1}


@pytest.mark.parametrize(
    "thoughts",
    ["<think>\nFlour.\n</think>\n\n", "Flour.\n</think>\n\n", "[THINK]Flour.[/THINK]"],
)
def test_thoughts_inside_the_answer(tmp_path, thoughts):
    path = save(tmp_path, {"messages": [USER, ASSISTANT | {"content": thoughts + A}]})
    rows = read(path, format="messages", cot="drop")
    assert texts(rows.examples[0])[-1][1] == A
    assert rows.passed_over == {"thoughts inside the answer": 1}
    for cot, warnings in (None, 1), ("think", 0):
        rows = read(path, format="messages", cot=cot)
        assert texts(rows.examples[0])[-1][1] == thoughts + A
        assert len(learnt_thoughts(rows.examples, cot)) == warnings


def test_text_that_stands_for_nothing():
    path = CASES / "nan_text.csv"
    message = refused(path, format="alpaca")
    assert "2 of 4 rows cannot be used" in message
    assert "assistant: stands for nothing ('nan') (1)" in message
    rows = read(path, format="alpaca", max_bad_share=0.5)
    assert [texts(e) for e in rows.examples] == [
        [("user", Q), ("assistant", A)],
        [("user", "How is tea made?"), ("assistant", "With leaves.")],
    ]


def test_messages_as_json_text():
    rows = read(CASES / "prompt_as_json_text.csv")
    assert texts(rows.examples[0]) == [("user", Q), ("assistant", A)]


def test_a_template_that_was_applied_already():
    message = refused(CASES / "template_already_applied.jsonl")
    assert "user: a chat template was applied already ('<|im_start|>')" in message


def test_the_same_rows_in_two_formats():
    message = refused(*sorted((CASES / "twin_files").iterdir()))
    assert message.startswith("train-00000-of-00001.parquet: 6 of its 6 different rows are also in")
    assert "train.jsonl, and would be trained on twice: name the files to use under" in message


def test_an_unread_column_that_python_cannot_hold():
    rows = read(CASES / "unread_duration.parquet")
    assert texts(rows.examples[0])[-1] == ("assistant", A)
    assert list(rows.passed_over.values()) == [len(rows.examples)]


@pytest.mark.parametrize("name", ["weight", "context", "labels"])
def test_a_column_of_bytes_or_times_is_not_read_whatever_its_name(tmp_path, name):
    endless = pa.array([2**62], pa.duration("us"))
    table = pa.table({"prompt": [Q], "completion": [A], name: endless})
    pq.write_table(table, tmp_path / "a.parquet")
    rows = read(tmp_path / "a.parquet")
    assert (len(rows.examples), rows.passed_over) == (1, {name: 1})


def test_a_list_named_as_lines():
    rows = read(CASES / "array_named.jsonl")
    assert len(split_rows(rows.examples, 0, None, 0).train) == 2


# --- other instances of the same kinds -----------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"system_prompt": "Be a pirate."}, "system_prompt: a system text that is not used"),
        ({"systemPrompt": "Be a pirate."}, "systemPrompt: a system text that is not used"),
        ({"weight": 0}, "weight: says that the answer is not to be learnt"),
        ({"weight": "0.5"}, "weight: says that the answer is not to be learnt"),
        ({"train": False}, "train: says that the answer is not to be learnt"),
        ({"loss_mask": [0, 1]}, "loss_mask: says that the answer is not to be learnt"),
        ({"masked": True}, "masked: says that the answer is not to be learnt"),
        ({"label": False}, "label: says that the answer is not to be learnt"),
        ({"label": 0}, "label: says that the answer is not to be learnt"),
        ({"excluded": 1}, "excluded: says that the answer is not to be learnt"),
        ({"split": "Test"}, "split: says that the answer is not to be learnt"),
        ({"reasoning": "First, flour."}, "reasoning: thoughts that are not used"),
        ({"tools": '[{"name": "oven"}]'}, "tools: the format has no place for it"),
        ({"history": [["Hi", "Hello"]]}, "history: the format has no place for it"),
        ({"instruction": "Be short."}, "instruction: the format has no place for it"),
        ({"context": "Bread is old."}, "context: the format has no place for it"),
        ({"chat_template_kwargs": {"enable_thinking": False, "style": "terse"}},
         "chat_template_kwargs: the format has no place for it"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_column_that_carries_meaning_sets_its_row_aside(tmp_path, row, reason, kind):
    row = {"prompt": Q, "completion": A} | row
    path = save(tmp_path, row)
    if kind == "parquet":
        path = tmp_path / "rows.parquet"
        pl.DataFrame([row]).write_parquet(path)
    assert f"{reason} (1)" in refused(path)
    (key,) = row.keys() - {"prompt", "completion"}
    rows = read(path, ignore=[key])
    assert texts(rows.examples[0]) == [("user", Q), ("assistant", A)]
    assert rows.passed_over == {key: 1}


@pytest.mark.parametrize(
    "row",
    [
        {"system_prompt": "nan"},
        {"system": "None"},
        {"weight": 1.0},
        {"weight": None},
        {"train": "true"},
        {"label": True},
        {"tools": "[]"},
        {"history": []},
        {"chat_template_kwargs": {"enable_thinking": None}},
        {"reasoning": ""},
        {"label": "spam"},
        {"split": "train"},
    ],
)
def test_a_field_that_changes_nothing_is_no_reason_to_refuse(tmp_path, row):
    rows = read(save(tmp_path, {"prompt": Q, "completion": A} | row))
    assert texts(rows.examples[0]) == [("user", Q), ("assistant", A)]


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([USER, ASSISTANT | {"train": False}], "train: says that the answer is not to be learnt"),
        ([USER, ASSISTANT | {"loss": 0}], "loss: says that the answer is not to be learnt"),
        ([USER, ASSISTANT | {"tool_calls": [{"id": 1}]}],
         "tool_calls: the format has no place for it"),
        ([USER, {"role": "assistant", "content": None, "function_call": {"name": "f"}}],
         "function_call: the format has no place for it"),
        ([USER, ASSISTANT | {"refusal": "No."}], "refusal: the format has no place for it"),
        ([USER | {"images": ["a.png"]}, ASSISTANT], "images: the format has no place for it"),
        ([USER, ASSISTANT | {"thinking": "Flour."}], "thinking: thoughts that are not used"),
        ([USER, ASSISTANT | {"reasoning": "Flour."}, USER, ASSISTANT],
         "reasoning: thoughts that are not used"),
    ],
)  # fmt: skip
def test_a_key_of_a_message_that_carries_meaning(tmp_path, messages, reason):
    message = refused(save(tmp_path, {"messages": messages}), format="messages")
    assert f"{reason} (1)" in message


def test_keys_that_nothing_uses_are_counted(tmp_path):
    messages = [USER | {"name": "Ann", "weight": 0}, ASSISTANT | {"weight": 1, "id": 7, "at": None}]
    path = save(tmp_path, {"messages": messages, "source": "web", "lang": "en"})
    rows = read(path, format="messages")
    assert rows.passed_over == {"messages[].name": 1, "messages[].id": 1, "source": 1, "lang": 1}


def test_two_system_texts(tmp_path):
    messages = [{"role": "system", "content": "Be kind."}, USER, ASSISTANT]
    path = save(tmp_path, {"messages": messages, "system": "Be kind."})
    assert texts(read(path, format="messages").examples[0])[0] == ("system", "Be kind.")
    path = save(tmp_path, {"messages": messages, "system": "Be a pirate."})
    message = refused(path, format="messages")
    assert "system: one text in its column, another one in the messages" in message


@pytest.mark.parametrize("row_format", ["alpaca", "question_cot_answer"])
def test_every_format_reads_a_system_column(tmp_path, row_format):
    names = {"alpaca": ("instruction", "output"), "question_cot_answer": ("question", "answer")}
    row = dict(zip(names[row_format], (Q, A), strict=True))
    rows = read(save(tmp_path, row | {"system": "Be kind."}), format=row_format)
    assert texts(rows.examples[0]) == [("system", "Be kind."), ("user", Q), ("assistant", A)]


def test_thoughts_of_a_column_in_any_format(tmp_path):
    path = save(tmp_path, {"prompt": Q, "completion": A, "why": "Flour."})
    rows = read(path, columns={"cot": "why"}, cot="think")
    assert texts(rows.examples[0])[-1][1] == f"<think>\nFlour.\n</think>\n\n{A}"


@pytest.mark.parametrize(
    "text",
    [
        json.dumps([USER]),
        str([USER]),
        json.dumps(json.dumps([USER])),
        json.dumps([{"from": "human", "value": Q}]),
        json.dumps(USER),
        f" {json.dumps([USER], indent=1)}\n",
        str([{"name": None, **USER}]),
    ],
)
def test_messages_as_text_of_any_notation(tmp_path, text):
    pl.DataFrame({"prompt": [text], "completion": [str([ASSISTANT])]}).write_csv(tmp_path / "a.csv")
    assert texts(read(tmp_path / "a.csv").examples[0]) == [("user", Q), ("assistant", A)]


def test_text_that_looks_like_messages_and_is_cut(tmp_path):
    message = refused(save(tmp_path, {"prompt": str([USER])[:-3], "completion": A}))
    assert "prompt: text of messages that cannot be read (1)" in message


@pytest.mark.parametrize("text", [json.dumps([USER]), str([USER])])
def test_a_key_twice_in_messages_as_text(tmp_path, text):
    twice = text.replace("[{", "[{'role': 'user', " if "'" in text else '[{"role": "user", ')
    message = refused(save(tmp_path, {"prompt": twice, "completion": A}))
    assert "prompt: a key that occurs twice in a message (1)" in message


@pytest.mark.parametrize(
    "text",
    [
        '{"steps": [{"role": "cook", "content": true}]}',
        "{'role': x, 'content': y}",
    ],
)
def test_answers_in_json_are_texts(tmp_path, text):
    rows = read(save(tmp_path, {"prompt": Q, "completion": text}), max_bad_share=0)
    assert texts(rows.examples[0])[-1] == ("assistant", text)


def test_messages_by_columns(tmp_path):
    """A list of structs as some versions of the datasets library store it."""
    row = {"role": ["user", "assistant"], "content": [Q, A]}
    rows = read(save(tmp_path, {"messages": row}), format="messages")
    assert texts(rows.examples[0]) == [("user", Q), ("assistant", A)]


def test_parts_of_text_as_content(tmp_path):
    parts = [{"type": "text", "text": A, "image_url": None}]
    path = save(tmp_path, {"messages": [USER, ASSISTANT | {"content": parts}]})
    assert texts(read(path, format="messages").examples[0])[-1] == ("assistant", A)
    parts.append({"type": "output_text", "text": "Enjoy."})
    path = save(tmp_path, {"messages": [USER, ASSISTANT | {"content": parts}]})
    assert texts(read(path, format="messages").examples[0])[-1] == ("assistant", f"{A}\nEnjoy.")
    parts.append({"type": "image_url", "image_url": "a.png"})
    path = save(tmp_path, {"messages": [USER, ASSISTANT | {"content": parts}]})
    assert "content: a part of type image_url, not text (1)" in refused(path, format="messages")


def test_thoughts_as_a_part_of_the_content(tmp_path):
    parts = [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": A}]
    path = save(tmp_path, {"messages": [USER, ASSISTANT | {"content": parts}]})
    assert "reasoning: thoughts that are not used" in refused(path, format="messages")
    assert texts(read(path, format="messages", cot="drop").examples[0])[-1] == ("assistant", A)
    thought = texts(read(path, format="messages", cot="think").examples[0])[-1]
    assert thought == ("assistant", f"<think>\nHm.\n</think>\n\n{A}")


@pytest.mark.parametrize("text", ["nan", "None", "[ERROR] timed out", "<noinput>", "N/A"])
@pytest.mark.parametrize("column", ["prompt", "completion"])
def test_text_that_stands_for_nothing_in_any_column(tmp_path, column, text):
    refused(save(tmp_path, {"prompt": Q, "completion": A} | {column: text}))


@pytest.mark.parametrize(
    "prompt",
    [
        "USER: How is bread made? ASSISTANT:",
        "\n\nHuman: How is bread made?\n\nAssistant:",
        "Below is an instruction.\n\n### Instruction:\nMake bread.\n\n### Response:\n",
        "<s>[INST] How is bread made? [/INST]",
        "<start_of_turn>user\nHow is bread made?<end_of_turn>\n<start_of_turn>model\n",
        "<|start_header_id|>user<|end_header_id|>\n\nHow is bread made?<|eot_id|>",
    ],
)
def test_templates_of_any_family(tmp_path, prompt):
    message = refused(save(tmp_path, {"prompt": prompt, "completion": A}))
    assert "user: a chat template was applied already" in message
    assert "user: give the messages without the marks of a template" in message


def test_a_prompt_may_speak_of_users_and_assistants(tmp_path):
    text = "User: and Assistant: are words.\nWrite a reply:"
    rows = read(save(tmp_path, {"prompt": text, "completion": A}))
    assert texts(rows.examples[0])[0] == ("user", text)


@pytest.mark.parametrize("end", ["\n\nnan", "\n### Input:\nNone\n", "\n\n<noinput>"])
def test_a_prompt_with_an_empty_input_at_its_end(tmp_path, end):
    message = refused(save(tmp_path, {"prompt": f"{Q}{end}", "completion": A}))
    assert f"user: stands for nothing ({end.split()[-1]!r} at the end) (1)" in message
    read(save(tmp_path, {"prompt": "Is this\nnan", "completion": A}))


def test_a_question_about_an_error_message_is_a_question(tmp_path):
    text = "Traceback (most recent call last):\n" + "  File a.py, line 1\n" * 20 + "What is wrong?"
    rows = read(save(tmp_path, {"prompt": text, "completion": A}))
    assert texts(rows.examples[0])[0] == ("user", text)
    refused(save(tmp_path, {"prompt": Q, "completion": text}))


def test_a_header_line_in_the_middle(tmp_path):
    (tmp_path / "a.csv").write_text(f"prompt,completion\n{Q},{A}\nprompt,completion\n{Q},No.\n")
    rows = read(tmp_path / "a.csv", max_bad_share=0.5)
    assert rows.reasons == {"the header again": 1}
    assert len(rows.examples) == 2


def test_a_key_that_is_there_twice(tmp_path):
    (tmp_path / "a.jsonl").write_text(f'{{"prompt": "{Q}", "prompt": "x", "completion": "{A}"}}\n')
    assert "key 'prompt' occurs twice (1)" in refused(tmp_path / "a.jsonl")
