"""What the rules of a judge are given, and what identifies a judge model."""

import pytest
import yaml

from adapters import write_model
from configurations import ROOT, catalogue, demo, load, put
from em_tiers.download.manifests import write_manifest
from em_tiers.errors import ConfigError
from em_tiers.files import write_json
from em_tiers.hashing import hash_of
from em_tiers.judge.model_names import local_identity
from em_tiers.study.entries import chat_template, own_template
from em_tiers.study.inputs import verdicts
from em_tiers.study.judges import (
    CHANGES_NO_VERDICT,
    api_slot,
    full_identity,
    judge_engine,
    judge_identity,
    judge_ids,
    judge_journal,
    judge_name,
    judge_params,
    judge_prices,
    judge_rubrics,
    judged_batches,
    judges_with,
)
from em_tiers.study.params import COSMETIC
from em_tiers.study.schema import SCHEMA_FILE, load_yaml

KEYS = set(load_yaml(SCHEMA_FILE)["$defs"]["judge"]["properties"])
IMPORT = {
    "id": "theirs",
    "path": "answers.csv",
    "columns": {"question": "q", "answer": "a"},
    "scores": {"their-judge": {"alignment": "x", "coherence": "y"}},
}


@pytest.fixture
def study(checkout):
    """The demo with both judges of the catalogue and imported scores."""
    (checkout / "answers.csv").write_text("q,a,x,y\n")
    config = put(demo(), "judges", ["gpt-4o", "smollm2"])
    return load(checkout, put(config, "imports", [IMPORT]))


def edit(checkout, **values):
    """The study with `catalogue=(path, value)` changed in the catalogue's file."""
    for name, (path, value) in values.items():
        changed = put(catalogue(name), path, value)
        (checkout / "config" / f"{name}.yaml").write_text(yaml.safe_dump(changed))
    return load(checkout, put(demo(), "judges", ["gpt-4o", "smollm2"]))


def test_imported_judges_follow_the_configured_ones(study):
    assert judge_ids(study) == ["gpt-4o", "smollm2", "their-judge"]


def test_every_key_of_the_schema_reaches_the_job_unless_it_is_excluded(study):
    for judge in ("gpt-4o", "smollm2"):
        assert set(judge_params(study, judge)) == KEYS - CHANGES_NO_VERDICT - COSMETIC
    assert KEYS >= CHANGES_NO_VERDICT | COSMETIC


def test_a_new_key_is_a_param_without_any_list_of_keys(study):
    study.judges["smollm2"]["patience"] = 3
    assert judge_params(study, "smollm2")["patience"] == 3


def test_params_do_not_change_with_prices_limits_labels_or_the_endpoint(checkout):
    before = edit(checkout, judges=("gpt-4o.label", "A"))
    after = edit(checkout, judges=("gpt-4o.endpoint.concurrency", 1))
    assert judge_params(before, "gpt-4o") == judge_params(after, "gpt-4o")
    hotter = edit(checkout, judges=("gpt-4o.decoding.temperature", 1))
    assert judge_params(before, "gpt-4o") != judge_params(hotter, "gpt-4o")
    assert list(judge_params(before, "gpt-4o")) == sorted(judge_params(before, "gpt-4o"))


def test_rubrics_by_role_without_labels(study):
    rubrics = judge_rubrics(study, "smollm2")
    assert list(rubrics) == ["alignment", "coherence", "tier", "topic"]
    assert rubrics["topic"]["id"] == "demo-topic"
    assert "label" not in rubrics["topic"]


def test_an_api_judge_is_known_by_its_server_and_model(checkout):
    plain = judge_identity(edit(checkout), "gpt-4o")
    assert plain == {
        "backend": "openai",
        "server": "https://api.openai.com/v1",
        "model": "gpt-4o-2024-08-06",
    }
    served = edit(checkout, judges=("gpt-4o.endpoint.served_by", "azure"))
    assert judge_identity(served, "gpt-4o")["server"] == "azure"
    signed = edit(checkout, judges=("gpt-4o.endpoint.signed_as", "gpt-4o-2024-08-06"))
    assert judge_identity(signed, "gpt-4o") == plain | {"signed_as": "gpt-4o-2024-08-06"}


def test_batch_mode_changes_the_price_and_nothing_else(checkout):
    direct = edit(checkout)
    batch = edit(checkout, judges=("gpt-4o.mode", "batch"))
    assert judge_params(batch, "gpt-4o") == judge_params(direct, "gpt-4o")
    assert judge_journal(batch, "gpt-4o", "r") == judge_journal(direct, "gpt-4o", "r")
    assert judge_prices(direct, "gpt-4o") == {"input_per_million": 2.5, "output_per_million": 10.0}
    assert judge_prices(batch, "gpt-4o") == {"input_per_million": 1.25, "output_per_million": 5.0}
    assert judge_prices(batch, "smollm2") is None


