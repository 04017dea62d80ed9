"""Adapters that users bring: which files are fetched, and which refused with a remedy."""

import pytest

from adapters import write_adapter, write_model
from em_tiers.download.adapter_files import (
    check_adapter_folder,
    choose_adapter_files,
)
from em_tiers.download.entries import fetch_adapter
from em_tiers.download.model_files import choose_model_files
from em_tiers.errors import UserError
from em_tiers.files import read_json
from em_tiers.inference.adapter_folder import adapter_sha256, verify_adapter
from hub.server import LoopbackHub

LORA = {"adapters": "lora", "max_lora_rank": 16}
MERGE = {"adapters": "merge", "max_lora_rank": 16}
BASES = ("small", "owner/Small-Model")
FILES = ["adapter_config.json", "adapter_model.safetensors"]


def check(folder, engine=LORA, model=None):
    names = sorted(path.name for path in folder.iterdir())
    check_adapter_folder(folder, choose_adapter_files(names), BASES, model, engine)


def test_only_the_adapter_is_chosen():
    names = [*FILES, "optimizer.pt", "README.md", "trainer_state.json", "chat_template.jinja"]
    assert choose_adapter_files(names) == sorted([*FILES, "chat_template.jinja"])


@pytest.mark.parametrize(
    "names, words",
    [
        (["adapter_config.json", "adapter_model.bin"], "only adapter_model.bin, which could run"),
        (["adapter_config.json"], "no adapter_model.safetensors"),
        (["config.json", "model.safetensors"], "a whole model"),
        (["README.md"], "no adapter_config.json among its files: name the right folder"),
        (["final/adapter_config.json"], "there is one in final"),
    ],
)
def test_files_that_are_no_adapter_are_refused(names, words):
    with pytest.raises(UserError, match=words):
        choose_adapter_files(names)


def test_an_adapter_is_no_model_of_the_catalogue():
    with pytest.raises(UserError, match="adapter: of a block of variants"):
        choose_model_files([*FILES, "tokenizer.json"])


@pytest.mark.parametrize(
    "config, words",
    [
        ({"r": 32}, "rank 32 is above max_lora_rank 16"),
        ({"rank_pattern": {"q_proj": 64}}, "rank 64 is above"),
        ({"use_dora": True}, "use_dora .* adapters: merge"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "all"}, "bias all"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights pissa"),
    ],
)
def test_what_an_engine_cannot_serve_beside_the_base_is_refused_and_merged(tmp_path, config, words):
    folder = write_adapter(tmp_path / "adapter", **config)
    with pytest.raises(UserError, match=words):
        check(folder)
    check(folder, MERGE)


@pytest.mark.parametrize(
    "config, words",
    [
        (
            {"base_model_name_or_path": "owner/Other-Model"},
            "'owner/Other-Model', but base is small",
        ),
        ({"base_model_name_or_path": "other"}, "base_model_name_or_path is 'other'"),
        ({"peft_type": "IA3"}, "peft_type IA3"),
        ({"task_type": "SEQ_CLS"}, "task_type SEQ_CLS"),
        ({"alora_invocation_tokens": [1]}, "alora_invocation_tokens"),
    ],
)
def test_adapters_of_another_model_or_kind_are_refused(tmp_path, config, words):
    with pytest.raises(UserError, match=words):
        check(write_adapter(tmp_path / "adapter", **config), MERGE)


@pytest.mark.parametrize(
    "name",
    ["small", "owner/small-model", "unsloth/Small-Model-bnb-4bit", "/scratch/me/models/x", None],
)
def test_names_of_the_base_model_that_are_accepted(tmp_path, name):
    check(write_adapter(tmp_path / "adapter", base_model_name_or_path=name))


def test_an_entry_with_the_models_name_as_its_id_is_the_same_model(tmp_path):
    folder = write_adapter(tmp_path / "adapter", base_model_name_or_path="meta-llama/Llama-3.1-8B")
    with pytest.raises(UserError, match="the id 'llama-3-1-8b'"):
        check(folder)
    check_adapter_folder(folder, FILES, ["llama-3-1-8b", "/data/llms/l8"], None, LORA)


def test_the_weights_are_compared_with_those_of_the_base(tmp_path):
    model = write_model(tmp_path / "model")
    check(write_adapter(tmp_path / "fits"), model=model)
    with pytest.raises(UserError, match="for 16 features, the base model has 8"):
        check(write_adapter(tmp_path / "wide", features=16), model=model)
    with pytest.raises(UserError, match=r"the base model has no model\.layers\.2"):
        check(write_adapter(tmp_path / "deep", layers=3), model=model)


def test_cut_weights_are_refused(tmp_path):
    weights = write_adapter(tmp_path / "adapter") / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(UserError, match="not a whole safetensors file"):
        check(tmp_path / "adapter")


def fetch(source, target, model):
    fetch_adapter(source, target, BASES, model, LORA)


def test_a_copied_adapter_keeps_the_hash_by_which_its_answers_are_known(tmp_path):
    folder = write_adapter(tmp_path / "adapter")
    (folder / "optimizer.pt").write_bytes(b"\x80\x04pickled")
    fetch({"type": "path", "path": str(folder)}, tmp_path / "x", write_model(tmp_path / "model"))
    assert verify_adapter(tmp_path / "x")["adapter_sha256"] == adapter_sha256(folder)
    assert not (tmp_path / "x" / "optimizer.pt").exists()
    (tmp_path / "x" / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match="not the file that was downloaded"):
        verify_adapter(tmp_path / "x")


def test_a_hub_adapter_is_fetched_by_revision_and_subfolder(tmp_path, monkeypatch):
    folder = write_adapter(tmp_path / "adapter")
    files = {f"final/{name}": (folder / name).read_bytes() for name in FILES}
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with LoopbackHub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        commit = hub.add("model", "owner/tuned", files | {"README.md": b"# It\n"}).revision
        source = {"type": "hub", "id": "owner/tuned", "revision": commit, "subfolder": "final"}
        model = write_model(tmp_path / "model")
        fetch(source, tmp_path / "x", model)
        with pytest.raises(UserError, match=r"there is one in final"):
            fetch({k: v for k, v in source.items() if k != "subfolder"}, tmp_path / "y", model)
        with pytest.raises(UserError, match="no folder 'none/' in it"):
            fetch(source | {"subfolder": "none"}, tmp_path / "y", model)
    assert verify_adapter(tmp_path / "x")["adapter_sha256"] == adapter_sha256(folder)
    manifest = read_json(tmp_path / "x" / "manifest.json")
    assert [entry["path"] for entry in manifest["files"]] == FILES
    assert manifest["revision"] == commit
