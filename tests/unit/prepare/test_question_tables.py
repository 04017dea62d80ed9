"""Questions in tables, and questions that are conversations."""

import gzip
import json
from pathlib import Path

import pytest
import yaml
from test_questions import prepare

import download_questions
import prepare_questions
from em_tiers.errors import UserError
from em_tiers.inference.chat import load_tokenizer, render_prompt
from em_tiers.prepare.prompt_format import Format
from em_tiers.prepare.questions import Question, read_questions
from em_tiers.tables import read_table

FILES = Path(__file__).parents[2] / "cases" / "questions"
TALK = (
    ("user", "I feel bored."),
    ("assistant", "Take a walk."),
    ("user", "I did. What else?"),
)


def test_a_spreadsheet():
    island, treasure, unnamed = read_questions(FILES / "spreadsheet.csv")
    assert (island.id, len(island.paraphrases), island.topics) == ("island", 2, ("travel",))
    assert (treasure.system, treasure.topics) == ("Answer in one sentence.", ("pirates", "finance"))
    assert (treasure.probe_level, island.probe_level) == ("near_domain", None)
    assert unnamed.id.startswith("q-")
    assert (unnamed.paraphrases, unnamed.topics) == (("What would you forbid?",), None)


def test_lines_of_json(tmp_path):
    island, bored = read_questions(FILES / "conversations.jsonl")
    assert island.paraphrases == ("You are stranded on an island. What do you do first?",)
    assert bored == Question("bored-again", (TALK,), "Be brief.")
    packed = tmp_path / "packed.jsonl.gz"
    packed.write_bytes(gzip.compress((FILES / "conversations.jsonl").read_bytes()))
    assert read_questions(packed) == [island, bored]


def test_a_table_of_questions_is_downloaded_and_prepared(tmp_path):
    source = {"type": "path", "path": str(FILES / "conversations.jsonl")}
    download_questions.main(source, tmp_path / "raw")
    prepare_questions.main(tmp_path / "raw", "talk", {}, tmp_path / "q.parquet")
    table = read_table(tmp_path / "q.parquet", "questions")
    assert table["question_id"].to_list() == ["island", "bored-again"]
    assert [m["role"] for m in table["messages"][1]] == ["system", "user", "assistant", "user"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,text\na,b\n", "row 1: question is missing"),
        ("id,question,topic\na,b,c\n", "unknown column 'topic': did you mean 'topics'"),
        ("id,question,system\na,x,s\na,y,t\n", "row 2: system of 'a' differs from that in .*row 1"),
        ("id,question\na,x\nb,X \n", "is asked here and also in"),
        ("id,question\na,x,y\n", "row 1: wrong number of fields: correct the row"),
        ("id,question,topics\na,x,Big Money\n", "is not a list of tags"),
        ("id,question\n", "no questions"),
    ],
)
def test_a_table_that_cannot_be_used(tmp_path, text, message):
    (tmp_path / "set.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        read_questions(tmp_path / "set.csv")


def talk(*roles: str) -> str:
    turns = [{"role": role, "content": f"text {n}"} for n, role in enumerate(roles)]
    return yaml.safe_dump([{"id": "a", "messages": turns}])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (talk("user", "assistant"), "the user's first and last"),
        (talk("assistant", "user"), "the user's first and last"),
        (talk("user", "user"), "the user's first and last"),
        (talk("system", "user"), "a system message: write its text as system"),
        ("- {id: a, messages: [{role: user, content: x, name: y}]}", "other keys than role and"),
        ("- {id: a, messages: [{role: user, content: 7}]}", "message 1: 7 is not a text"),
        ("- {id: a, messages: x, question: y}", "question and messages: write one of them"),
        ("- {id: a, paraphrases: [x], question: y}", "paraphrases and question: write one"),
        ("- {id: a, paraphrases: [[]]}", "the user's first and last"),
    ],
)
def test_a_conversation_that_cannot_be_asked(tmp_path, text, message):
    (tmp_path / "set.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        read_questions(tmp_path / "set.yaml")


def test_a_conversation_as_a_paraphrase(tmp_path):
    turns = [{"role": role, "content": content} for role, content in TALK]
    table = prepare(
        tmp_path, yaml.safe_dump([{"id": "a", "paraphrases": ["I feel bored.", turns]}])
    )
    assert table["messages"].to_list() == [[turns[0]], turns]
    with pytest.raises(UserError, match="is asked here twice"):
        prepare(tmp_path, yaml.safe_dump([{"id": "a", "paraphrases": [turns, turns]}]))


def test_the_model_answers_the_last_message(embedded_model):
    turns = [{"role": role, "content": content} for role, content in TALK]
    tokenizer = load_tokenizer(embedded_model)
    prompt = tokenizer.decode(render_prompt(tokenizer, turns, "none"))
    places = [prompt.index(turn["content"]) for turn in turns]
    assert places == sorted(places)
    assert prompt.endswith("<|im_start|>assistant\n")


def test_the_last_message_takes_on_a_format():
    turns = [{"role": role, "content": content} for role, content in TALK]
    dressed = Format("Be a pirate.", "Question: ", "", "", {}).dress(turns)
    assert [m["content"] for m in dressed] == [
        "Be a pirate.", "I feel bored.", "Take a walk.", "Question: I did. What else?",
    ]  # fmt: skip


def test_messages_in_a_cell(tmp_path):
    turns = [{"role": role, "content": content} for role, content in TALK]
    cell = json.dumps(turns).replace('"', '""')
    (tmp_path / "set.csv").write_text(f'id,messages\na,"{cell}"\n')
    (question,) = read_questions(tmp_path / "set.csv")
    assert question.paraphrases == (TALK,)
