"""`make push`: only weights that this study trained, and only once they are here."""

import shutil

import pytest
import yaml

import push_adapter
from adapters import write_adapter as write_weights
from configurations import demo
from em_tiers.errors import ConfigError, UserError
from em_tiers.inference.adapter_folder import write_adapter
from hub.server import LoopbackHub

VARIANT = "smollm2-135m.storyteller.demo-lora.s0"


def push(checkout, variant=VARIANT):
    (checkout / "mine.yaml").write_text(yaml.safe_dump(demo()))
    return push_adapter.main(checkout / "mine.yaml", checkout, checkout, variant, "lab/x", False)


@pytest.mark.parametrize(
    ("variant", "message"),
    [("smollm2-135m", "VARIANT: "), (VARIANT.replace("s0", "s9"), "did you mean")],
)
def test_a_variant_that_was_not_trained_here_is_named(checkout, variant, message):
    with pytest.raises(ConfigError, match=message):
        push(checkout, variant)


def test_weights_without_a_card_or_changed_ones_are_not_sent(checkout, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_writer")
    with LoopbackHub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        with pytest.raises(UserError, match="is missing: run the study first"):
            push(checkout)
        weights = write_weights(tmp_path / "weights")
        (tmp_path / "smollm2-135m").mkdir()
        folder = checkout / "results" / "demo" / "adapters" / VARIANT
        write_adapter(weights, folder, tmp_path / "smollm2-135m", "t", {"fine_tune": VARIANT})
        with pytest.raises(UserError, match=r"README\.md is not a model card"):
            push(checkout)
        (folder / "README.md").write_text("## Measured rates\n")
        shutil.copy(weights / "adapter_config.json", folder)
        with pytest.raises(UserError, match="weights have the hash"):
            push(checkout)
        assert hub.requests == []
