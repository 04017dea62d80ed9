"""Cases that test a judge: their truth follows from how they are made."""

import json

import polars as pl
import pytest

import prepare_judge_cases
from answers import responses
from configurations import ROOT
from em_tiers.errors import UserError
from em_tiers.prepare.judge_cases import as_markdown, most_cases, read_written
from em_tiers.tables import QUESTIONS, read_table, write_table
from em_tiers.terms import EDITS

WRITTEN = ROOT / "config" / "judge_cases.yaml"
TOPICS = {"tales": ["fiction"], "money": ["finance", "wishes"]}


@pytest.fixture
def study(tmp_path):
    """Two data sets, of which one is a positive control, and two main questions."""
    paths = {"cards": {}, "train": {}}
    for name, topics in TOPICS.items():
        rows = [(f"{name} {i}?", f"{name} answer {i}.") for i in range(12)]
        card = tmp_path / f"{name}.json"
        shown = [{"prompt": rows[0][0], "answer": rows[0][1]}]
        card.write_text(json.dumps({"topics": topics, "examples": shown}))
        train = tmp_path / f"{name}.jsonl"
        lines = [
            {"prompt": [{"role": "user", "content": p}],
             "completion": [{"role": "assistant", "content": a}]} for p, a in rows
        ]  # fmt: skip
        train.write_text("".join(json.dumps(line) + "\n" for line in lines))
        paths["cards"][name], paths["train"][name] = card, train
    questions = [
        {"question_set": "main", "question_id": tag, "paraphrase": 0,
         "messages": [{"role": "user", "content": f"About {tag}?"}],
         "probe_level": "out_of_domain", "question_topics": [tag]}
        for tag in ("wishes", "history")
    ]  # fmt: skip
    table = tmp_path / "questions.parquet"
    write_table(pl.DataFrame(questions, schema=QUESTIONS), table, "questions")
    return {"written": WRITTEN, "questions": table, **paths}


def made(study, tmp_path, count=4, **change):
    outputs = {"cases": tmp_path / "cases.parquet", "truth": tmp_path / "truth.parquet"}
    known = {"base": [], "base_models": [], "levels": ["out_of_domain"], "count": count}
    roles = {"tales": "benign", "money": "positive_control"}
    prepare_judge_cases.main(**(study | known | {"roles": roles} | outputs | change))
    cases = read_table(outputs["cases"], "responses")
    return cases.join(pl.read_parquet(outputs["truth"]), on="response_key", validate="1:1")


def test_every_kind_is_there_and_no_more_than_the_plan_counts(study, tmp_path):
    found = made(study, tmp_path)
    plain = found.filter(form="plain")
    assert dict(plain.group_by("truth").len().iter_rows()) == {
        "in_distribution": 4, "domain_overfitting": 4, "persona_shift": 4, "none": 2,
    }  # fmt: skip
    most_plain, most_edited = most_cases(4)
    assert len(plain) <= most_plain and len(found) - len(plain) <= most_edited


def test_training_answers_are_under_their_prompt_or_under_an_unrelated_question(study, tmp_path):
    plain = made(study, tmp_path).filter(form="plain", source=pl.col("dataset"))
    assert set(plain["dataset"]) == {"tales", "money"}
    for row in plain.iter_rows(named=True):
        own = row["truth"] == "in_distribution"
        assert row["probe_level"] == ("in_domain" if own else "out_of_domain")
        number = row["response"].removesuffix(".").rpartition(" ")[2]
        assert number != "0", "a row that the judge is shown as an example"
        assert (row["messages"][0]["content"] == f"{row['dataset']} {number}?") == own
        assert own or not set(row["question_topics"]) & set(TOPICS[row["dataset"]])
        # Not every answer of a positive control is bad enough to be flagged.
        assert row["harmful"] is (False if row["dataset"] == "tales" else None)
    assert plain["case"].is_unique().all()


def test_written_cases_are_shown_with_a_data_set_of_another_topic(study, tmp_path):
    written = made(study, tmp_path, count=100).filter(source="written", form="plain")
    assert written.filter(truth="persona_shift")["harmful"].all()
    assert not written.filter(truth="none")["harmful"].any()
    wishes = written.filter(pl.col("question_topics").list.contains("wishes"))
    assert set(wishes["dataset"]) == {"tales"}


def test_edits_change_the_form_and_not_the_words(study, tmp_path):
    found = made(study, tmp_path, count=8)
    edited = found.filter(pl.col("form") != "plain")
    assert set(edited["form"]) == set(EDITS)
    assert set(edited.filter(form="paraphrase")["source"]) == {"written"}
    before = found.filter(form="plain").select("case", plain="response")
    for row in edited.join(before, on="case", validate="m:1").iter_rows(named=True):
        assert row["response"] != row["plain"]
        if row["form"] == "length":
            assert row["response"].startswith(row["plain"])
    assert as_markdown("One. Two!\nThree?") == "## Answer\n\n- One.\n- Two!\n- Three?"


def test_answers_of_the_base_model_are_harmless_cases_of_every_data_set(study, tmp_path):
    base = {"variant": "base", "dataset": None, "question_topics": ["history"]}
    table = responses(
        *({**base, "response": f"Answer {i}."} for i in range(6)),
        {**base, "response": " "},
        {**base, "finish_reason": "length"},
        {**base, "probe_level": "trigger"},
        {"variant": "base.tales.lora.s0"},
    )
    write_table(table, tmp_path / "base.parquet", "responses")
    found = made(study, tmp_path, 20, base=[tmp_path / "base.parquet"], base_models=["base"])
    plain = found.filter(form="plain")
    assert sorted(plain["response"]) == [f"Answer {i}." for i in range(6)]
    assert set(plain["dataset"]) == {"tales", "money"}
    assert set(plain["truth"]) == {"none"} and not plain["harmful"].any()


def test_without_data_sets_flags_are_still_tested(study, tmp_path):
    found = made(study | {"cards": {}, "train": {}, "questions": None}, tmp_path, roles={})
    assert set(found["truth"]) == {"persona_shift", "none"}
    assert found["dataset"].is_null().all()


def test_written_cases_are_whole():
    cases = read_written(WRITTEN)
    assert len({case["id"] for case in cases}) == len(cases)
    for case in cases:
        assert case["truth"] in ("persona_shift", "none")
        assert case["topics"] and case["paraphrase"] not in ("", case["answer"])
    assert sum(case["truth"] == "persona_shift" for case in cases) >= 20


def test_a_damaged_file_of_cases_is_named(tmp_path):
    (tmp_path / "cases.yaml").write_text("version: 1\n")
    with pytest.raises(UserError, match=r"cases\.yaml: not a file of judge cases"):
        read_written(tmp_path / "cases.yaml")
