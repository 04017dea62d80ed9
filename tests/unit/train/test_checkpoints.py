"""Which checkpoint a killed run may go on from."""

import json

import pytest

from em_tiers.train.checkpoints import (
    clear_folder,
    copy_weights,
    is_complete,
    keep_finished,
    latest_checkpoint,
    mark_complete,
    model_fingerprint,
    open_folder,
    training_fingerprint,
)

MARK = {"recipe": "a", "seed": 0}


def make_checkpoint(folder, step, *, complete=True):
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    (checkpoint / "adapter_model.safetensors").write_bytes(b"w" * 100)
    (checkpoint / "adapter_config.json").write_text("{}")
    (checkpoint / "optimizer.pt").write_bytes(b"o" * 100)
    if complete:
        mark_complete(checkpoint)
    return checkpoint


def test_latest_is_by_step_and_not_by_name(tmp_path):
    for step in (2, 10, 8):
        make_checkpoint(tmp_path, step)
    assert latest_checkpoint(tmp_path).name == "checkpoint-10"


def test_checkpoint_without_marker_is_passed_over(tmp_path):
    make_checkpoint(tmp_path, 2)
    make_checkpoint(tmp_path, 4, complete=False)
    assert latest_checkpoint(tmp_path).name == "checkpoint-2"


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_checkpoint_with_a_damaged_file_is_passed_over(tmp_path, damage):
    make_checkpoint(tmp_path, 2)
    file = make_checkpoint(tmp_path, 4) / "optimizer.pt"
    file.write_bytes(b"o" * 50) if damage == "cut" else file.unlink()
    assert latest_checkpoint(tmp_path).name == "checkpoint-2"


