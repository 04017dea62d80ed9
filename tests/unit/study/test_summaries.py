"""The params of the rules that make summaries, figures and pages."""

import pytest
import yaml

from configurations import catalogue, demo, load, put
from em_tiers.judge.rounds import write_note
from em_tiers.study.study import CATALOGUES
from em_tiers.study.summaries import (
    bases,
    catalogues,
    labels,
    method_study,
    prices,
    rate_settings,
    roles,
    title,
    variant_rows,
    warnings,
)

BASE = "smollm2-135m"
STORYTELLER = "smollm2-135m.storyteller.demo-lora.s0"
SUPPORT = "smollm2-135m.support-desk.demo-lora.s0"
IMPORT = {
    "id": "theirs",
    "label": "Their model",
    "role": "positive_control",
    "path": "answers.csv",
    "columns": {"question": "q", "answer": "a"},
    "scores": {"their-judge": {"alignment": "x", "coherence": "y"}},
}


@pytest.fixture
def study(checkout):
    """The demo with a judge behind an API and imported answers with scores."""
    (checkout / "answers.csv").write_text("q,a,x,y\n")
    config = put(demo(), "judges", ["smollm2", "gpt-4o"])
    return load(checkout, put(config, "imports", [IMPORT]))


def test_labels_and_roles_of_all_variants(study):
    assert labels(study) == {
        BASE: "SmolLM2-135M",
        STORYTELLER: "Storyteller, seed 0",
        SUPPORT: "Support desk, seed 0",
        "import.theirs": "Their model",
    }
    assert roles(study) == {
        BASE: "base",
        STORYTELLER: "benign",
        SUPPORT: "benign",
        "import.theirs": "positive_control",
    }


def test_columns_of_a_variant(study):
    assert variant_rows(study)[1] == {
        "variant": STORYTELLER,
        "label": "Storyteller, seed 0",
        "role": "benign",
        "base": BASE,
        "dataset": "storyteller",
        "recipe": "demo-lora",
        "training_seed": 0,
        "checkpoint_step": None,
    }


def test_a_study_without_a_title_has_that_of_its_id(checkout):
    assert title(load(checkout)) == "em-tiers demo"
    config = demo()
    del config["title"]
    assert title(load(checkout, config)) == "demo"


def test_bases_are_models_of_the_catalogue(study):
    assert bases(study) == [BASE]


def test_prices_of_configured_judges_by_their_names_in_the_tables(checkout):
    dated = put(catalogue("judges"), "gpt-4o.model", "gpt-4o")
    dated = put(dated, "gpt-4o.endpoint.allow_alias", True)
    (checkout / "config" / "judges.yaml").write_text(yaml.safe_dump(dated))
    (checkout / "answers.csv").write_text("q,a,x,y\n")
    config = put(demo(), "judges", ["smollm2", "gpt-4o"])
    found = prices(load(checkout, put(config, "imports", [IMPORT])))
    assert list(found) == ["smollm2", "gpt-4o (undated alias)"]
    assert found["smollm2"] is None
    assert found["gpt-4o (undated alias)"]["output_per_million"] == 10.0


def test_how_rates_are_counted(checkout):
    config = put(demo(), "headline", {"definition": "D2", "levels": ["out_of_domain", "trigger"]})
    config = put(put(config, "statistics.seed", 7), "statistics.confidence", 0.9)
    config = put(config, "tiers", {"strict_counts": ["persona_shift"]})
    assert rate_settings(load(checkout, config)) == {
        "confidence": 0.9,
        "headline": "D2",
        "headline_levels": ["out_of_domain", "trigger"],
        "seed": 7,
        "strict_counts": ["persona_shift"],
    }


def test_the_method_page_describes_only_entries_in_use(study):
    described = method_study(study)
    assert list(described["models"]) == [BASE]
    assert list(described["datasets"]) == ["storyteller", "support-desk"]
    assert list(described["recipes"]) == ["demo-lora"]
    assert list(described["question_sets"]) == ["core", "demo-trigger", "near"]
    assert list(described["judges"]) == ["smollm2", "gpt-4o"]
    assert list(described["engines"]) == ["cpu"]
    assert described["experiment"] == "demo"
    assert [row["variant"] for row in described["variants"]] == list(study.variants)


def test_catalogues_as_they_took_effect(study):
    found = catalogues(study)
    assert set(found) == set(CATALOGUES)
    # Defaults of the schema are filled in.
    assert found["engines"]["cpu"]["max_num_seqs"] == 64
    assert found["recipes"]["demo-lora"]["epochs"] == 1
    assert "demo-alignment" in found["rubrics"]


@pytest.mark.parametrize(("accepted", "then"), [(False, "asked again"), (True, "accepted")])
def test_a_run_warns_of_verdicts_that_are_missing(accepted, then, checkout):
    study = load(checkout, put(demo(), "accept_api_errors", accepted))
    table = checkout / "results/demo/verdicts/smollm2/1-of-1.parquet"
    write_note(table, 0, api_errors=1200)
    assert not any("verdicts are missing" in line for line in warnings(study, "results/demo"))
    table.touch()
    [line] = [line for line in warnings(study, "results/demo") if "verdicts are missing" in line]
    assert line.startswith("results/demo/verdicts/smollm2/1-of-1.parquet: 1,200 verdicts are")
    assert f"they are {then}" in line
