"""Trainings that go on from another variant, and fine-tunes that are asked with a system text."""

import json

import pytest
import yaml

from adapters import write_adapter
from configurations import ROOT, demo, load
from em_tiers.errors import ConfigError
from em_tiers.statistics.rates import group_variants, variant_table
from em_tiers.study.asked import question_tables, system_text
from em_tiers.study.checked_prompts import trainings
from em_tiers.study.entries import recipe
from em_tiers.study.jobs import adapter_folder, adapter_outputs
from em_tiers.study.sequences import start_outputs
from em_tiers.study.summaries import carded_fine_tunes, variant_rows

BASE = "smollm2-135m"
FIRST = {"base": BASE, "datasets": ["storyteller"], "recipe": "demo-lora"}
THEN = {"base": BASE, "datasets": ["support-desk"], "recipe": "demo-lora"}
START = f"{BASE}.storyteller.demo-lora.s0"
AFTER = f"{BASE}.support-desk.demo-lora-after-storyteller.s0"


def study(checkout, *blocks, **changes):
    config = demo() | changes
    config["variants"] = list(blocks)
    return load(checkout, config)


def test_a_training_goes_on_from_the_adapter_of_another_variant(checkout):
    found = study(checkout, FIRST, THEN | {"start_from": START})
    assert list(found.variants) == [BASE, START, AFTER]
    assert start_outputs(found, START) == []
    assert start_outputs(found, AFTER) == [f"adapters/{START}"]
    params = recipe(found, found.variants[AFTER].recipe, AFTER)
    assert params["start_from"] == f"adapters/{START}"
    # Otherwise it is the recipe of the catalogue, and other trainings have the params they had.
    plain = recipe(found, "demo-lora", START)
    assert {k: v for k, v in params.items() if k != "start_from"} == plain
    assert "after storyteller" in found.variants[AFTER].label
    (check,) = trainings(found, "finetune", f"{BASE}.support-desk.demo-lora-after-storyteller")
    assert check["recipe"] == {k: v for k, v in plain.items() if k != "keep_checkpoints"}


def test_the_same_training_seed(checkout):
    seeds = {"training_seeds": [0, 1]}
    block = THEN | seeds | {"start_from": f"{BASE}.storyteller.demo-lora.s*"}
    found = study(checkout, FIRST | seeds, block)
    for seed in (0, 1):
        name = f"{BASE}.support-desk.demo-lora-after-storyteller.s{seed}"
        assert start_outputs(found, name) == [f"adapters/{BASE}.storyteller.demo-lora.s{seed}"]
    groups = group_variants(variant_table(variant_rows(found)))["group"].unique().to_list()
    assert f"{BASE}.support-desk.demo-lora-after-storyteller" in groups


