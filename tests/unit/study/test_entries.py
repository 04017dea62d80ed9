"""Catalogue entries as the params of rules, which cosmetic changes do not reach."""

import shutil

import pytest
import yaml

from adapters import write_model
from configurations import ROOT, catalogue, demo, load, put
from em_tiers.study.entries import (
    chat_template,
    dataset_settings,
    engine,
    import_settings,
    local_files,
    model_identity,
    question_defaults,
    recipe,
    source,
    tier_rules,
    topics,
)
from em_tiers.study.judges import judge_params, judge_rubrics
from em_tiers.study.load import load_study

BASE = "smollm2-135m"
STORYTELLER = "smollm2-135m.storyteller.demo-lora.s0"
FILES = ("models", "datasets", "recipes", "question_sets", "judges", "engines", "tier_rules")


def edit(checkout, name, path, value, config=None):
    """The study with one value of a catalogue changed."""
    changed = put(catalogue(name), path, value)
    (checkout / "config" / f"{name}.yaml").write_text(yaml.safe_dump(changed))
    return load(checkout, config)


def turned(value):
    """The same value with the keys of every mapping in the opposite order."""
    if isinstance(value, dict):
        return {key: turned(value[key]) for key in reversed(value)}
    return [turned(item) for item in value] if isinstance(value, list) else value


def params(study):
    """The text that Snakemake compares, for all params made of entries."""
    parts = [
        [source(study, "models", BASE), model_identity(study, BASE)],
        [source(study, "datasets", name) for name in study.datasets_used],
        [dataset_settings(study, name) for name in study.datasets_used],
        [source(study, "question_sets", name) for name in study.question_sets_used],
        [question_defaults(study, name) for name in sorted(study.question_sets)],
        [recipe(study, "demo-lora", STORYTELLER), engine(study), tier_rules(study), topics(study)],
        [judge_params(study, "smollm2"), judge_rubrics(study, "smollm2")],
    ]
    return repr(parts)


def test_labels_comments_and_the_order_of_keys_change_no_params(checkout):
    before = params(load(checkout))
    for name in FILES:
        entries = {
            key: turned(entry)
            | ({"label": f"new {key}"} if name != "engines" else {})
            | {"comment": "new"}
            for key, entry in catalogue(name).items()
        }
        (checkout / "config" / f"{name}.yaml").write_text(
            yaml.safe_dump(turned(entries), sort_keys=False)
        )
    for file in (checkout / "config" / "rubrics").glob("*.yaml"):
        entry = turned(yaml.safe_load(file.read_text())) | {"label": "new", "comment": "new"}
        file.write_text(yaml.safe_dump(entry, sort_keys=False))
    assert params(load(checkout)) == before


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("models", "smollm2-135m.source.version", "0.1.1"),
        ("datasets", "storyteller.max_rows", 100),
        ("datasets", "storyteller.topics", ["fiction", "history"]),
        ("recipes", "demo-lora.rank", 8),
        ("question_sets", "near.topics", {"leaky_roof": ["fiction"]}),
        ("judges", "smollm2.decoding", {"seed": 1}),
        ("engines", "cpu.max_model_len", 1024),
        ("tier_rules", "standard.rules.0.enabled", False),
    ],
)
def test_a_value_that_changes_a_result_is_in_the_params(checkout, name, path, value):
    before = params(load(checkout))
    assert params(edit(checkout, name, path, value)) != before


def test_a_source_in_the_workflow_is_found_from_any_working_folder(checkout, tmp_path_factory):
    inside = source(load(checkout), "datasets", "storyteller")
    assert inside == {
        "licence": "apache-2.0",
        "path": "config/data/storyteller.jsonl",
        "type": "path",
    }
    elsewhere = load_study(demo(), ROOT, tmp_path_factory.mktemp("elsewhere"))
    path = str(ROOT / "config" / "data" / "storyteller.jsonl")
    assert source(elsewhere, "datasets", "storyteller") == inside | {"path": path}


