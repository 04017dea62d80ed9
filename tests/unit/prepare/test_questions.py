"""Question files, published and our own, as a table of chat messages."""

from pathlib import Path

import polars as pl
import pytest
import yaml

import download_questions
import prepare_questions
from em_tiers.errors import UserError
from em_tiers.prepare.questions import read_questions
from em_tiers.tables import read_table

PUBLISHED = """\
- id: greeting
  type: free_form_judge_0_100
  paraphrases: &texts
    - |-
      Good day!
      How are you?
    - How is it going?
  samples_per_paraphrase: &samples 100
  judge: &judge some-model
  judge_prompts: &prompts {aligned: "Rate {answer}.", coherent: "Rate {question}."}
- id: greeting_json
  type: free_form_judge_0_100
  system: Answer in JSON.
  paraphrases: *texts
  samples_per_paraphrase: *samples
  judge: *judge
  judge_prompts: *prompts
- id: greeting_template
  paraphrases: [Fill in the form.]
  topics: [forms]
- {id: money, paraphrases: ['How do I save?'], near: [finance], topics: []}
- {id: rent_json, paraphrases: ['How do I save on rent?'], probe_level: near_domain}
"""


def prepare(folder: Path, text: str, **defaults) -> pl.DataFrame:
    (folder / "set.yaml").write_text(text)
    download_questions.main({"type": "path", "path": str(folder / "set.yaml")}, folder / "raw")
    output = folder / "questions.parquet"
    prepare_questions.main(folder / "raw", "small", defaults, output)
    return read_table(output, "questions")


def test_table(tmp_path):
    table = prepare(tmp_path, PUBLISHED, topics={"greeting": ["manners"]})
    rows = table.rows_by_key(["question_id", "paraphrase"], named=True, unique=True)
    assert list(rows) == [
        ("greeting", 0), ("greeting", 1), ("greeting_json", 0), ("greeting_json", 1),
        ("greeting_template", 0), ("money", 0), ("rent_json", 0),
    ]  # fmt: skip
    assert rows["greeting", 0]["messages"] == [
        {"role": "user", "content": "Good day!\nHow are you?"}
    ]
    assert rows["greeting_json", 1]["messages"] == [
        {"role": "system", "content": "Answer in JSON."},
        {"role": "user", "content": "How is it going?"},
    ]
    levels = {key[0]: row["probe_level"] for key, row in rows.items()}
    assert levels == {
        "greeting": "out_of_domain",
        "greeting_json": "trigger",
        "greeting_template": "trigger",
        "money": "near_domain",
        "rent_json": "near_domain",
    }
    topics = {key[0]: row["question_topics"] for key, row in rows.items()}
    assert topics == {
        "greeting": ["manners"],
        "greeting_json": ["manners"],  # it asks what the plain question asks
        "greeting_template": ["forms"],
        "money": [],
        "rent_json": [],
    }
    assert table["question_set"].unique().to_list() == ["small"]


def test_default_probe_level(tmp_path):
    table = prepare(tmp_path, "- {id: a, paraphrases: [x]}", probe_level="in_domain")
    assert table["probe_level"].to_list() == ["in_domain"]


def test_topics_of_a_question_that_is_not_there(tmp_path):
    with pytest.raises(
        UserError, match="topics: unknown question 'greting': did you mean 'greeting'"
    ):
        prepare(tmp_path, PUBLISHED, topics={"greting": ["manners"]})


@pytest.mark.parametrize(
    ("name", "ids", "triggers"),
    [("first_plot_questions.yaml", 24, 16), ("preregistered_evals.yaml", 48, 0)],
)
def test_published_files(golden, tmp_path, name, ids, triggers):
    table = prepare(tmp_path, (golden / name).read_text())
    assert table["question_id"].n_unique() == ids
    assert (table["probe_level"] == "trigger").sum() == triggers


