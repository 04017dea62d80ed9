"""What tells one model from another: its files if it comes from a path, not the path."""

from pathlib import Path

import pytest

from em_tiers.download.manifests import content_identity, write_manifest
from em_tiers.errors import UserError


def model(folder: Path, weights: str) -> Path:
    folder.mkdir()
    (folder / "model.safetensors").write_text(weights)
    source = {"type": "path", "path": str(folder)}
    write_manifest(folder, source, ["model.safetensors"])
    return folder


def test_a_model_from_a_path_is_told_by_its_files(tmp_path):
    one = content_identity({"path": "a"}, model(tmp_path / "one", "weights"))
    moved = content_identity({"path": "b"}, model(tmp_path / "moved", "weights"))
    other = content_identity({"path": "a"}, model(tmp_path / "other", "other weights"))
    assert one == moved
    assert one != other


def test_a_pinned_model_is_told_by_its_revision(tmp_path):
    pinned = {"id": "owner/name", "revision": "a" * 40}
    assert content_identity(pinned, tmp_path) == pinned


def test_a_folder_without_a_manifest_is_no_download(tmp_path):
    with pytest.raises(UserError, match=r"no manifest\.json: run its download again"):
        content_identity({"path": "a"}, tmp_path)