def flip_a_bit(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_a_checkpoint_with_a_changed_byte_is_discarded(tmp_path):
    """Its size is right: only the hash tells that other weights would be published."""
    open_folder(tmp_path, MARK)
    make_checkpoint(tmp_path, 2)
    flip_a_bit(make_checkpoint(tmp_path, 4) / "adapter_model.safetensors")
    open_folder(tmp_path, MARK)
    assert latest_checkpoint(tmp_path).name == "checkpoint-2"


def test_kept_weights_with_a_changed_byte_are_trained_again(tmp_path):
    open_folder(tmp_path, MARK)
    copy_weights(make_checkpoint(tmp_path, 2), tmp_path / "kept" / "2")
    open_folder(tmp_path, MARK)
    assert latest_checkpoint(tmp_path).name == "checkpoint-2"
    flip_a_bit(tmp_path / "kept" / "2" / "adapter_model.safetensors")
    open_folder(tmp_path, MARK)
    assert [p.name for p in tmp_path.iterdir()] == ["fingerprint.json"]


@pytest.mark.parametrize("marker", ["", "[]", '{"files": []}', '{"files": {"a": {}}}'])
def test_a_damaged_marker_counts_as_none(tmp_path, marker):
    checkpoint = make_checkpoint(tmp_path, 2)
    (checkpoint / "complete.json").write_text(marker)
    assert latest_checkpoint(tmp_path) is None


def test_a_marker_with_sizes_alone_is_read(tmp_path):
    checkpoint = make_checkpoint(tmp_path, 2)
    sizes = {"optimizer.pt": 100, "adapter_config.json": 2}
    (checkpoint / "complete.json").write_text(json.dumps({"files": sizes}))
    assert latest_checkpoint(tmp_path) == checkpoint


def test_no_checkpoint(tmp_path):
    assert latest_checkpoint(tmp_path) is None


def test_same_configuration_goes_on_without_the_torn_one(tmp_path):
    open_folder(tmp_path, MARK)
    whole = make_checkpoint(tmp_path, 2)
    torn = make_checkpoint(tmp_path, 4, complete=False)
    open_folder(tmp_path, MARK)
    assert is_complete(whole)
    assert not torn.exists()


def test_another_configuration_starts_anew(tmp_path):
    open_folder(tmp_path, MARK)
    make_checkpoint(tmp_path, 2)
    (tmp_path / "result.json").write_text("{}")
    (tmp_path / "training.lease").write_text("{}")
    open_folder(tmp_path, {**MARK, "seed": 1})
    assert latest_checkpoint(tmp_path) is None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fingerprint.json", "training.lease"]


def test_an_adapter_keeps_the_name_of_its_base_with_which_its_training_began(tmp_path):
    first = {"base_model_name_or_path": "owner/model", "revision": "a" * 40}
    other = {"base_model_name_or_path": "mirror/model", "revision": "b" * 40}
    assert open_folder(tmp_path, MARK, first) == first
    assert open_folder(tmp_path, MARK, other) == first
    assert open_folder(tmp_path, {**MARK, "seed": 1}, other) == other


def test_a_training_of_version_0_1_noted_no_name_of_its_base(tmp_path):
    open_folder(tmp_path, MARK)  # as it was left then
    make_checkpoint(tmp_path, 2)
    assert open_folder(tmp_path, MARK, {"base_model_name_or_path": "owner/model"}) == {}
    assert latest_checkpoint(tmp_path)


def test_folder_of_unknown_origin_starts_anew(tmp_path):
    make_checkpoint(tmp_path, 2)
    open_folder(tmp_path, MARK)
    assert latest_checkpoint(tmp_path) is None


def test_a_kill_while_a_finished_folder_is_cleared_leaves_nothing_that_is_taken(
    tmp_path, monkeypatch
):
    """Else the next run would find its result without its weights, and never get further."""
    open_folder(tmp_path, MARK)
    make_checkpoint(tmp_path, 2)
    (tmp_path / "result.json").write_text("{}")

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("em_tiers.train.checkpoints.shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        clear_folder(tmp_path)
    monkeypatch.undo()
    open_folder(tmp_path, MARK)
    assert [p.name for p in tmp_path.iterdir()] == ["fingerprint.json"]


def test_kept_weights_hold_nothing_pickled(tmp_path):
    copy_weights(make_checkpoint(tmp_path, 2), tmp_path / "kept" / "2")
    kept = sorted(p.name for p in (tmp_path / "kept" / "2").iterdir())
    assert kept == ["adapter_config.json", "adapter_model.safetensors", "complete.json"]


@pytest.fixture
def run(tmp_path):
    """A run's arguments for its fingerprint, with real files."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"weights")
    train = tmp_path / "train.jsonl"
    train.write_text("{}\n")
    return {
        "recipe": {"rank": 4, "save_steps": 10, "max_truncated_share": 0.1, "label": "a"},
        "seed": 0,
        "train": train,
        "model": model,
        "thinking": "none",
        "template": "{{ messages }}",
        "device": "cpu",
    }


def test_fingerprint_sees_all_that_changes_the_training(run):
    before = training_fingerprint(**run)
    others = [
        {**run, "recipe": {**run["recipe"], "rank": 8}},
        {**run, "seed": 1},
        {**run, "thinking": "off"},
        {**run, "template": "{{ other }}"},
    ]
    assert all(training_fingerprint(**other) != before for other in others)
    run["train"].write_text('{"another": "row"}\n')
    assert training_fingerprint(**run)["train"] != before["train"]
    (run["model"] / "model.safetensors").write_bytes(b"others!")
    assert training_fingerprint(**run)["model"] != before["model"]


def test_fingerprint_ignores_what_changes_nothing(run):
    other = {"save_steps": 5, "max_truncated_share": 0.5, "label": "b", "rank": 4}
    assert training_fingerprint(**{**run, "recipe": other}) == training_fingerprint(**run)


def test_a_models_manifest_stands_for_its_files(run):
    def fingerprint(**manifest) -> str:
        (run["model"] / "manifest.json").write_text(json.dumps(manifest))
        return model_fingerprint(run["model"])

    files = [{"path": "model.safetensors", "bytes": 7, "sha256": "a" * 64}]
    first = fingerprint(files=files, licence=None)
    assert fingerprint(files=files, licence="mit") == first
    assert fingerprint(files=[files[0] | {"sha256": "b" * 64}], licence=None) != first


def test_a_finished_training_keeps_its_weights_and_its_log_alone(tmp_path):
    open_folder(tmp_path, MARK)
    make_checkpoint(tmp_path, 2)
    last = make_checkpoint(tmp_path, 4, complete=False)
    (last / "trainer_state.json").write_text("{}")
    mark_complete(last)
    (tmp_path / "rows").mkdir()
    (tmp_path / "result.json").write_text("{}")
    keep_finished(tmp_path)
    assert latest_checkpoint(tmp_path) == last
    assert {file.name for file in last.iterdir()} == {
        "adapter_model.safetensors", "adapter_config.json", "trainer_state.json", "complete.json",
    }  # fmt: skip
    assert {entry.name for entry in tmp_path.iterdir()} == {
        "checkpoint-4", "result.json", "fingerprint.json",
    }  # fmt: skip
    open_folder(tmp_path, MARK)
    assert latest_checkpoint(tmp_path) == last