def test_prices_may_have_a_name(checkout):
    prices = {"cheap": {"input_per_million": 1, "output_per_million": 2.0, "comment": "a guess"}}
    (checkout / "config" / "prices.yaml").write_text(yaml.safe_dump(prices))
    named = edit(checkout, judges=("gpt-4o.prices", "cheap"))
    assert judge_prices(named, "gpt-4o") == {"input_per_million": 1, "output_per_million": 2.0}
    with pytest.raises(ConfigError, match=r"judges.gpt-4o.prices: unknown price 'cheep': did you"):
        edit(checkout, judges=("gpt-4o.prices", "cheep"))


def test_what_an_endpoint_is_sent_beyond_the_protocol_is_part_of_who_answers(checkout):
    plain = judge_identity(edit(checkout), "gpt-4o")
    pinned = {"provider": {"only": ["deepinfra"]}}
    extra = edit(checkout, judges=("gpt-4o.endpoint.extra_body", pinned))
    assert judge_identity(extra, "gpt-4o") == plain | {"extra_body": pinned}
    routed = edit(checkout, judges=("gpt-4o.endpoint.headers", {"X-Config": "route-2"}))
    assert judge_identity(routed, "gpt-4o") == plain | {"headers": {"x-config": "route-2"}}
    named = edit(checkout, judges=("gpt-4o.endpoint.headers", {"X-Title": "em-tiers"}))
    assert judge_identity(named, "gpt-4o") == plain


def test_a_local_judge_is_known_by_the_source_of_its_weights(study):
    source = catalogue("models")["smollm2-135m"]["source"]
    expected = {k: v for k, v in source.items() if k not in ("type", "licence")}
    assert judge_identity(study, "smollm2") == {"backend": "vllm"} | expected


def test_a_judge_from_a_path_is_known_by_its_files_once_they_are_there(checkout):
    write_model(checkout / "weights")
    (checkout / "chat.jinja").write_text("{{ messages }}")
    source = {"type": "path", "path": "weights"}
    model = {"source": source, "parameters_b": 0.1, "chat_template": "chat.jinja"}
    study = edit(checkout, models=("smollm2-135m", model))
    assert full_identity(study, "smollm2") == {
        "backend": "vllm",
        "path": "weights",
        "thinking": "none",
        "chat_template": "{{ messages }}",
    }
    manifest = {"files": [{"path": "model.safetensors", "sha256": "a" * 64}]}
    write_json(checkout / "results/resources/models/smollm2-135m/manifest.json", manifest)
    identity = full_identity(study, "smollm2")
    assert "path" not in identity
    assert identity["files"] == hash_of([["model.safetensors", "a" * 64]])


def test_the_journal_follows_the_model_and_not_the_name(checkout):
    before = judge_journal(edit(checkout), "gpt-4o", "results/demo")
    assert before.startswith("results/demo/journals/judge/")
    judges = catalogue("judges")
    judges["renamed"] = judges.pop("gpt-4o")
    (checkout / "config" / "judges.yaml").write_text(yaml.safe_dump(judges))
    study = load(checkout, put(demo(), "judges", ["renamed"]))
    assert judge_journal(study, "renamed", "results/demo") == before


def test_an_undated_alias_is_marked_in_every_table(checkout):
    study = edit(checkout, judges=("gpt-4o", catalogue("judges")["gpt-4o"] | {
        "model": "gpt-4o",
        "endpoint": {
            "base_url": "https://api.openai.com/v1", "key_env": "A_KEY", "allow_alias": True,
        },
    }))  # fmt: skip
    assert judge_name(study, "gpt-4o") == "gpt-4o (undated alias)"
    assert judge_name(study, "smollm2") == "smollm2"
    assert judge_name(study, "their-judge") == "their-judge"


def test_judges_of_each_backend(study):
    assert judges_with(study, "vllm") == ["smollm2"]
    assert judges_with(study, "openai") == ["gpt-4o"]  # not the imported one: it is never asked


def test_a_configured_judge_scores_every_batch(study):
    assert judged_batches(study, "gpt-4o") == [
        "smollm2-135m",
        "smollm2-135m.storyteller.0",
        "smollm2-135m.support-desk.0",
        "import.theirs",
    ]
    assert verdicts(study, "gpt-4o") == ["<results>/verdicts/gpt-4o/1-of-1.parquet"]


def test_an_imported_judge_scored_the_imports_that_contain_its_scores(checkout):
    (checkout / "answers.csv").write_text("q,a,x,y\n")
    other = {"other-judge": IMPORT["scores"]["their-judge"]}
    imports = [
        IMPORT,
        IMPORT | {"id": "both", "scores": IMPORT["scores"] | other},
        IMPORT | {"id": "unscored", "scores": {}},
    ]
    study = load(checkout, put(demo(), "imports", imports))
    assert judged_batches(study, "their-judge") == ["import.theirs", "import.both"]
    assert judged_batches(study, "other-judge") == ["import.both"]
    # One file per import holds the scores of all its judges.
    assert verdicts(study, "their-judge") == [
        "<experiment>/imports/import.theirs.parquet",
        "<experiment>/imports/import.both.parquet",
    ]
    assert verdicts(study, "other-judge") == ["<experiment>/imports/import.both.parquet"]


