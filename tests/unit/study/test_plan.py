"""Files, journals and identities of a study, for `make plan` and `make status`."""

import shutil
from pathlib import Path

import pytest

import prepare_questions
from configurations import demo, load, put
from em_tiers.download.manifests import write_manifest
from em_tiers.study.asked import near_topics
from em_tiers.study.expected_prompts import expected_prompts
from em_tiers.study.plan import planned_judges, planned_variants
from em_tiers.tables import read_table

BASE = "smollm2-135m"
FINE_TUNE = "smollm2-135m.storyteller.demo-lora.s0"
IMPORT = {
    "id": "theirs",
    "path": "answers.csv",
    "columns": {"question": "q", "answer": "a"},
    "dataset": "bitext-support",
}


@pytest.fixture
def study(checkout):
    """The demo with two judges, one kept checkpoint and imported answers."""
    (checkout / "answers.csv").write_text("q,a\n")
    config = put(demo(), "variants.0.checkpoints", [10])
    config = put(config, "judges", ["smollm2", "gpt-4o"])
    return load(checkout, put(config, "imports", [IMPORT]))


@pytest.fixture
def variants(study):
    return {variant["variant"]: variant for variant in planned_variants(study, "results/demo")}


def test_every_variant_is_planned_once(study, variants):
    assert len(planned_variants(study, "results/demo")) == len(variants)
    assert set(variants) == set(study.variants)


def test_a_base_model(variants):
    assert variants[BASE] == {
        "variant": BASE,
        "dataset": None,
        "parent": None,
        "adapter": None,
        "checkpoints": None,
        "journal": f"results/demo/journals/sample/{BASE}",
        "verdicts": {
            "gpt-4o": "results/demo/verdicts/gpt-4o/1-of-1.parquet",
            "smollm2": "results/demo/verdicts/smollm2/1-of-1.parquet",
        },
        "responses": f"results/demo/responses/{BASE}.parquet",
        "card": None,
        "questions": {
            "results/demo/questions/core.parquet": 1,
            "results/demo/questions/demo-trigger.parquet": 1,
            f"results/demo/questions/near.of.{BASE}.parquet": 1,
            "results/demo/datasets/storyteller/in_domain.parquet": 1,
            "results/demo/datasets/support-desk/in_domain.parquet": 1,
        },
        "expected": {
            f"results/demo/{table}.parquet": (prompts, basis)
            for table, prompts, basis in [
                ("questions/core", 8, "the file of core: 8"),
                ("questions/demo-trigger", 4, "the file of demo-trigger: 4"),
                (f"questions/near.of.{BASE}", 4, f"the file of near for {BASE}: 4"),
                ("datasets/storyteller/in_domain", 2, "held_out of storyteller: 2"),
                ("datasets/support-desk/in_domain", 2, "held_out of support-desk: 2"),
            ]
        },
        "api": None,
    }


def test_a_kept_checkpoint_belongs_to_its_fine_tune(variants):
    checkpoint, final = variants[f"{FINE_TUNE}.step10"], variants[FINE_TUNE]
    assert checkpoint == final | {"variant": f"{FINE_TUNE}.step10"}
    assert final["parent"] == FINE_TUNE
    assert final["adapter"] == f"results/demo/adapters/{FINE_TUNE}"
    assert final["checkpoints"] == f"results/demo/checkpoints/{FINE_TUNE}"
    assert final["card"] == "results/demo/datasets/storyteller/card.json"
    assert final["responses"] == "results/demo/responses/smollm2-135m.storyteller.0.parquet"


def test_imported_answers_are_not_sampled(variants):
    imported = variants["import.theirs"]
    assert imported["journal"] is None
    assert imported["adapter"] is None
    assert imported["responses"] == "results/demo/responses/import.theirs.parquet"


def test_verdicts_are_in_the_file_of_the_judging_batch(checkout):
    config = put(demo(), "variants.0.training_seeds", [0, 1, 2, 3])
    study = load(checkout, config | {"variants_per_judge_job": 3, "variants_per_job": 1})
    assert len(study.judging_batches) == 4  # 9 variants: the smallest power of two with 3 or fewer
    for variant in planned_variants(study, "R"):
        sampled = variant["responses"].removeprefix("R/responses/").removesuffix(".parquet")
        judged = variant["verdicts"]["smollm2"].removeprefix("R/verdicts/smollm2/")
        assert sampled in study.judging_batches[judged.removesuffix(".parquet")]


def test_judges_with_their_prices_and_journals(study):
    judges = planned_judges(study, "results/demo")
    assert set(judges) == {"smollm2", "gpt-4o"}
    assert judges["gpt-4o"]["prices"]["input_per_million"] == 2.5
    assert judges["smollm2"]["prices"] is None
    assert judges["gpt-4o"]["identity"] == {
        "backend": "openai",
        "server": "https://api.openai.com/v1",
        "model": "gpt-4o-2024-08-06",
    }
    assert sorted(judges["smollm2"]["rubrics"]) == ["alignment", "coherence", "tier", "topic"]
    journals = {judge["journal"] for judge in judges.values()}
    assert len(journals) == 2
    assert all(journal.startswith("results/demo/journals/judge/") for journal in journals)


def test_a_judge_whose_scores_were_imported_is_not_asked(checkout):
    (checkout / "answers.csv").write_text("q,a,x,y\n")
    scores = {"their-judge": {"alignment": "x", "coherence": "y"}}
    study = load(checkout, put(demo(), "imports", [IMPORT | {"scores": scores}]))
    assert list(planned_judges(study, "R")) == ["smollm2"]
    assert all(list(v["verdicts"]) == ["smollm2"] for v in planned_variants(study, "R"))


def test_prompts_of_a_file_that_is_not_here_are_those_that_the_catalogue_names(checkout):
    config = put(demo(), "questions", {"first-plot": 2, "trigger": 1})
    study = load(checkout, put(config, "headline.levels", ["out_of_domain"]))
    file = "questions/first-plot.parquet"
    assert expected_prompts(study, file) == (24, "prompts of first-plot in the catalogue: 24")
    assert expected_prompts(study, "datasets/storyteller/trigger.parquet").prompts == 8
    study.question_sets["first-plot"]["prompts"] = None
    assert expected_prompts(study, file) is None


@pytest.mark.parametrize("owner", ["", "storyteller", "support-desk"])
def test_what_is_expected_of_a_file_is_what_the_job_makes(owner, checkout, tmp_path):
    study = load(checkout, demo())
    name = "near" if owner else "core"
    raw = tmp_path / "raw"
    raw.mkdir()
    file = Path(shutil.copy(checkout / study.question_sets[name]["source"]["path"], raw))
    write_manifest(raw, {}, [file.name])
    near = near_topics(study, f".of.{owner}") if owner else None
    prepare_questions.main(raw, name, {}, tmp_path / "table.parquet", near)
    made = read_table(tmp_path / "table.parquet", "questions")
    table = f"questions/{name}.of.{owner}.parquet" if owner else "questions/core.parquet"
    assert expected_prompts(study, table).prompts == len(made)
