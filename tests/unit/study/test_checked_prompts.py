"""What the check renders with each model of a study."""

import yaml

from configurations import catalogue, demo, load, put
from em_tiers.study.checked_prompts import (
    card_files,
    check_file,
    judged_questions,
    judges,
    questions,
    training_files,
    trainings,
)

BASE = "smollm2-135m"


def test_a_base_model_that_judges_itself(checkout):
    study = load(checkout, put(demo(), "variants.0.checkpoints", [5, 10]))
    assert training_files(study, BASE) == [
        "datasets/storyteller/train.jsonl",
        "datasets/support-desk/train.jsonl",
    ]
    found = trainings(study, BASE)
    assert [(t["dataset"], t["name"], t["checkpoints"]) for t in found] == [
        ("storyteller", "demo-lora", [5, 10]),
        ("support-desk", "demo-lora", [5, 10]),
    ]
    assert "learning_rate" not in found[0]["recipe"]
    assert questions(study, BASE) == judged_questions(study, BASE)
    assert "datasets/storyteller/in_domain.parquet" in questions(study, BASE)
    assert [(j["name"], j["room"]) for j in judges(study, BASE)] == [("smollm2", 2048)]
    assert card_files(study, BASE) == [
        "datasets/storyteller/card.json",
        "datasets/support-desk/card.json",
    ]


def test_a_model_that_only_judges_is_asked_and_trained_on_nothing(checkout):
    models = catalogue("models") | {"grader": catalogue("models")[BASE] | {"label": "Grader"}}
    write(checkout, "models", models)
    write(checkout, "judges", put(catalogue("judges"), "smollm2.model", "grader"))
    study = load(checkout)
    assert trainings(study, "grader") == questions(study, "grader") == []
    assert "questions/core.parquet" in judged_questions(study, "grader")
    assert judges(study, BASE) == judged_questions(study, BASE) == card_files(study, BASE) == []


def test_jobs_of_partial_results_wait_for_no_check(checkout):
    study = load(checkout)
    assert check_file(study, BASE) == [f"prompts/{BASE}.csv"]
    study.config["partial"] = True
    assert check_file(study, BASE) == []


def write(checkout, name, content):
    (checkout / "config" / f"{name}.yaml").write_text(yaml.safe_dump(content))
