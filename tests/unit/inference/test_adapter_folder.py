"""The folder that a fine-tune leaves."""

import json
import shutil

import pytest

from em_tiers.errors import UserError
from em_tiers.inference.adapter_folder import adapter_sha256, verify_adapter, write_adapter
from em_tiers.train.checkpoints import name_of_base

FACTS = {"seed": 0, "precision": "bf16"}


@pytest.fixture
def lora(tmp_path):
    """Weights as peft leaves them, and the folder of their base model."""
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "adapter_model.safetensors").write_bytes(b"weights")
    config = {"base_model_name_or_path": "/home/a/model", "target_modules": ["v", "k", "q"]}
    (weights / "adapter_config.json").write_text(json.dumps(config))
    base = tmp_path / "smollm2-135m"
    base.mkdir()
    return weights, base


def test_lora_folder_names_the_model_and_no_path(lora, tmp_path):
    weights, base = lora
    digest = write_adapter(weights, tmp_path / "out", base, "{{ template }}", FACTS)
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config == {"base_model_name_or_path": "smollm2-135m", "target_modules": ["k", "q", "v"]}
    assert (tmp_path / "out" / "chat_template.jinja").read_text() == "{{ template }}"
    manifest = verify_adapter(tmp_path / "out")
    assert manifest["adapter_sha256"] == digest == adapter_sha256(tmp_path / "out")
    assert (manifest["kind"], manifest["base"], manifest["seed"]) == ("lora", "smollm2-135m", 0)
    assert set(manifest["files"]) == {
        "adapter_model.safetensors",
        "adapter_config.json",
        "chat_template.jinja",
    }


def test_a_base_model_of_the_hub_is_named_by_id_and_commit(lora, tmp_path):
    weights, base = lora
    source = {"type": "hub", "id": "Owner/Model-1B", "revision": "c" * 40}
    (base / "manifest.json").write_text(json.dumps({"source": source, "files": []}))
    write_adapter(weights, tmp_path / "out", base, "t", FACTS, name_of_base(base))
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "Owner/Model-1B"
    assert config["revision"] == "c" * 40
    assert verify_adapter(tmp_path / "out")["base"] == "smollm2-135m"
    # A training that began under another name keeps it, and so its hash and its answers.
    old = {"base_model_name_or_path": "smollm2-135m"}
    write_adapter(weights, tmp_path / "kept", base, "t", FACTS, old)
    config = json.loads((tmp_path / "kept" / "adapter_config.json").read_text())
    assert config == {**old, "target_modules": ["k", "q", "v"]}


def test_hash_does_not_depend_on_the_order_of_modules(lora, tmp_path):
    weights, base = lora
    first = write_adapter(weights, tmp_path / "a", base, "t", FACTS)
    config = {"base_model_name_or_path": "/other", "target_modules": ["q", "v", "k"]}
    (weights / "adapter_config.json").write_text(json.dumps(config))
    assert write_adapter(weights, tmp_path / "b", base, "t", FACTS) == first


def test_changed_weights_are_noticed(lora, tmp_path):
    weights, base = lora
    write_adapter(weights, tmp_path / "out", base, "t", FACTS)
    (tmp_path / "out" / "adapter_model.safetensors").write_bytes(b"other")
    with pytest.raises(UserError, match="weights have the hash"):
        verify_adapter(tmp_path / "out")


@pytest.mark.parametrize(
    ("own", "others"),
    [
        ("a.x.r.s0", "a.y.r.s0"),
        ("a.x.r.s0/step5", "a.x.r.s0/step10"),
        ("a.x.r.s0/step5", "a.x.r.s0"),
    ],
)
def test_the_folder_of_another_variant_is_refused(lora, tmp_path, own, others):
    weights, base = lora
    write_adapter(weights, tmp_path / own, base, "t", {**FACTS, "fine_tune": own})
    assert verify_adapter(tmp_path / own)["fine_tune"] == own
    moved = tmp_path / "moved" / others
    shutil.copytree(tmp_path / own, moved)
    with pytest.raises(UserError, match=f"its manifest says that it is {own}"):
        verify_adapter(moved)


@pytest.mark.parametrize("content", ["", "null", "[]", "{", '{"adapter_sha256": 1}', "[" * 100_000])
def test_a_damaged_manifest_is_named(lora, tmp_path, content):
    weights, base = lora
    write_adapter(weights, tmp_path / "out", base, "t", FACTS)
    (tmp_path / "out" / "manifest.json").write_text(content)
    with pytest.raises(UserError, match=r"out/manifest\.json: damaged, .*: delete it"):
        verify_adapter(tmp_path / "out")


def test_folder_without_manifest_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no manifest\.json"):
        verify_adapter(tmp_path)


@pytest.mark.heavy
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_fully_trained_model_is_a_whole_folder(tmp_path, precision):
    import torch
    from safetensors.torch import load_file, save_file

    base = tmp_path / "base"
    base.mkdir()
    for name in ("config.json", "tokenizer.json", "manifest.json", "model.safetensors", "old.bin"):
        (base / name).write_text("{}")
    weights = tmp_path / "weights"
    weights.mkdir()
    trained = torch.tensor([1.0, 0.5])
    save_file({"w": trained}, weights / "model.safetensors")
    write_adapter(weights, tmp_path / "out", base, "t", {"precision": precision})
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == [
        "chat_template.jinja",
        "config.json",
        "manifest.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    saved = load_file(tmp_path / "out" / "model.safetensors")["w"]
    assert saved.dtype == (torch.bfloat16 if precision == "bf16" else torch.float32)
    assert torch.equal(saved.float(), trained)
    assert verify_adapter(tmp_path / "out")["kind"] == "full"
