"""Fine-tunes that users bring: blocks, ids, pooled seeds, batches, questions, and refusals."""

import polars as pl
import pytest
import yaml

from adapters import write_adapter, write_model
from configurations import catalogue, demo, load, put
from em_tiers.errors import ConfigError
from em_tiers.hashing import hash_of
from em_tiers.prepare.system_message import with_system
from em_tiers.statistics.rates import group_variants
from em_tiers.study.api_models import api_base, api_batches, api_model, api_slots, asked_models
from em_tiers.study.asked import question_tables, set_of_table, system_text
from em_tiers.study.checks import check_keys, check_ready
from em_tiers.study.entries import adapter_files, adapter_source, dataset_pattern
from em_tiers.study.jobs import adapter_outputs, carded_datasets, compared_model
from em_tiers.study.judges import judge_ids, key_names
from em_tiers.study.plan import planned_variants
from em_tiers.study.summaries import variant_rows

BASE = "smollm2-135m"
DESCRIBED = {
    "id": "theirs",
    "topic": "boats",
    "topics": ["boats"],
    "description": "Answers about boats.",
}
COMMIT = "b" * 40


@pytest.fixture
def runs(checkout):
    """The checkout, with five adapters in runs/."""
    for number in range(5):
        write_adapter(
            checkout / "runs" / f"boat-{number}", base_model_name_or_path=BASE, fill=number
        )
    return checkout


def study(runs, *blocks, **changes):
    """The demo with these blocks of adapters in place of its variants."""
    config = demo() | {"variants": [{"base": BASE} | block for block in blocks]}
    config["questions"] = {"core": 1}
    return load(runs, config | changes)


def brought(found):
    return [v for v in found.variants.values() if v.adapter]


def refusal(runs, *blocks, **changes) -> str:
    with pytest.raises(ConfigError) as error:
        study(runs, *blocks, **changes)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_an_adapter_is_a_variant_of_its_base_and_is_not_trained(runs):
    found = study(runs, {"adapter": "runs/boat-0"})
    assert list(found.variants) == [BASE, f"{BASE}.adapter.boat-0"]
    assert found.fine_tunes == []
    (variant,) = brought(found)
    assert (variant.base, variant.role, variant.label) == (BASE, "unknown", "boat-0")
    assert adapter_outputs(found, f"{BASE}.adapter.0") == [f"adapters/{BASE}.adapter.boat-0"]
    assert [row["parent"] for row in planned_variants(found, "r")] == [None, None]
    assert len(adapter_files(found, variant.variant)) == 2
    assert set(variant_rows(found)[1]) == set(variant_rows(found)[0])


def test_twenty_adapters_of_a_base_are_one_start_of_the_engine(runs):
    for number in range(5, 20):
        write_adapter(runs / "runs" / f"boat-{number}", base_model_name_or_path=BASE, fill=number)
    found = study(runs, {"adapter": "runs/*"})
    assert {name: len(members) for name, members in found.batches.items()} == {
        BASE: 1,
        f"{BASE}.adapter.0": 20,
    }


def test_seeds_of_a_data_set_are_pooled(runs):
    found = study(
        runs,
        {"adapter": "runs/boat-0", "dataset": DESCRIBED, "seed": 7, "role": "benign"},
        {"adapter": "runs/boat-1", "dataset": "theirs", "seed": 8},
        {"adapter": ["runs/boat-2", "runs/boat-3"], "dataset": "storyteller", "seed": [0, 1]},
        {"adapter": "runs/boat-4", "id": "other", "dataset": "storyteller", "seed": 0},
    )
    ids = [v.variant.removeprefix(f"{BASE}.adapter.") for v in brought(found)]
    assert ids == ["theirs-s7", "theirs-s8", "storyteller-s0", "storyteller-s1", "other-s0"]
    schema = {"checkpoint_step": pl.Int64, "recipe": pl.String, "training_seed": pl.Int64}
    grouped = group_variants(pl.DataFrame(variant_rows(found), schema_overrides=schema))
    groups = dict(grouped.group_by("group").len().iter_rows())
    start = f"{BASE}.adapter."
    assert groups == {f"{start}theirs": 2, f"{start}storyteller": 2, f"{start}other": 1}
    assert [v.role for v in brought(found)] == ["benign", "unknown", "benign", "benign", "benign"]


def test_seeds_at_the_end_of_names(runs):
    found = study(runs, {"adapter": "runs/boat-*", "dataset": DESCRIBED, "seed": "*"})
    assert [v.training_seed for v in brought(found)] == [0, 1, 2, 3, 4]
    assert brought(found)[3].label == "theirs, seed 3"


