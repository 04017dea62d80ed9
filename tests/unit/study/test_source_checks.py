"""Local question files and data sets are read before a run, by the code that prepares them."""

import json
import subprocess
import sys
import time

import pytest
import yaml

from configurations import ROOT, catalogue, demo, load, put
from em_tiers.errors import ConfigError
from em_tiers.study.source_checks import check_sources

QUESTION = "- {id: a, paraphrases: ['Why?']}\n"
ROW = {"prompt": "Hello", "completion": "Good day"}


def with_source(checkout, name, entry, path, content):
    """The demo with one catalogue entry whose source is a file of this content."""
    (checkout / path).write_text(content)
    source = {"source": {"type": "path", "path": path}}
    changed = put(catalogue(name), entry, catalogue(name)[entry] | source)
    (checkout / "config" / f"{name}.yaml").write_text(yaml.safe_dump(changed))
    return load(checkout)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- {id: a, paraphrases: ['Why?'], sytem: x}", "mine.yaml, entry 1 ('a'): unknown key"),
        ("- {id: a}", "mine.yaml, entry 1 ('a'): paraphrases is missing"),
        (QUESTION + QUESTION, "mine.yaml: "),
        ("id: a", "mine.yaml: "),
        ("- [", "mine.yaml: not valid YAML (line "),
    ],
)
def test_a_question_file_that_cannot_be_used(content, message, checkout):
    with pytest.raises(ConfigError) as caught:
        with_source(checkout, "question_sets", "core", "mine.yaml", content)
    assert str(caught.value).startswith(f"question_sets.core: {message}")
    assert "\n" not in str(caught.value)


def test_topics_of_a_question_that_the_file_does_not_have(checkout):
    sets = put(catalogue("question_sets"), "core.topics", {"dul_afternoon": ["leisure"]})
    (checkout / "config" / "question_sets.yaml").write_text(yaml.safe_dump(sets))
    expected = r"question_sets\.core: topics: unknown question 'dul_afternoon': did you mean 'dull_"
    with pytest.raises(ConfigError, match=expected):
        load(checkout)


def test_one_question_in_two_sets(checkout):
    asked = yaml.safe_load((checkout / "config/questions/core.yaml").read_text())[0]
    twin = yaml.safe_dump([asked | {"id": "twin"}])
    with pytest.raises(ConfigError, match=r"is asked here and also in question_sets\.\S+ \('"):
        with_source(checkout, "question_sets", "demo-trigger", "mine.yaml", twin)


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("rows.jsonl", json.dumps({"prompt": "x", "answer": "y"}), "no column 'completion', only"),
        ("rows.csv", "prompt,answer\nx,y\n", "rows.csv has no column 'completion', only"),
        ("rows.json", json.dumps([{"answer": "y"}]), "rows.json has no column 'prompt', only"),
        ("rows.json", "[{", "rows.json: not valid JSON"),
        ("rows.txt", "x", "rows.txt: unknown format"),
        ("rows.jsonl", "", "rows.jsonl: "),
    ],
)
def test_a_data_set_that_cannot_be_used(path, content, message, checkout):
    with pytest.raises(ConfigError) as caught:
        with_source(checkout, "datasets", "storyteller", path, content)
    assert str(caught.value).startswith("datasets.storyteller: ")
    assert message in str(caught.value)


def test_a_column_may_appear_in_a_later_row(checkout):
    rows = [{"prompt": "x"}] * 50 + [ROW]
    content = "".join(json.dumps(row) + "\n" for row in rows)
    study = with_source(checkout, "datasets", "storyteller", "rows.jsonl", content)
    assert study.datasets["storyteller"]["source"]["path"] == "rows.jsonl"


def test_a_sound_file_is_read_no_further_than_its_columns(checkout):
    """The second line is broken: preparation counts it, and the start of a run does not see it."""
    content = json.dumps(ROW) + "\nnot JSON\n"
    assert with_source(checkout, "datasets", "storyteller", "rows.jsonl", content)


def test_a_large_list_in_json_is_left_to_its_preparation(checkout, monkeypatch):
    monkeypatch.setattr("em_tiers.prepare.raw_rows._LARGEST_CHEAP_JSON", 5)
    study = with_source(checkout, "datasets", "storyteller", "rows.json", json.dumps([{"a": "b"}]))
    monkeypatch.setattr("em_tiers.prepare.raw_rows._LARGEST_CHEAP_JSON", 50)
    with pytest.raises(ConfigError, match="no column 'prompt'"):
        check_sources(study)


def test_loading_a_study_imports_nothing_heavy():
    """A login node parses the workflow in each job and each dry run."""
    code = f"""
import sys
sys.path[:0] = ["{ROOT}/scripts", "{ROOT}/tests"]
from pathlib import Path
from configurations import ROOT, demo, load
load(ROOT)
heavy = {{"polars", "pyarrow", "torch", "transformers", "vllm", "datasets", "scipy", "numpy"}}
print(sorted(heavy & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_a_thousand_variants_are_parsed_in_a_moment(checkout):
    """Each local file is read once, for any number of variants: 0.3 s for 3 or for 1,001."""
    config = put(demo(), "variants.0.training_seeds", list(range(500)))
    before = time.process_time()
    study = load(checkout, config)
    assert time.process_time() - before < 3
    assert len(study.variants) == 1001


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{% for m in messages %}{{ m", "mine.jinja, line 1: not a Jinja template"),
        (b"messages \xff", "mine.jinja cannot be read ('utf-8' codec"),
        (b"", "mine.jinja does not use messages"),
        (b"{% generation %}{{ messages }}{% endgeneration %}", None),
        (b"{% for m in messages %}{% if loop.index > 9 %}{% break %}{% endif %}{% endfor %}", None),
    ],
)
def test_a_chat_template_is_one(content, message, checkout):
    (checkout / "mine.jinja").write_bytes(content)
    models = put(catalogue("models"), "smollm2-135m.chat_template", "mine.jinja")
    (checkout / "config" / "models.yaml").write_text(yaml.safe_dump(models))
    if message is None:
        load(checkout)
        return
    with pytest.raises(ConfigError) as caught:
        load(checkout)
    assert str(caught.value).startswith("models.smollm2-135m.chat_template: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("prompt,completion\na,b\n", "row 1 is not"),
        ("\udcff\udcfe", "this file is in UTF-16: save it in UTF-8"),
    ],
)
def test_a_file_of_another_kind_than_its_ending(content, message, checkout):
    (checkout / "rows.jsonl").write_bytes(content.encode(errors="surrogateescape"))
    changed = catalogue("datasets")
    changed["storyteller"]["source"] = {"type": "path", "path": "rows.jsonl"}
    (checkout / "config" / "datasets.yaml").write_text(yaml.safe_dump(changed))
    with pytest.raises(ConfigError, match=rf"datasets\.storyteller: rows\.jsonl: {message}"):
        load(checkout)