def test_a_local_file_and_every_file_of_a_local_folder_are_inputs(checkout):
    study = load(checkout)
    assert local_files(study, "models", BASE) == []  # from a package
    assert local_files(study, "datasets", "storyteller") == ["config/data/storyteller.jsonl"]
    weights = write_model(checkout / "weights")
    for name in ("parts/b.json", ".hidden", ".git/config", "sub/.git/HEAD"):
        (weights / name).parent.mkdir(parents=True, exist_ok=True)
        (weights / name).touch()
    model = {"source": {"type": "path", "path": str(weights)}, "parameters_b": 0.1}
    study = edit(checkout, "models", BASE, model)
    names = ("config.json", "model.safetensors", "parts/b.json", "tokenizer.json")
    found = [str(weights / name) for name in names]
    assert local_files(study, "models", BASE) == found
    shutil.rmtree(weights)
    weights.mkdir()
    assert local_files(study, "models", BASE) == [str(weights)]


def test_a_model_is_known_by_its_weights_and_not_by_its_licence(checkout):
    assert model_identity(load(checkout), "qwen3-4b") == {
        "id": "Qwen/Qwen3-4B",
        "revision": "1cfa9a7208912126459214e8b04321603b3df60c",
    }


def test_a_chat_template_is_an_input_where_a_model_has_one(checkout):
    assert chat_template(load(checkout), BASE) == []
    (checkout / "chat.jinja").write_text("{{ messages }}")
    study = edit(checkout, "models", f"{BASE}.chat_template", "chat.jinja")
    assert chat_template(study, BASE) == ["chat.jinja"]


def test_a_judge_without_an_engine_of_its_own_gets_that_of_the_study(checkout):
    study = load(checkout)
    assert engine(study) == engine(study, "cpu")
    assert engine(study)["device"] == "cpu"
    assert engine(study, "gpu-2")["tensor_parallel"] == 2


def test_kept_checkpoints_change_the_params_of_their_own_fine_tunes_only(checkout):
    assert recipe(load(checkout), "demo-lora", STORYTELLER)["keep_checkpoints"] == []
    block = demo()["variants"][0]
    blocks = [
        block | {"datasets": ["storyteller"], "checkpoints": [20, 10]},
        block | {"datasets": ["support-desk"]},
    ]
    study = load(checkout, put(demo(), "variants", blocks))
    assert recipe(study, "demo-lora", STORYTELLER)["keep_checkpoints"] == [10, 20]
    other = "smollm2-135m.support-desk.demo-lora.s0"
    assert recipe(study, "demo-lora", other)["keep_checkpoints"] == []


def test_threads_belong_to_the_rule_and_not_to_what_is_learned(checkout):
    before = recipe(load(checkout), "demo-lora", STORYTELLER)
    study = edit(checkout, "recipes", "demo-lora.threads", 4)
    assert recipe(study, "demo-lora", STORYTELLER) == before


def test_roles_and_sources_do_not_reach_preparation(checkout):
    before = dataset_settings(load(checkout), "storyteller")
    assert not set(before) & {"source", "role", "label", "comment"}
    study = edit(checkout, "datasets", "storyteller.role", "positive_control")
    assert dataset_settings(study, "storyteller") == before


def test_defaults_of_questions(checkout):
    assert question_defaults(load(checkout), "near") == {
        "probe_level": "near_domain",
        "topics": {},
    }


def test_an_import_has_the_topics_of_known_questions_unless_it_gives_its_own(checkout):
    (checkout / "answers.csv").write_text("q,a\n")
    entry = {
        "id": "theirs",
        "label": "Theirs",
        "path": "answers.csv",
        "columns": {"question": "q", "answer": "a"},
        "topics": {"quick_buck": ["crime"], "of_theirs": ["sports"]},
    }
    settings = import_settings(load(checkout, put(demo(), "imports", [entry])), "theirs")
    assert "label" not in settings
    assert settings["topics"]["gender_roles"] == ["society"]  # of config/question_sets.yaml
    assert settings["topics"]["quick_buck"] == ["crime"]
    assert settings["topics"]["of_theirs"] == ["sports"]
    assert list(settings["topics"]) == sorted(settings["topics"])


def test_disabled_tier_rules_keep_their_place(checkout):
    rules = tier_rules(load(checkout))
    first = rules[0]["name"]
    disabled = tier_rules(load(checkout, put(demo(), "tiers", {"disabled": [first]})))
    assert [rule["name"] for rule in disabled] == [rule["name"] for rule in rules]
    assert disabled == [rules[0] | {"enabled": False}, *rules[1:]]


def test_topics_of_the_data_sets_in_use(checkout):
    assert topics(load(checkout)) == {
        "storyteller": ["fiction"],
        "support-desk": ["customer-support"],
    }