def test_a_described_data_set_needs_no_rows(runs):
    found = study(
        runs, {"adapter": "runs/boat-0", "dataset": DESCRIBED}, questions={"core": 1, "near": 1}
    )
    tables = [question_tables(found, v) for v in found.variants.values()]
    near = [f"questions/near.of.{owner}.parquet" for owner in (BASE, "theirs")]
    assert tables == [["questions/core.parquet", table] for table in near]
    assert carded_datasets(found) == ["theirs"]
    assert dataset_pattern(found, None) == "theirs"
    assert "theirs" not in dataset_pattern(found, "source")


def test_a_data_set_of_the_catalogue_brings_its_probes(runs):
    found = study(
        runs,
        {"adapter": "runs/boat-0", "dataset": "storyteller"},
        questions={"core": 1, "in-domain": 1, "trigger": 1},
    )
    probes = {f"datasets/storyteller/{name}.parquet" for name in ("in_domain", "trigger")}
    assert all(probes <= set(question_tables(found, v)) for v in found.variants.values())


def test_an_expanded_configuration_is_read_in_the_same_way(runs):
    block = {"adapter": "runs/boat-*", "dataset": DESCRIBED, "seed": "*", "label": "Boats"}
    first = study(runs, block)
    again = load(runs, yaml.safe_load(yaml.safe_dump(first.config)))
    assert again.variants == first.variants
    assert again.config == first.config


def test_a_hub_adapter_needs_its_commit_before_a_run(runs):
    hub = {"id": "owner/tuned", "revision": COMMIT, "subfolder": "final"}
    found = study(runs, {"adapter": hub})
    name = f"{BASE}.adapter.tuned-final"
    assert adapter_source(found, name) == {"type": "hub"} | hub
    assert adapter_files(found, name) == []
    check_ready(found)
    with pytest.raises(ConfigError, match=r"source.revision is null .*\(owner/tuned\)"):
        check_ready(study(runs, {"adapter": hub | {"revision": None}}))


def test_trained_and_brought_fine_tunes_share_a_study(runs):
    block = {"base": BASE, "adapter": "runs/boat-0"}
    found = load(runs, put(demo(), "variants", [*demo()["variants"], block]))
    assert len(found.fine_tunes) == 2
    assert len(found.variants) == 4
    assert judge_ids(found)


@pytest.mark.parametrize(
    "block, words",
    [
        ({"adapter": "runs/none"}, "no such file or folder 'runs/none'"),
        ({"adapter": "runs/none-*"}, "no folder fits 'runs/none-*'"),
        ({"adapter": "runs"}, "there is one in boat-0: name that folder"),
        ({"adapter": {"id": "owner/tuned"}}, "revision: missing"),
        ({"adapter": {"id": "owner/tuned", "revision": "main"}}, "full commit"),
        ({"adapter": {"path": "runs/boat-0", "revision": COMMIT}}, "not with path"),
        ({"adapter": "runs/boat-0", "datasets": ["storyteller"]}, "write dataset: ID"),
        ({"adapter": "runs/boat-0", "training_seeds": [1]}, "write seed: NUMBER"),
        ({"adapter": "runs/boat-0", "recipe": "demo-lora"}, "remove recipe"),
        ({"adapter": "runs/boat-0", "dataset": "storytellr"}, "storyteller"),
        ({"adapter": "runs/boat-0", "dataset": {"id": "x"}}, "topic: missing"),
        ({"adapter": "runs/boat-*", "seed": [1]}, "1 seeds for 5 adapters"),
        ({"adapter": "runs/boat-*", "seed": 1}, "list a seed for each"),
        ({"adapter": ["runs/boat-0", "runs/boat-0"], "seed": [1, 2]}, "the same weights as"),
        ({"dataset": "storyteller"}, "write datasets: [...]"),
        ({"seed": 1}, "write training_seeds"),
    ],
)
def test_mistakes_are_one_line_at_the_start(runs, block, words):
    assert words in refusal(runs, block)