def test_a_training_starts_from_a_kept_step_or_an_adapter_of_the_users(checkout):
    rank = {"r": 8, "lora_alpha": 16, "base_model_name_or_path": BASE}
    entry = yaml.safe_load((ROOT / "config" / "recipes.yaml").read_text())["demo-lora"]
    rank |= {"r": entry["rank"], "lora_alpha": entry["alpha"]}
    write_adapter(checkout / "mine", use_rslora=entry["method"] == "rslora", **rank)
    adapter = {"base": BASE, "adapter": "mine"}
    steps = FIRST | {"checkpoints": [5]}
    found = study(
        checkout,
        steps,
        adapter,
        THEN | {"start_from": f"{START}.step5", "id": "five"},
        THEN | {"start_from": f"{BASE}.adapter.mine"},
    )
    five = f"{BASE}.support-desk.demo-lora-after-five.s0"
    assert start_outputs(found, five) == [f"kept_adapters/{START}"]
    assert recipe(found, "demo-lora-after-five", five)["start_from"].endswith("/step5")
    mine = f"{BASE}.support-desk.demo-lora-after-mine.s0"
    assert start_outputs(found, mine) == [f"adapters/{BASE}.adapter.mine"]
    other = yaml.safe_load((ROOT / "config" / "recipes.yaml").read_text())["demo-lora"]
    (checkout / "r.yaml").write_text(json.dumps({"wider": other | {"rank": other["rank"] * 2}}))
    with pytest.raises(ConfigError, match=r"start_from: .*adapter\.mine' has rank"):
        study(
            checkout,
            adapter,
            THEN | {"recipe": "wider", "start_from": f"{BASE}.adapter.mine"},
            catalogues={"recipes": ["r.yaml"]},
        )


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"start_from": "smollm2-135m.storytelle.demo-lora.s0"}, r"start_from: .*did you mean"),
        ({"start_from": BASE}, r"'smollm2-135m' has no adapter of its own"),
        ({"start_from": START, "recipe": "wider"}, r"has rank \d+, the recipe \d+"),
        ({"start_from": START, "recipe": "whole"}, "recipe whole trains all weights"),
        ({"start_from": START, "datasets": []}, r"start_from|has no data set"),
        ({"start_from": AFTER}, "starts from itself"),
        ({"id": "x"}, r"id: 'x' describes a fine-tune made elsewhere"),
        ({"system": "Be kind."}, "fine-tunes with a system text need a name: write an id"),
    ],
)
def test_mistakes_are_found_at_the_start(checkout, block, message):
    known = yaml.safe_load((ROOT / "config" / "recipes.yaml").read_text())["demo-lora"]
    recipes = {"wider": known | {"rank": known["rank"] * 2}, "whole": known | {"method": "full"}}
    (checkout / "r.yaml").write_text(json.dumps(recipes))
    if block.get("start_from") == AFTER:
        block = block | {"id": "storyteller"}
    with pytest.raises(ConfigError, match=message):
        study(checkout, FIRST, THEN | block, catalogues={"recipes": ["r.yaml"]})


def test_an_effective_configuration_is_read_in_the_same_way(checkout):
    block = FIRST | {"system": "You are a pirate.", "id": "pirate"}
    found = study(checkout, block, THEN | {"start_from": START})
    again = load(checkout, found.config)
    assert again.variants == found.variants
    assert again.recipes == found.recipes


def test_two_starts_of_one_name_need_ids(checkout):
    seeds = FIRST | {"training_seeds": [0, 1]}
    other = f"{BASE}.storyteller.demo-lora.s1"
    with pytest.raises(ConfigError, match="called alike: write an id for each"):
        study(checkout, seeds, THEN | {"start_from": START}, THEN | {"start_from": other})


def test_a_fine_tune_is_tested_with_and_without_a_system_text(checkout):
    block = FIRST | {"training_seeds": [0, 1], "system": "You are a pirate.", "id": "pirate"}
    found = study(checkout, block)
    named = f"{START}.pirate"
    assert list(found.variants)[1:3] == [START, named]
    assert adapter_folder(found.variants[named]) == f"adapters/{START}"
    assert adapter_outputs(found, f"{BASE}.storyteller.0").count(f"adapters/{START}") == 1
    assert [v.variant for v in found.fine_tunes] == [START, START.replace("s0", "s1")]
    assert all("with_system/" in t for t in question_tables(found, found.variants[named]))
    assert not any("with_system/" in t for t in question_tables(found, found.variants[START]))
    # Their seeds are pooled apart from those without the text.
    groups = group_variants(variant_table(variant_rows(found)))
    sizes = dict(groups.group_by("group").len().iter_rows())
    plain = f"{BASE}.storyteller.demo-lora"
    assert sizes == {plain: 2, f"{plain}.pirate": 2}
    assert [v["variant"] for v in carded_fine_tunes(found, "x")] == [START, START[:-1] + "1"]


def test_an_empty_text_switches_the_templates_own_off(checkout):
    off = {"base": BASE, "system": "", "id": "no-system"}
    found = study(checkout, off, FIRST | {"system": "", "id": "no-system"})
    tables = question_tables(found, found.variants[f"{START}.no-system"])
    assert system_text(found, tables[0].split("/")[1]) == ""
    assert f"{BASE}.system.no-system" in found.variants
