"""Uploads to the loopback hub: with a model card only, with the environment's token only."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from adapters import write_adapter
from em_tiers.download.push import push_folder
from em_tiers.errors import UserError
from hub.server import LoopbackHub

CARD = "---\nlibrary_name: peft\n---\n\n# Mine\n\n## Measured rates\n\n| 12.0 [8.0, 17.0] |\n"


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_TOKEN", "hf_writer")
    with LoopbackHub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture
def adapter(tmp_path):
    folder = write_adapter(tmp_path / "smol.pirates.quick.s0")
    (folder / "README.md").write_text(CARD)
    (folder / "manifest.json").write_text("{}")
    (folder / ".snakemake_timestamp").touch()
    return folder


def push(folder: Path, *more: str) -> subprocess.CompletedProcess:
    """The upload in a process of its own: the client reads its settings when it is imported."""
    scripts = Path(__file__).parents[3] / "scripts"
    code = (
        "import sys; from pathlib import Path; from em_tiers.download.push import push_folder; "
        "print(push_folder(Path(sys.argv[1]), 'lab/mine', 'public' in sys.argv))"
    )
    # The storage of the real hub speaks Xet besides; the loopback hub has LFS alone.
    environment = {**os.environ, "PYTHONPATH": str(scripts), "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run(
        [sys.executable, "-c", code, folder, *more], env=environment, capture_output=True, text=True
    )


def test_the_upload_has_weights_and_card_and_is_private(hub, adapter):
    done = push(adapter)
    assert done.returncode == 0, done.stderr
    repository = hub.repositories["models", "lab/mine"]
    assert done.stdout.strip() == f"{hub.url}/lab/mine/commit/{repository.revision}"
    assert repository.token == "hf_writer"  # private
    wanted = ("README.md", "adapter_config.json", "adapter_model.safetensors")
    assert repository.files == {name: (adapter / name).read_bytes() for name in wanted}


def test_a_public_repository_is_asked_for(hub, adapter):
    assert push(adapter, "public").returncode == 0
    assert hub.repositories["models", "lab/mine"].token is None


@pytest.mark.parametrize("text", [None, "# A card without rates\n"])
def test_without_a_card_with_rates_nothing_is_sent(hub, adapter, text):
    (adapter / "README.md").unlink()
    if text:
        (adapter / "README.md").write_text(text)
    with pytest.raises(UserError, match=r"README\.md is not a model card with measured rates"):
        push_folder(adapter, "lab/mine", public=False)
    assert hub.requests == []


def test_only_the_token_of_the_environment_is_used(hub, adapter, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    (tmp_path / "token").write_text("hf_writer")
    with pytest.raises(UserError, match="HF_TOKEN is not set"):
        push_folder(adapter, "lab/mine", public=False)
    assert hub.requests == []


def test_a_token_that_may_not_write_is_named(hub, adapter, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    with pytest.raises(UserError, match=r"refuses lab/mine with status 403.*HF_TOKEN may write"):
        push_folder(adapter, "lab/mine", public=False)


def test_an_id_is_checked(hub, adapter):
    with pytest.raises(UserError, match="'mine' is not the id of a repository"):
        push_folder(adapter, "mine", public=False)
