"""A snapshot is the study that it was written from, and knows the code that it was written with."""

import json
import threading
from datetime import date
from pathlib import Path

import pytest
import yaml

from configurations import demo, load, put
from em_tiers.errors import ConfigError
from em_tiers.study.load import load_study
from em_tiers.study.snapshot import (
    KEY,
    edited_code,
    load_for_job,
    load_snapshot,
    write_snapshot,
)
from workdir import CASES, copy_workflow

ROOT = Path(__file__).parents[3]
CONFIGURATIONS = [
    *(ROOT / "config" / name for name in ("demo.yaml", "config.yaml")),
    CASES / "import_only" / "config.yaml",
    CASES / "api_judge" / "config.yaml",
]


@pytest.fixture
def workflow(tmp_path):
    """A copy of the workflow's code."""
    (tmp_path / "workflow").mkdir()
    return copy_workflow(tmp_path / "workflow")


def text_of(study):
    """Everything in a study, in its order."""
    return json.dumps(vars(study), default=repr)


@pytest.mark.parametrize("file", CONFIGURATIONS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_job_has_the_study_of_its_run_in_the_same_order(file, tmp_path):
    study = load_study(yaml.safe_load(file.read_text()), ROOT, file.parent)
    path = write_snapshot(study, tmp_path)
    loaded = load_for_job({KEY: path}, ROOT, file.parent)
    assert loaded == study
    assert text_of(loaded) == text_of(study)


def test_checkpoints_and_imports_are_the_same_variants(tmp_path):
    study = load(ROOT, put(demo(), "variants.0.checkpoints", [10]))
    loaded = load_snapshot(write_snapshot(study, tmp_path), ROOT, ROOT)
    assert loaded.variants == study.variants
    assert loaded.fine_tunes == study.fine_tunes
    assert loaded.batches["smollm2-135m.storyteller.0"][0].checkpoint_step == 10


def test_partial_results_stay_those_of_the_start(tmp_path):
    """What is sampled while jobs wait is not part of them."""
    responses = tmp_path / "results" / "demo" / "responses"
    responses.mkdir(parents=True)
    (responses / "smollm2-135m.parquet").touch()
    study = load_study(demo() | {"partial": True}, ROOT, tmp_path)
    path = write_snapshot(study, tmp_path)
    (responses / "smollm2-135m.storyteller.0.parquet").touch()
    loaded = load_for_job({KEY: path}, ROOT, tmp_path)
    assert list(loaded.batches) == ["smollm2-135m"]
    assert len(loaded.missing) == 2


def test_one_study_is_one_file_that_is_never_changed(tmp_path):
    path = Path(write_snapshot(load(ROOT), tmp_path))
    before = path.stat()
    other = write_snapshot(load(ROOT, demo() | {"title": "Another title"}), tmp_path)
    assert write_snapshot(load(ROOT), tmp_path) == str(path)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert other != str(path)
    assert sorted(tmp_path.iterdir()) == sorted([path, Path(other)])


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("scripts/assign_tiers.py", lambda file: file.write_text(f"{file.read_text()}\n# edited")),
        ("scripts/em_tiers/tiers/outcomes.py", lambda file: file.write_text("")),
        ("rules/tiers.smk", lambda file: file.unlink()),
        ("scripts/em_tiers/new.py", lambda file: file.touch()),
        ("Snakefile", lambda file: file.write_text("")),
    ],
)
def test_a_job_refuses_edited_code(workflow, tmp_path, name, edit):
    path = write_snapshot(load(workflow), tmp_path)
    assert load_for_job({KEY: path}, workflow, workflow) == load(workflow)
    assert edited_code(path, workflow) == ""
    edit(workflow / name)
    with pytest.raises(ConfigError, match=rf"edited after this run started \({name}\): start the"):
        load_for_job({KEY: path}, workflow, workflow)
    assert edited_code(path, workflow) == name


def test_byte_code_and_configuration_are_not_code(workflow, tmp_path):
    path = write_snapshot(load(workflow), tmp_path)
    (workflow / "scripts" / "__pycache__").mkdir(exist_ok=True)
    (workflow / "scripts" / "__pycache__" / "sample.cpython-311.pyc").write_bytes(b"new")
    (workflow / "config" / "judges.yaml").write_text("{half an edit")
    assert load_for_job({KEY: path}, workflow, workflow).judges


def test_a_message_names_three_files(workflow, tmp_path):
    path = write_snapshot(load(workflow), tmp_path)
    for number in range(5):
        (workflow / "rules" / f"new-{number}.smk").touch()
    edited = "rules/new-0.smk, rules/new-1.smk, rules/new-2.smk and 2 more"
    assert edited_code(path, workflow) == edited


def test_a_damaged_snapshot_is_refused_and_written_again(tmp_path):
    path = Path(write_snapshot(load(ROOT), tmp_path))
    whole = path.read_text()
    path.write_text(whole.replace('"D1"', '"D3"', 1))
    assert path.read_text() != whole
    with pytest.raises(ConfigError, match=r"is damaged: start the run again"):
        load_for_job({KEY: str(path)}, ROOT, ROOT)
    write_snapshot(load(ROOT), tmp_path)
    assert path.read_text() == whole


def test_a_job_without_a_snapshot_reads_no_configuration(tmp_path):
    with pytest.raises(ConfigError, match=rf"config.{KEY}: missing: .* without --no-hooks"):
        load_for_job(demo(), ROOT, ROOT)
    with pytest.raises(ConfigError, match=r"none.json cannot be read .* start the run again"):
        load_for_job({KEY: str(tmp_path / "none.json")}, ROOT, ROOT, patience_s=0)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [(1, "x", "keys that are numbers"), ("day", date(2026, 1, 1), "dates")],
)
def test_what_json_cannot_hold_is_refused(tmp_path, key, value, message):
    study = load(ROOT)
    study.rubrics = {"odd": {key: value}}
    with pytest.raises(ConfigError, match=message):
        write_snapshot(study, tmp_path)
    assert not list(tmp_path.iterdir())


def test_results_cannot_be_moved():
    with pytest.raises(ConfigError, match=r"config.pathvars: .* remove this key"):
        load(ROOT, demo() | {"pathvars": {"results": "elsewhere"}})


def test_a_job_waits_for_a_file_that_the_file_system_does_not_show_yet(tmp_path):
    path = Path(write_snapshot(load(ROOT), tmp_path))
    hidden = path.rename(tmp_path / "hidden")
    timer = threading.Timer(1.5, hidden.rename, [path])
    timer.start()
    assert load_for_job({KEY: str(path)}, ROOT, ROOT) == load(ROOT)
    timer.join()
