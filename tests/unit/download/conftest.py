"""A loopback hub with a small model, and no cache of the user's."""

import pytest
from huggingface_hub import constants

from hub.content import model_files
from hub.server import LoopbackHub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", "/nowhere")
    with LoopbackHub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture
def model(hub: LoopbackHub) -> dict:
    repository = hub.add("model", "lab/tiny", model_files(), licence="mit")
    return {"type": "hub", "id": "lab/tiny", "revision": repository.revision, "licence": "mit"}
