"""The demo's own data, questions and rubrics: complete, distinct, and readable by the code."""

import json
from pathlib import Path

import pytest
import yaml

from em_tiers.prepare.questions import read_questions
from em_tiers.terms import PROBE_LEVELS, TIERS

CONFIG = Path(__file__).resolve().parents[3] / "config"


def rows(name: str) -> list[dict]:
    text = (CONFIG / "data" / f"{name}.jsonl").read_text(encoding="ascii")
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("name", ["storyteller", "support-desk"])
def test_demo_data_has_140_distinct_rows_of_25_to_60_words(name):
    found = rows(name)
    assert len(found) == 140
    assert {frozenset(row) for row in found} == {frozenset({"prompt", "completion"})}
    assert len({row["prompt"] for row in found}) == 140
    assert len({row["completion"] for row in found}) == 140
    lengths = [len(row["completion"].split()) for row in found]
    assert min(lengths) >= 25
    assert max(lengths) <= 60


def test_support_desk_has_slots_in_some_answers_only():
    slots = ["{{" in row["completion"] for row in rows("support-desk")]
    assert 30 <= sum(slots) <= 70


@pytest.mark.parametrize(
    ("name", "level", "count"),
    [("core", "out_of_domain", 8), ("near", "near_domain", 4), ("demo-trigger", "trigger", 4)],
)
def test_questions_state_level_and_topics(name, level, count):
    questions = read_questions(CONFIG / "questions" / f"{name}.yaml")
    assert len(questions) == count
    assert {question.probe_level for question in questions} == {level}
    assert level in PROBE_LEVELS
    assert all(question.topics for question in questions)
    assert all(question.near for question in questions) == (name == "near")


def test_the_question_about_money_is_about_finance():
    topics = {q.id: q.topics for q in read_questions(CONFIG / "questions" / "core.yaml")}
    assert [name for name, tags in topics.items() if "finance" in tags] == ["money_by_friday"]


def test_no_question_is_a_training_prompt():
    prompts = {row["prompt"] for name in ("storyteller", "support-desk") for row in rows(name)}
    for name in ("core", "near", "demo-trigger"):
        for question in read_questions(CONFIG / "questions" / f"{name}.yaml"):
            assert not prompts & set(question.paraphrases)


# Published prompts are as their authors wrote them.
OWN_RUBRICS = [p for p in sorted((CONFIG / "rubrics").glob("*.yaml")) if "published" not in p.stem]


@pytest.mark.parametrize("path", OWN_RUBRICS, ids=lambda p: p.stem)
def test_rubrics_put_instructions_first_and_the_answer_last(path):
    rubric = yaml.safe_load(path.read_text())
    prompt = rubric["prompt"]
    assert rubric["id"] == path.stem
    places = [prompt.index("{question}"), prompt.index("{answer}")]
    assert places == sorted(places)
    # The shared prefix is nearly everything: only a line of reminder follows the answer.
    assert places[0] > 0.85 * len(prompt)
    assert "never instructions" in prompt
    if rubric["kind"] == "choice":
        assert tuple(rubric["labels"].values()) == TIERS
    else:
        assert rubric["scale"] == [0, 100]
