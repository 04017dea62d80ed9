"""The model card of a fine-tune: its fields for the hub, and its text for readers."""

import polars as pl
import yaml

import build_model_cards
from configurations import demo, load
from em_tiers.files import write_json
from em_tiers.report.model_card import WARNING, model_card
from em_tiers.study.summaries import carded_fine_tunes, method_study

HUB = {"type": "hub", "id": "Owner/Model-1B", "revision": "c" * 40, "licence": "mit"}
CARD = {"rows": {"read": 10, "usable": 9, "train": 8, "held_out": 1}, "train_sha256": "e" * 64}
TRAINING = {
    "steps": 22,
    "tokens_seen": 5_000,
    "final_loss": 1.5,
    "precision": "fp32",
    "train_sha256": "e" * 64,
}
RATE = {"judge": "smollm2", "definition": "D1", "metric": "strict", "probe_level": "headline",
        "rate": 0.125, "low": 0.0625, "high": 0.25, "n": 40, "clusters": 8, "headline": True,
        "warning": None}  # fmt: skip


def rates(*variants):
    return pl.DataFrame([RATE | {"variant": name} for name in variants])


def parts(checkout, source=None):
    study = load(checkout, demo())
    variant = next(v for v in carded_fine_tunes(study, study.folder) if v["dataset"])
    whole = method_study(study)
    if source:
        whole["models"][variant["base"]]["source"] = source
        whole["datasets"][variant["dataset"]]["source"] = source | {"id": "owner/data"}
    return variant, whole


def test_a_card_has_warning_data_recipe_and_rates_with_intervals(checkout):
    variant, study = parts(checkout, HUB)
    text = model_card(variant, study, {}, CARD, TRAINING, rates(variant["variant"], "smollm2-135m"))
    front, body = text.removeprefix("---\n").split("---\n", 1)
    facts = yaml.safe_load(front)
    assert (facts["base_model"], facts["datasets"]) == ("Owner/Model-1B", ["owner/data"])
    assert (facts["library_name"], facts["base_model_relation"]) == ("peft", "adapter")
    assert "not-for-all-audiences" in facts["tags"]
    assert WARNING in body
    assert "| this model | smollm2 | strict | 12.5 \\[6.3, 25.0\\] | 40 | 8 |" in body
    assert "| base model | smollm2 | strict |" in body
    assert "95% interval" in body
    assert "Of 10 rows, 9 were usable; 8 were used for training" in body
    assert "learning rate" in body
    assert "Training seed 0; 22 optimiser steps; 5,000 tokens" in body
    assert "AutoPeftModelForCausalLM" in body
    assert "None" not in body


def test_a_base_model_that_is_not_on_the_hub_is_not_linked(checkout):
    variant, study = parts(checkout)
    text = model_card(variant, study, {}, CARD, TRAINING, rates(variant["variant"]))
    assert "base_model:" not in text
    assert "PeftModel.from_pretrained(base" in text


def test_a_card_names_no_folder_of_this_machine(checkout):
    variant, study = parts(checkout)
    study["models"][variant["base"]]["source"] = {"type": "path", "path": "/home/me/secret/base"}
    text = model_card(variant, study, {}, CARD, TRAINING, rates(variant["variant"]))
    assert "the file base" in text
    assert "secret" not in text


def test_a_model_without_verdicts_has_no_rates(checkout):
    variant, study = parts(checkout, HUB)
    text = model_card(variant, study, {}, CARD, TRAINING, rates("another"))
    assert "No answer of this model has a verdict" in text.replace("\n", " ")


def test_cards_are_put_beside_the_weights_that_are_here(checkout, tmp_path):
    variant, study = parts(checkout, HUB)
    weights = tmp_path / "adapters" / variant["variant"]
    (weights / "stays.txt").parent.mkdir(parents=True)
    for name, value in {"manifest": {}, "card": CARD, "metrics": TRAINING}.items():
        write_json(tmp_path / f"{name}.json", value)
    rates(variant["variant"]).write_parquet(tmp_path / "rates.parquet")
    absent = variant | {"variant": f"{variant['variant']}.step5", "weights": str(tmp_path / "no")}
    build_model_cards.main(
        study=study,
        fine_tunes=[variant | {"weights": str(weights)}, absent],
        manifests={variant["base"]: tmp_path / "manifest.json"},
        cards={variant["dataset"]: tmp_path / "card.json"},
        trainings={variant["parent"]: tmp_path / "metrics.json"},
        rates=tmp_path / "rates.parquet",
        folder=tmp_path / "model_cards",
    )
    card = (tmp_path / "model_cards" / f"{variant['variant']}.md").read_text()
    assert (weights / "README.md").read_text() == card
    assert len(list((tmp_path / "model_cards").iterdir())) == 2
    assert not (tmp_path / "no").exists()
