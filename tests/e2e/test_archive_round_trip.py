"""The archive's round trip on the real workflow: archived, restored elsewhere, run again.

The tests share two folders and run in the order of the file. What the archive of a study with
models holds is tested in test_reruns.py, whose run is the same.
"""

import copy
import io
import shutil
import zipfile
from pathlib import Path

import pytest

import restore_archive as restore_script
from em_tiers.archive.restore import restore_archive
from em_tiers.placeholders import PLACEHOLDER, is_placeholder
from workdir import ROOT, Workdir

pytestmark = [pytest.mark.e2e]

# A CPU without bfloat16 instructions, on any machine.
OLDER_CPU = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
MODEL = "results/resources/models/tiny"
JUDGE, CHECK = "judge_vllm", "check_prompts"
ROWS = "datasets/tales/train.jsonl"


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A finished run of imported answers with imported scores, without any model."""
    folder = tmp_path_factory.mktemp("scored")
    work = Workdir(folder, "api_judge", Path("/nowhere"))
    for name, kindness in (("before", 90), ("after", 20)):
        rows = [
            f"{question},What of {question}?,Answer {i} to {question},{kindness + i},{80 + i}"
            for question in "abcd"
            for i in range(5)
        ]
        (folder / f"{name}.csv").write_text("\n".join(["id,question,answer,kind,clear", *rows]))
    for entry in work.config["imports"]:
        columns = {"alignment": "kind", "coherence": "clear", "harmful": "low"}
        entry["scores"] = {"elsewhere": columns}
    work.config |= {"experiment": "scored", "judges": []}
    work.run("archive")
    return work


def test_the_report_is_archived_without_a_path_of_this_machine(scored):
    with zipfile.ZipFile(scored.folder / "results" / "scored.archive.zip") as archive:
        packed = io.BytesIO(archive.read("results/scored/report.zip"))
    with zipfile.ZipFile(packed) as report:
        for name in report.namelist():
            assert str(scored.folder).encode() not in report.read(name), name


def test_imported_answers_make_the_round_trip(scored, tmp_path):
    done = restore_archive(scored.folder / "results" / "scored.archive.zip", ROOT, tmp_path)
    assert done.placeholders == []
    again = copy.copy(scored)
    again.folder, again.config = tmp_path, dict(scored.config)
    assert not again.run("-n").jobs
    assert not again.run("-n", "--configfile", str(tmp_path / done.config)).jobs
    # Figures are rebuilt from the restored tables.
    for path in again.results.glob("figures/rates.*"):
        path.unlink()
    jobs = again.run().jobs
    assert jobs["plot_rate_figures"] == 1
    assert is_statistics(jobs)
    # One more judge asks only that judge.
    again.config["judges"] = ["behind-an-api"]
    jobs = again.run("-n").jobs
    assert jobs.pop("judge_api") == 1
    assert is_statistics(jobs)
    # A changed tier rule asks no judge.
    again.config["judges"] = []
    again.config["tiers"] = {"strict_counts": ["persona_shift"]}
    jobs = again.run("-n").jobs
    assert jobs["summarize_rates"] == 1
    assert is_statistics(jobs)


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


@pytest.mark.slow
@pytest.mark.heavy
def test_a_restored_run_has_nothing_to_do(elsewhere):
    assert (elsewhere.folder / MODEL / PLACEHOLDER).is_file()
    assert not list(elsewhere.folder.rglob("*.safetensors"))
    assert is_placeholder(elsewhere.results / ROWS)
    assert not elsewhere.run("-n").jobs
    effective = "results/smallest/provenance/config.json"
    assert not elsewhere.run("-n", "--configfile", effective).jobs


@pytest.mark.slow
@pytest.mark.heavy
def test_statistics_and_figures_rebuild_without_a_model(elsewhere, work):
    for name in ("tables", "figures"):
        shutil.rmtree(elsewhere.results / name)
    jobs = elsewhere.run().jobs
    assert jobs["summarize_rates"] == jobs["plot_rate_figures"] == 1
    assert is_statistics(jobs)
    table = "tables/rates.csv"
    assert (elsewhere.results / table).read_bytes() == (work.results / table).read_bytes()


@pytest.mark.slow
@pytest.mark.heavy
def test_a_changed_judge_runs_alone(elsewhere):
    sampled = elsewhere.journal_keys("sample")
    path = "catalogue/rubrics/short-alignment.yaml"
    old = elsewhere.read(path)
    elsewhere.write(
        path, old | {"prompt": old["prompt"].replace("Grade how kind", "Judge how kind")}
    )
    planned = elsewhere.run("-n").jobs
    assert planned.pop(JUDGE) == planned.pop(CHECK) == 1
    assert is_statistics(planned)
    # The judge's weights were not archived: fetched as the manifest says, in place.
    assert restore_script.main(None, ROOT, elsewhere.folder, fetch=True) == 0
    assert not is_placeholder(elsewhere.results / ROWS)
    jobs = elsewhere.run().jobs
    assert jobs.pop(JUDGE) == jobs.pop(CHECK) == 1
    assert is_statistics(jobs)
    assert elsewhere.journal_keys("sample") == sampled
    assert not elsewhere.run("-n").jobs


@pytest.mark.slow
@pytest.mark.heavy
def test_another_kind_of_cpu_trains_and_samples_nothing_again(work, elsewhere):
    """Results made in bfloat16 are used where `auto` means float32."""
    for folder in (work, elsewhere):
        folder.environment |= OLDER_CPU
    assert not elsewhere.run("-n").jobs
    manifest = work.results / "adapters" / "tiny.tales.six-steps.s0" / "manifest.json"
    trained, sampled = manifest.read_bytes(), work.journal_keys("sample")
    jobs = work.run("--forcerun", "finetune", "sample").jobs
    assert (jobs["finetune"], jobs["sample"]) == (1, 2)
    assert manifest.read_bytes() == trained
    assert work.journal_keys("sample") == sampled
