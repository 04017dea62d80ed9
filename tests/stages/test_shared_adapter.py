"""An adapter as training leaves it, with a base model on the loopback hub: others can load it."""

import os
import subprocess
import sys

import pytest

from em_tiers.download.entries import fetch_model
from em_tiers.files import read_json
from em_tiers.inference.adapter_folder import write_adapter
from em_tiers.inference.random_model import write_random_adapter, write_random_model
from em_tiers.train.checkpoints import name_of_base
from hub.server import LoopbackHub

pytestmark = pytest.mark.heavy

SMALL = {"hidden_size": 32, "intermediate_size": 32, "head_dim": 8, "num_hidden_layers": 1}
LOAD = """
import sys
from peft import AutoPeftModelForCausalLM
model = AutoPeftModelForCausalLM.from_pretrained(sys.argv[1])
print(type(model).__name__, model.peft_config["default"].revision)
"""


def test_auto_peft_model_loads_an_adapter_with_its_base_from_the_hub(tmp_path, monkeypatch):
    made = write_random_model(tmp_path / "made", SMALL)
    weights = write_random_adapter(made, tmp_path / "weights")
    files = {p.name: p.read_bytes() for p in made.iterdir()}
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with LoopbackHub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        revision = hub.add("model", "lab/Random-1B", files).revision
        source = {"type": "hub", "id": "lab/Random-1B", "revision": revision}
        fetch_model(source, tmp_path / "models" / "random-1b")
        adapter = tmp_path / "adapters" / "random-1b.tales.quick.s0"
        base = tmp_path / "models" / "random-1b"
        write_adapter(weights, adapter, base, "t", {"seed": 0}, name_of_base(base))
        config = read_json(adapter / "adapter_config.json")
        assert config["base_model_name_or_path"] == "lab/Random-1B"
        assert config["revision"] == revision
        environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
        done = subprocess.run(
            [sys.executable, "-c", LOAD, adapter], env=environment, capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["PeftModelForCausalLM", revision]
    assert all(revision in r.path for r in hub.asked("/lab/Random-1B/resolve/"))