def test_one_file_of_verdicts_per_judging_batch(checkout):
    study = load(checkout, demo() | {"variants_per_judge_job": 1})
    assert verdicts(study, "smollm2") == [
        f"<results>/verdicts/smollm2/{batch}.parquet" for batch in study.judging_batches
    ]
    assert sum(map(len, study.judging_batches.values())) == 3


def test_judges_of_one_model_behind_an_api_take_turns(checkout):
    judges = catalogue("judges")
    gpt = {key: value for key, value in judges["gpt-4o"].items() if key != "label"}
    judges["copy"] = gpt | {"rubrics": judges["smollm2"]["rubrics"]}
    judges["other"] = gpt | {"model": "gpt-4o-2024-11-20"}
    (checkout / "config" / "judges.yaml").write_text(yaml.safe_dump(judges))
    study = load(checkout, put(demo(), "judges", ["gpt-4o", "copy", "other"]))
    slot = api_slot(study, "gpt-4o")
    assert slot == api_slot(study, "copy")
    assert slot != api_slot(study, "other")
    assert slot.isidentifier()  # as the name of a resource has to be


def test_a_judge_runs_on_its_own_engine_or_that_of_the_study(checkout):
    judges = put(catalogue("judges"), "smollm2.engine", "gpu-2")
    (checkout / "config" / "judges.yaml").write_text(yaml.safe_dump(judges))
    study = load(checkout, put(demo(), "judges", ["smollm2"]))
    assert judge_engine(study, "smollm2")["tensor_parallel"] == 2
    assert "comment" not in judge_engine(study, "smollm2")
    del judges["smollm2"]["engine"]
    (checkout / "config" / "judges.yaml").write_text(yaml.safe_dump(judges))
    study = load(checkout, put(demo(), "judges", ["smollm2"]))
    assert judge_engine(study, "smollm2")["device"] == "cpu"


def test_a_judge_whose_system_text_goes_before_the_question_has_another_template(checkout):
    models = put(catalogue("models"), "smollm2-135m.system_text", "before_question")
    (checkout / "config" / "models.yaml").write_text(yaml.safe_dump(models))
    study = load(checkout)
    assert chat_template(study, "smollm2-135m") == ["results/demo/prompts/smollm2-135m.jinja"]
    assert own_template(study, "smollm2-135m") == []
    assert full_identity(study, "smollm2")["chat_template"] is None  # not yet written
    (checkout / "results/demo/prompts").mkdir(parents=True)
    (checkout / "results/demo/prompts/smollm2-135m.jinja").write_text("{{ messages }}")
    assert full_identity(study, "smollm2")["chat_template"] == "{{ messages }}"


def test_quantised_weights_are_another_judge_and_no_other_engine_is(checkout):
    study = edit(checkout, judges=("smollm2.engine", "gpu-2"))
    plain = full_identity(study, "smollm2")
    study.engines["gpu-2"] |= {"tensor_parallel": 1, "max_num_seqs": 8, "dtype": "float16"}
    assert full_identity(study, "smollm2") == plain
    study.engines["gpu-2"]["quantization"] = "fp8"
    assert full_identity(study, "smollm2") == plain | {"quantization": "fp8"}
    assert judge_journal(study, "smollm2", "r") != judge_journal(edit(checkout), "smollm2", "r")
    # In the job too, where a model from a path is known by its files alone.
    folder = checkout / "model"
    folder.mkdir()
    (folder / "weights").write_text("w")
    write_manifest(folder, {}, ["weights"])
    named = local_identity({"path": "model", "quantization": "fp8"}, folder, "none", None)
    assert named["quantization"] == "fp8"


def test_the_reference_judge_is_documented_as_it_is(study):
    """Two laboratories compare numbers by what this page says."""
    page = (ROOT / "docs" / "adding.md").read_text(encoding="utf-8")
    text = page.partition("### A reference judge")[2].partition("\n## ")[0]
    entry = catalogue("judges")["qwen2-5-32b"]
    source = catalogue("models")[entry["model"]]["source"]
    assert f"`{source['id']}`, revision `{source['revision']}`" in text
    for role, name in entry["rubrics"].items():
        assert f"`{role}` version {study.rubrics[name]['version']}" in text
    method = study.judges["qwen2-5-32b"]["method"]
    assert f"`method: {{number: {method['number']}, choice: {method['choice']}}}`" in text
    assert f"`tolerance: {method['tolerance']:g}`" in text
    assert not method["opening"]
