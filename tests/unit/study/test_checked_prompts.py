"""What the check renders for each fine-tune, batch and judge of a study."""

from configurations import demo, load, put
from em_tiers.study import checked_prompts as checked

BASE = "smollm2-135m"
TUNED = f"{BASE}.storyteller.demo-lora"


def test_a_fine_tune_is_checked_with_its_rows_and_its_whole_recipe(checkout):
    study = load(checkout, put(demo(), "variants.0.checkpoints", [5, 10]))
    assert checked.model_of(study, "finetune", TUNED) == BASE
    assert checked.training_files(study, "finetune", TUNED) == ["datasets/storyteller/train.jsonl"]
    [training] = checked.trainings(study, "finetune", TUNED)
    assert (training["dataset"], training["name"]) == ("storyteller", "demo-lora")
    assert training["checkpoints"] == [5, 10]
    # What trains again is checked again: Snakemake would leave the training out otherwise.
    assert training["recipe"]["learning_rate"] == 1.0e-3
    assert checked.questions(study, "finetune", TUNED) == []
    assert checked.judges(study, "finetune", TUNED) == []
    assert checked.sampled(study, "finetune") == {}


def test_a_batch_is_checked_with_its_questions(checkout):
    study = load(checkout)
    batch = f"{BASE}.storyteller.0"
    assert checked.model_of(study, "sample", batch) == BASE
    assert "datasets/storyteller/in_domain.parquet" in checked.questions(study, "sample", batch)
    assert checked.sampled(study, "sample")["room"] == 2048
    assert checked.sampled(study, "sample")["new_tokens"] == 64
    assert checked.trainings(study, "sample", batch) == []


def test_a_judge_is_checked_with_all_questions_and_cards(checkout):
    study = load(checkout)
    assert checked.model_of(study, "judge", "smollm2") == BASE
    assert [(j["name"], j["room"]) for j in checked.judges(study, "judge", "smollm2")] == [
        ("smollm2", 2048)
    ]
    assert "datasets/support-desk/in_domain.parquet" in checked.judged_questions(study, "judge")
    assert checked.card_files(study, "judge") == [
        "datasets/storyteller/card.json",
        "datasets/support-desk/card.json",
    ]


def test_jobs_wait_for_their_own_check_and_for_those_of_later_stages(checkout):
    study = load(checkout)
    assert checked.own_check(study, "finetune", TUNED) == [f"prompts/finetune/{TUNED}.csv"]
    assert checked.check_of_base(BASE) == f"prompts/sample/{BASE}.csv"
    study.config["partial"] = True
    assert checked.own_check(study, "judge", "smollm2") == []
