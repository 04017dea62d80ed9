"""The archive's round trip on the real workflow: archived, restored elsewhere, run again.

The tests share two folders and run in the order of the file.
"""

import shutil
import zipfile

import pytest

import restore_archive as restore_script
from em_tiers.archive_check import verify_archive
from em_tiers.archive_restore import PLACEHOLDER, restore_archive
from em_tiers.files import sha256_of_file
from workdir import ROOT, Workdir

pytestmark = [pytest.mark.heavy, pytest.mark.e2e]

MODEL = "results/resources/models/tiny"
JUDGE = "judge_tiny-judge_tiny-0"


@pytest.fixture(scope="module")
def work(tmp_path_factory, embedded_model):
    folder = Workdir(tmp_path_factory.mktemp("original"), "smallest", embedded_model)
    folder.run()
    return folder


@pytest.fixture(scope="module")
def packed(work):
    work.run("archive")
    return work.folder / "results" / "smallest.archive.zip"


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory, packed, embedded_model):
    folder = tmp_path_factory.mktemp("elsewhere")
    restore_archive(packed, ROOT, folder)
    # The archive brought the user's files: the case's own, unchanged.
    assert (folder / "config.yaml").is_file()
    assert (folder / "catalogue" / "rubrics" / "short-alignment.yaml").is_file()
    return Workdir(folder, "smallest", embedded_model)


def is_statistics(jobs) -> bool:
    stages = ("summarize_", "plot_", "build_")
    return all(job in ("all", "assign_tiers") or job.startswith(stages) for job in jobs)


def test_the_archive_is_sound_and_reproducible(work, packed):
    assert verify_archive(packed).sound
    digest = sha256_of_file(packed)
    packed.unlink()
    work.run("archive")
    assert sha256_of_file(packed) == digest


def test_the_archive_holds_no_path_of_this_machine(work, packed):
    with zipfile.ZipFile(packed) as archive:
        names = archive.namelist()
        for name in names:
            assert str(work.folder).encode() not in archive.read(name), name
    assert not [n for n in names if n.endswith((".safetensors", "train.jsonl"))]
    assert {"results/smallest/overview.html", "results/smallest/browser/index.html"} <= set(names)


def test_a_restored_run_has_nothing_to_do(elsewhere):
    assert (elsewhere.folder / MODEL / PLACEHOLDER).is_file()
    assert not list(elsewhere.folder.rglob("*.safetensors"))
    assert not elsewhere.run("-n").jobs
    effective = "results/smallest/provenance/config.json"
    assert not elsewhere.run("-n", "--configfile", effective).jobs


def test_statistics_and_figures_rebuild_without_a_model(elsewhere, work):
    for name in ("tables", "figures"):
        shutil.rmtree(elsewhere.results / name)
    jobs = elsewhere.run().jobs
    assert jobs["summarize_rates"] == jobs["plot_rates"] == 1
    assert is_statistics(jobs)
    table = "tables/rates.csv"
    assert (elsewhere.results / table).read_bytes() == (work.results / table).read_bytes()


def test_a_changed_judge_runs_alone(elsewhere):
    sampled = elsewhere.journal_keys("sample")
    path = "catalogue/rubrics/short-alignment.yaml"
    old = elsewhere.read(path)
    elsewhere.write(
        path, old | {"prompt": old["prompt"].replace("Grade how kind", "Judge how kind")}
    )
    planned = elsewhere.run("-n").jobs
    assert planned.pop(JUDGE) == 1
    assert is_statistics(planned)
    # The judge's weights were not archived: fetched as the manifest says, in place.
    assert restore_script.main(None, ROOT, elsewhere.folder, fetch=True) == 0
    jobs = elsewhere.run().jobs
    assert jobs.pop(JUDGE) == 1
    assert is_statistics(jobs)
    assert elsewhere.journal_keys("sample") == sampled
    assert not elsewhere.run("-n").jobs
