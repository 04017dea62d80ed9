"""Files, journals and identities of a study, for `make plan` and `make status`."""

import pytest

from configurations import demo, load, put
from em_tiers.study.plan import planned_judges, planned_variants

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
