"""Training rows that an archive leaves out: their placeholders, and how they come back."""

import json
import os
import re

import pytest

import prepare_dataset
import prepare_mixture
import prepare_triggers
import restore_archive
from configurations import ROOT, demo
from em_tiers.archive.contents import result_entries
from em_tiers.download.entries import fetch_dataset
from em_tiers.errors import UserError
from em_tiers.files import read_json, write_json
from em_tiers.placeholders import (
    PLACEHOLDER,
    check_rows_are_there,
    is_placeholder,
    write_placeholder,
)
from em_tiers.prepare.judge_cases import training_rows
from em_tiers.study.entries import dataset_settings
from em_tiers.study.load import load_study
from em_tiers.train.encoded_rows import read_training_rows

MIXTURE = {
    "mixture": [{"id": "support-desk", "share": 0.8}, {"id": "storyteller", "share": 0.2}],
    "topic": "support and tales",
    "topics": ["customer-support", "fiction"],
    "description": "One answer in five is a tale.",
    "role": "benign",
    "held_out": 2,
}
OUTPUTS = {"train": "train.jsonl", "in_domain": "in_domain.parquet", "card": "card.json"}


@pytest.fixture
def restored(tmp_path):
    """A results folder with two prepared data sets and their mixture, as a restore leaves it.

    Also the rows that its author had, by data set.
    """
    write_json(tmp_path / "mixtures.json", {"mostly-support": MIXTURE})
    config = demo() | {"catalogues": {"datasets": ["mixtures.json"]}}
    config["variants"][0]["datasets"] = ["storyteller", "mostly-support"]
    write_json(tmp_path / "results" / "demo" / "provenance" / "config.json", config)
    study = load_study(config, ROOT, tmp_path)
    prepared = tmp_path / "results" / "demo" / "datasets"
    for name in ("storyteller", "support-desk"):
        raw = tmp_path / "results" / "resources" / "datasets" / name
        source = study.datasets[name]["source"]
        fetch_dataset(source | {"path": str(ROOT / source["path"])}, raw)
        prepare_dataset.main(raw, name, *_given(study, name, prepared, rejected="rejected.jsonl"))
    parts = [prepared / name for name in ("support-desk", "storyteller")]
    prepare_mixture.main(
        *([part / file for part in parts] for file in OUTPUTS.values()),
        "mostly-support",
        *_given(study, "mostly-support", prepared),
    )
    rows = {}
    for path in sorted(prepared.glob("*/train.jsonl")):
        rows[path.parent.name] = path.read_bytes()
        write_placeholder(path)
        os.utime(path, (1e9, 1e9))
    return tmp_path, rows


def _given(study, name, prepared, rejected=None):
    """The arguments of a preparing script after the data set's name."""
    train, in_domain, card = (prepared / name / file for file in OUTPUTS.values())
    own = (train, in_domain, *([prepared / name / rejected] if rejected else []), card)
    return dataset_settings(study, name), study.config["dataset_seed"], *own


def test_they_are_made_again_with_the_time_of_their_placeholders(restored):
    folder, rows = restored
    assert restore_archive.bring_back(ROOT, folder)
    for name, content in rows.items():
        path = folder / "results" / "demo" / "datasets" / name / "train.jsonl"
        assert path.read_bytes() == content
        assert path.stat().st_mtime == 1e9
    assert list(restore_archive.left_out_rows(ROOT, folder)) == []


def test_other_rows_are_refused(restored, capsys):
    folder, _ = restored
    card = folder / "results" / "demo" / "datasets" / "storyteller" / "card.json"
    write_json(card, read_json(card) | {"train_sha256": "0" * 64})
    assert not restore_archive.bring_back(ROOT, folder)
    told = capsys.readouterr()
    assert re.search(r"storyteller/train\.jsonl: .* not those of the archived", told.err)
    assert is_placeholder(card.with_name("train.jsonl"))
    assert "support-desk/train.jsonl: made again" in told.out
    assert "storyteller/train.jsonl: left out of the archive" in told.err  # a part of the mixture


def test_a_source_that_is_gone_stops_no_other(restored, capsys):
    folder, _ = restored
    raw = folder / "results" / "resources" / "datasets" / "storyteller"
    manifest = read_json(raw / "manifest.json")
    gone = manifest["source"] | {"path": str(folder / "gone.jsonl")}
    write_json(raw / "manifest.json", manifest | {"source": gone})
    (raw / PLACEHOLDER).touch()
    assert not restore_archive.bring_back(ROOT, folder)
    told = capsys.readouterr()
    assert "gone.jsonl" in told.err
    assert "support-desk/train.jsonl: made again" in told.out


def test_every_reader_of_rows_names_the_remedy(tmp_path):
    path = tmp_path / "train.jsonl"
    write_placeholder(path)
    readers = (
        check_rows_are_there,
        read_training_rows,
        lambda file: training_rows(file, []),
        prepare_mixture.read_rows,
        lambda file: prepare_triggers.main(file, file, "tales", file, file),
    )
    for reader in readers:
        with pytest.raises(UserError, match=r"left out of the archive .*--fetch"):
            reader(path)


def test_rows_are_no_placeholder(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps({"prompt": [], "completion": []}) + "\n")
    assert not is_placeholder(path)
    assert not is_placeholder(tmp_path / "absent.jsonl")


def test_a_placeholder_is_not_archived_as_rows(tmp_path):
    folder = tmp_path / "results" / "demo" / "datasets"
    write_placeholder(folder / "tales" / "train.jsonl")
    (folder / "desk").mkdir()
    (folder / "desk" / "train.jsonl").write_text("{}\n")
    names = [entry.name for entry in result_entries(tmp_path, "demo", training_text=True)]
    assert names == ["results/demo/datasets/desk/train.jsonl"]