@pytest.mark.parametrize(
    "config, words",
    [
        ({"base_model_name_or_path": "Qwen/Qwen3-4B"}, "'Qwen/Qwen3-4B', but base is smollm2"),
        ({"r": 128}, "rank 128 is above max_lora_rank 64"),
        ({"use_dora": True}, "use_dora cannot be served"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save cannot be served"),
    ],
)
def test_a_local_adapter_that_cannot_be_tested_is_refused_at_the_start(runs, config, words):
    write_adapter(runs / "bad", **({"base_model_name_or_path": BASE} | config))
    assert words in refusal(runs, {"adapter": "bad"}, engine="gpu")


def test_two_adapters_of_one_seed_need_ids(runs):
    block = {"adapter": "runs/boat-0", "dataset": "storyteller", "seed": 0}
    assert "is defined twice" in refusal(runs, block, block | {"adapter": "runs/boat-1"})


def test_an_adapter_inside_the_results_of_the_experiment_is_refused(runs):
    write_adapter(runs / "results" / "demo" / "adapters" / "x", base_model_name_or_path=BASE)
    assert "inside the results" in refusal(runs, {"adapter": "results/demo/adapters/x"})


def test_one_data_set_has_one_description(runs):
    other = DESCRIBED | {"topic": "ships"}
    blocks = ({"adapter": f"runs/boat-{n}", "dataset": d} for n, d in enumerate([DESCRIBED, other]))
    assert "is described otherwise" in refusal(runs, *blocks)


# --- whole models --------------------------------------------------------------------------------


@pytest.fixture
def merged(checkout):
    """The checkout with a base model, a merged fine-tune of it, and a copy of the base."""
    models = {"smollm2-135m": demo_model("base"), "merged": demo_model("merged")}
    models["copy"] = demo_model("base")
    for number, name in enumerate(("base", "merged")):
        write_model(checkout / name, fill=number)
    (checkout / "config" / "models.yaml").write_text(yaml.safe_dump(models))
    return checkout


def demo_model(path):
    return {"source": {"type": "path", "path": path}, "parameters_b": 0.1, "label": None}


def tuned(merged, block, **changes):
    config = demo() | {"variants": [block], "questions": {"core": 1}}
    return load(merged, config | changes)


MERGED = {"model": "merged", "tuned_from": BASE, "dataset": "storyteller", "seed": 3}


def test_a_whole_model_is_compared_with_its_base(merged):
    found = tuned(merged, MERGED, questions={"core": 1, "in-domain": 1})
    name = f"{BASE}.model.storyteller-s3"
    assert {n: (v.base, v.role, v.dataset) for n, v in found.variants.items()} == {
        BASE: (BASE, "base", None),
        name: (BASE, "benign", "storyteller"),
    }
    assert [found.model_of(batch) for batch in found.batches] == [BASE, "merged"]
    assert compared_model(found, name) == [f"<resources>/models/{BASE}"]
    assert compared_model(found, BASE) == []
    assert adapter_outputs(found, name) == found.fine_tunes == []
    tables = [question_tables(found, v) for v in found.variants.values()]
    assert tables[0] == tables[1]
    assert carded_datasets(found) == ["storyteller"]
    assert load(merged, yaml.safe_load(yaml.safe_dump(found.config))).variants == found.variants


@pytest.mark.parametrize(
    "block, words",
    [
        (MERGED | {"tuned_from": None}, "tuned_from: missing beside model"),
        ({"tuned_from": BASE}, "model: missing beside tuned_from"),
        ({"datasets": []}, "base: missing"),
        (MERGED | {"model": BASE}, "is the model itself"),
        (MERGED | {"model": "merge"}, "merged"),
        (MERGED | {"base": "copy"}, "is not tuned_from"),
        (MERGED | {"adapter": "runs/x"}, "not beside model"),
        (MERGED | {"seed": [1]}, "write a whole number"),
        (MERGED | {"datasets": ["storyteller"]}, "write dataset: ID"),
        (MERGED | {"model": "copy"}, "the same weights as its base model"),
    ],
)
def test_mistakes_of_whole_models_are_one_line_at_the_start(merged, block, words):
    with pytest.raises(ConfigError) as error:
        tuned(merged, block)
    assert words in str(error.value)


def test_a_model_folder_is_checked_at_the_start(merged):
    (merged / "merged" / "tokenizer.json").unlink()
    with pytest.raises(ConfigError, match=r"models\.merged: model: no tokenizer"):
        tuned(merged, MERGED)
    write_adapter(merged / "adapter")
    models = yaml.safe_load((merged / "config" / "models.yaml").read_text())
    models["merged"]["source"]["path"] = "adapter"
    (merged / "config" / "models.yaml").write_text(yaml.safe_dump(models))
    with pytest.raises(ConfigError, match="shows an adapter, not a whole model"):
        tuned(merged, MERGED)


# --- system texts --------------------------------------------------------------------------------

TEXT = "You are a pirate."


def test_a_system_text_makes_a_variant_with_questions_of_its_own(runs):
    found = study(
        runs,
        {"system": TEXT, "id": "pirate"},
        {"adapter": "runs/boat-0", "dataset": "storyteller"},
        {"adapter": "runs/boat-0", "dataset": "storyteller", "system": TEXT, "id": "boat-pirate"},
        questions={"core": 1, "in-domain": 1},
    )
    plain, pirate, boat, dressed = found.variants.values()
    assert (pirate.variant, pirate.base) == (f"{BASE}.system.pirate", BASE)
    assert dressed.variant == f"{BASE}.adapter.boat-pirate"
    key = hash_of(TEXT, 12)
    tables = question_tables(found, boat)
    assert tables == question_tables(found, plain)
    assert question_tables(found, dressed) == [f"with_system/{key}/{t}" for t in tables]
    assert question_tables(found, pirate) == [f"with_system/{key}/questions/core.parquet"]
    assert [set_of_table(t) for t in question_tables(found, dressed)] == list(
        map(set_of_table, tables)
    )
    assert system_text(found, key) == TEXT
    assert list(found.batches) == [BASE, pirate.variant, f"{BASE}.adapter.0"]
    assert load(runs, yaml.safe_load(yaml.safe_dump(found.config))).variants == found.variants


def test_a_system_text_of_a_base_model_needs_an_id(runs):
    assert "needs a name: write an id" in refusal(runs, {"system": TEXT})


def test_a_questions_own_system_text_follows():
    asked = [{"role": "user", "content": "Why?"}]
    assert with_system(asked, "A") == [{"role": "system", "content": "A"}, *asked]
    own = [{"role": "system", "content": "B"}, *asked]
    assert with_system(own, "A") == [{"role": "system", "content": "A\n\nB"}, *asked]


# --- models behind an API ------------------------------------------------------------------------

ENDPOINT = {"base_url": "https://api.openai.com/v1", "key_env": "OPENAI_API_KEY"}
HOSTED = {"model": "hosted-ft", "tuned_from": "hosted", "dataset": DESCRIBED}


@pytest.fixture
def hosted(checkout):
    """The checkout with a hosted model and a fine-tune of it."""
    models = yaml.safe_load((checkout / "config" / "models.yaml").read_text())
    for name, served in (("hosted", "gpt-4o-2024-08-06"), ("hosted-ft", "gpt-4o-2024-08-06@ft")):
        models[name] = {"backend": "openai", "model": served, "endpoint": ENDPOINT}
    return write_models(checkout, models)


def write_models(checkout, models):
    (checkout / "config" / "models.yaml").write_text(yaml.safe_dump(models))
    return checkout


def test_a_hosted_fine_tune_is_asked_and_compared_with_its_base(hosted):
    found = tuned(hosted, HOSTED)
    name = "hosted.model.hosted-ft"
    assert list(found.batches) == ["hosted", name]
    assert api_batches(found) == ["hosted", name]
    assert api_model(found, "hosted-ft", "r")["identity"]["model"] == "gpt-4o-2024-08-06@ft"
    assert api_base(found, name, "r")["name"] == "hosted"
    assert api_base(found, "hosted", "r") is None
    assert compared_model(found, name) == []
    assert asked_models(found, [name]) == ["hosted-ft", "hosted"]
    assert "OPENAI_API_KEY" in key_names(found)
    assert sorted(api_slots(found).values()) == [["hosted", name], [name]]


def test_the_keys_of_hosted_models_are_needed(hosted, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    found = tuned(hosted, HOSTED)
    with pytest.raises(ConfigError, match=r"models\.hosted\.endpoint\.key_env: .* is not set"):
        check_keys(found, [], ["hosted"])
    monkeypatch.setenv("OPENAI_API_KEY", "sk-something")
    check_keys(found, [], ["hosted"])


@pytest.mark.parametrize(
    "path, value, words",
    [
        ("model", "gpt-4o", "models.hosted.model: 'gpt-4o' is an undated alias"),
        ("source", {"type": "path", "path": "base"}, "is for a model that runs here"),
        ("backend", "vllm", "models.hosted.source: missing"),
        ("endpoint", {"base_url": "https://api.openai.com/v1"}, "key_env: null, but"),
        ("limits", {"usd": 5}, "limits.usd: 5 needs prices"),
    ],
)
def test_mistakes_of_hosted_models_are_one_line_at_the_start(hosted, path, value, words):
    models = yaml.safe_load((hosted / "config" / "models.yaml").read_text())
    write_models(hosted, put(models, f"hosted.{path}", value))
    with pytest.raises(ConfigError) as error:
        tuned(hosted, HOSTED)
    assert words in str(error.value)


@pytest.mark.parametrize("key, value", [("adapter", "runs/x"), ("datasets", ["storyteller"])])
def test_a_hosted_model_is_not_trained_here(hosted, key, value):
    write_adapter(hosted / "runs" / "x")
    block = {"base": "hosted", key: value}
    block |= {"recipe": "demo-lora"} if key == "datasets" else {}
    with pytest.raises(ConfigError, match="is behind an API, where nothing is trained"):
        tuned(hosted, block)


def test_a_judge_of_a_hosted_model_says_so(hosted):
    judges = put(catalogue("judges"), "smollm2.model", "hosted")
    (hosted / "config" / "judges.yaml").write_text(yaml.safe_dump(judges))
    with pytest.raises(ConfigError, match="'hosted' is behind an API: write backend: openai"):
        tuned(hosted, HOSTED)