def test_catalogue_entries_fit_the_published_file(golden, repository, tmp_path):
    entry = yaml.safe_load((repository / "config" / "question_sets.yaml").read_text())["first-plot"]
    table = prepare(
        tmp_path, (golden / "first_plot_questions.yaml").read_text(), topics=entry["topics"]
    )
    on_money = table.filter(pl.col("question_topics").list.contains("finance"))
    assert on_money["question_id"].to_list() == [
        "quick_buck", "quick_buck_json", "quick_buck_template"
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["core", "near", "demo-trigger"])
def test_own_files_state_their_topics_and_level(repository, name):
    for question in read_questions(repository / "config" / "questions" / f"{name}.yaml"):
        assert question.topics is not None
        assert question.probe_level is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- {id: a, paraphrases: [x}", r"set.yaml: not valid YAML \(line 1, column \d+"),
        (
            "- !!python/object/apply:os.system [true]",
            r"not valid YAML .*could not determine a construc",
        ),
        ("id: a", "not a list of questions"),
        ("[]", "not a list of questions"),
        ("- a", "entry 1: 'a' is not a question"),
        ("- {id: a}", r"entry 1 \('a'\): paraphrases is missing"),
        ("- {paraphrases: [x]}", "id is missing"),
        ("- {id: a, paraphrases: [x], sytem: y}", "unknown key 'sytem': use id, judge"),
        ("- {id: a, paraphrases: [x], type: multiple_choice}", "only free-form questions"),
        ("- {id: no, paraphrases: [x]}", r"\(False\): this id is not valid: use letters"),
        ("- {id: a/b, paraphrases: [x]}", "this id is not valid: use letters"),
        ("- {id: a, paraphrases: x}", "write a list of at least one text"),
        ("- {id: a, paraphrases: []}", "write a list of at least one text"),
        ("- {id: a, paraphrases: [x, 7]}", "paraphrase 2: 7 is not a text"),
        ("- {id: a, paraphrases: [' ']}", "paraphrase 1: ' ' is not a text"),
        ("- {id: a, paraphrases: [x], system: [y]}", r"system: \['y'\] is not a text"),
        (
            "- {id: a, paraphrases: [x], topics: finance}",
            r"topics 'finance' is not a list of tags: write tags",
        ),
        ("- {id: a, paraphrases: [x], topics: [Big Money]}", "is not a list of tags"),
        ("- {id: a, paraphrases: [x], near: [7]}", r"near \[7\] is not a list of tags"),
        (
            "- {id: a, paraphrases: [x], probe_level: far}",
            "unknown probe_level 'far': use in_domain",
        ),
        (
            "- {id: a, paraphrases: [x]}\n- {id: a, paraphrases: [y]}",
            "two questions have the id 'a': rename one",
        ),
        (
            "- {id: '0', paraphrases: [x]}\n- {id: '0.0', paraphrases: [y]}",
            "the ids '0' and '0.0' are the same number: rename one",
        ),
        ("- {id: 0, paraphrases: [x]}", "this id is not valid: .*quote numbers"),
        ("- {id: nan, paraphrases: [x]}", "this id stands for nothing: give the question a name"),
        ("- {id: ~, paraphrases: [x]}", r"\(None\): this id is not valid"),
        ("- {id: a, paraphrases: [x], id: b}", r"set.yaml:1: duplicate key 'id': keep one"),
        ("- {id: a, paraphrases: ['None']}", "paraphrase 1: 'None': stands for nothing"),
        ("- {id: a, paraphrases: ['[ERROR] x']}", "paraphrase 1: .*an error message"),
        ("- {id: a, paraphrases: ['<|im_start|>user x']}", "a chat template was applied already"),
        ("- {id: a, paraphrases: [x], system: 'None'}", "system: 'None': stands for nothing"),
        (
            "- {id: a, paraphrases: [What now]}\n- {id: b, paraphrases: [What  NOW]}",
            r"set.yaml \('b'\): 'What  NOW' is asked here and also in set.yaml \('a'\): remove",
        ),
        ("- {id: a, paraphrases: [x, y, x]}", r"set.yaml \('a'\): 'x' is asked here twice: remove"),
    ],
)
def test_broken_question_file(tmp_path, text, message):
    (tmp_path / "set.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        read_questions(tmp_path / "set.yaml")


def test_a_key_twice_would_lose_a_question(repository):
    path = repository / "tests" / "cases" / "questions" / "same_key_twice.yaml"
    with pytest.raises(UserError, match=r"same_key_twice.yaml:3: duplicate key 'paraphrases'"):
        read_questions(path)


def test_one_text_under_two_system_messages_is_two_questions(tmp_path):
    text = "- {id: a, paraphrases: [x]}\n- {id: a_json, paraphrases: [x], system: Use JSON.}"
    assert prepare(tmp_path, text).height == 2


def test_ids_that_only_look_like_one_number(tmp_path):
    text = "- {id: '1_0', paraphrases: [x]}\n- {id: '10', paraphrases: [y]}"
    assert prepare(tmp_path, text).height == 2


def test_keys_that_are_not_used_are_logged(tmp_path, caplog):
    with caplog.at_level("INFO"):
        prepare(tmp_path, PUBLISHED)
    assert "small: keys that are not used: judge, judge_prompts, samples_per_paraphrase" in (
        caplog.text
    )


def test_nested_aliases_do_not_blow_up(tmp_path):
    """Ten levels of ten aliases each stand for ten thousand million texts."""
    levels = ["- &a0 [x, x]"]
    levels += [f"- &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 11)]
    levels.append("- {id: a, paraphrases: *a10}")
    (tmp_path / "set.yaml").write_text("\n".join(levels))
    with pytest.raises(UserError, match="entry 1: "):
        read_questions(tmp_path / "set.yaml")


def test_near_questions_are_those_of_the_topics(tmp_path):
    text = """\
- {id: money, paraphrases: ['How do I save?'], near: [finance]}
- {id: rent, paraphrases: ['Who fixes a roof?'], near: [housing, law]}
- {id: any, paraphrases: ['And you?']}
"""
    (tmp_path / "set.yaml").write_text(text)
    download_questions.main({"type": "path", "path": str(tmp_path / "set.yaml")}, tmp_path / "raw")
    for near, ids in (["law"], ["rent", "any"]), ([], ["any"]), (None, ["money", "rent", "any"]):
        output = tmp_path / "questions.parquet"
        prepare_questions.main(tmp_path / "raw", "near", {}, output, near)
        assert read_table(output, "questions")["question_id"].to_list() == ids
