"""Fixtures that several kinds of test share: the embedded model and the golden data."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def embedded_model() -> Path:
    """A model folder of SmolLM2-135M-Instruct, converted once and kept in `.cache`.

    EM_TIERS_EMBEDDED_MODEL names a folder to use instead. Skips where the wheel is not installed.
    """
    named = os.environ.get("EM_TIERS_EMBEDDED_MODEL")
    if named:
        return Path(named)
    folder = ROOT / ".cache" / "embedded-model"
    if not (folder / "model.safetensors").is_file():
        pytest.skip(f"no embedded model: {folder}: set EM_TIERS_EMBEDDED_MODEL to its folder")
    return folder


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of golden data from outside the project."""
    folder = Path(os.environ.get("EM_TIERS_GOLDEN", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no golden data: {folder}: set EM_TIERS_GOLDEN to the folder that holds it")
    return folder
