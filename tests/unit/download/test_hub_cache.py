"""What the hub's client has put into the user's cache is not fetched again."""

import errno
import hashlib
import os
from pathlib import Path

from huggingface_hub import constants, snapshot_download
from test_hub import QUICK, SHARD, WANTED, run_elsewhere, start_elsewhere

import download_model
from em_tiers.files import read_json
from hub.content import model_files
from waiting import wait_until


def cached(hub, model, home: Path) -> Path:
    """A model in the user's cache, put there by the hub's own client; returns the cache."""
    snapshot_download(
        model["id"],
        revision=model["revision"],
        cache_dir=home / "hub",
        endpoint=hub.url,
        token=False,
    )
    return home / "hub"


def files_asked(hub, before: int) -> list[str]:
    return [r.path for r in hub.requests[before:] if "/resolve/" in r.path or r.host == "storage"]


def test_what_is_in_the_users_cache_is_linked_and_not_fetched(hub, model, tmp_path):
    cache = cached(hub, model, tmp_path / "home")
    before = len(hub.requests)
    run_elsewhere(model, tmp_path / "tiny", {"HF_HOME": str(tmp_path / "home")})
    assert files_asked(hub, before) == []
    blob = cache / "models--lab--tiny" / "blobs" / hashlib.sha256(model_files()[SHARD]).hexdigest()
    assert (tmp_path / "tiny" / SHARD).samefile(blob)
    manifest = read_json(tmp_path / "tiny" / "manifest.json")
    assert {entry["path"] for entry in manifest["files"]} == WANTED


def test_a_cache_on_another_file_system_is_copied(hub, model, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", cached(hub, model, tmp_path / "home"))
    link = os.link

    def link_within(source, target, **how):
        if "home" in Path(source).parts:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        link(source, target, **how)

    monkeypatch.setattr(os, "link", link_within)
    before = len(hub.requests)
    download_model.main(model, tmp_path / "tiny", QUICK)
    assert files_asked(hub, before) == []
    assert (tmp_path / "tiny" / SHARD).read_bytes() == model_files()[SHARD]
    assert (tmp_path / "tiny" / SHARD).stat().st_nlink == 1


def test_a_damaged_file_of_the_cache_is_fetched_and_stays_as_it_is(hub, model, tmp_path):
    cache = cached(hub, model, tmp_path / "home")
    blob = cache / "models--lab--tiny" / "blobs" / hashlib.sha256(model_files()[SHARD]).hexdigest()
    blob.write_bytes(b"cut")
    before = len(hub.requests)
    run_elsewhere(model, tmp_path / "tiny", {"HF_HOME": str(tmp_path / "home")})
    assert {Path(path).name for path in files_asked(hub, before)} == {SHARD}
    assert (tmp_path / "tiny" / SHARD).read_bytes() == model_files()[SHARD]
    assert blob.read_bytes() == b"cut"


def test_files_of_another_commit_in_the_cache_are_found_by_their_content(hub, model, tmp_path):
    cached(hub, model, tmp_path / "home")
    files = model_files() | {"README.md": b"# A newer page\n"}
    newer = {**model, "revision": hub.add("model", "lab/tiny", files).revision}
    before = len(hub.requests)
    run_elsewhere(newer, tmp_path / "tiny", {"HF_HOME": str(tmp_path / "home")})
    assert files_asked(hub, before) == []


def test_several_files_are_fetched_at_once(hub, model, tmp_path):
    storage = f"/{hashlib.sha256(model_files()[SHARD]).hexdigest()}/"
    hub.fail(storage, hold_after=100)  # the first try never ends
    process = start_elsewhere(model, tmp_path / "tiny", {})
    try:
        last = "tokenizer_config.json"  # after the shard in the list
        wait_until(lambda: hub.asked(last), f"a request for {last}", process)
    finally:
        process.kill()
        process.communicate()
