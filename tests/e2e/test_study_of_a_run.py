"""When a run writes down its study, and what reads it on one machine; tests/slurm has the jobs."""

import pytest

from workdir import Workdir, copy_workflow

pytestmark = pytest.mark.e2e
RESPONSES = "results/imported/responses/import.base.parquet"


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """The import-only case, with a copy of the workflow that may be edited."""
    folder = tmp_path_factory.mktemp("snapshot")
    (folder / "code").mkdir()
    return Workdir(folder / "work", "import_only", folder, copy_workflow(folder / "code"))


def snapshots(work):
    return sorted(path.relative_to(work.folder) for path in work.folder.glob("**/.study/*"))


def test_what_only_looks_writes_none(work):
    work.run("-n")
    work.run("plan_requests")
    work.run("show_status")
    assert not snapshots(work)


def test_a_run_writes_one_and_reruns_nothing_for_it(work):
    work.run(RESPONSES)
    (first,) = snapshots(work)
    assert first.parent.as_posix() == "results/imported/.study"
    again = work.run(RESPONSES)
    assert not again.jobs
    work.run("--force", RESPONSES)
    assert snapshots(work) == [first]


def test_another_study_has_its_own(work):
    before = snapshots(work)
    work.run("--config", "partial=true", "--", "results/imported/partial/outcomes/gpt.parquet")
    (partial,) = set(snapshots(work)) - set(before)
    assert partial.parent.as_posix() == "results/imported/partial/.study"
    work.config["title"] = "Another title"
    work.run("--force", RESPONSES)
    assert len(snapshots(work)) == 3


def test_the_report_of_a_run_is_built_with_its_study(work):
    """It comes from a Snakemake of its own, which parses nothing that was edited since."""
    (path, *_) = snapshots(work)
    (work.root / "config" / "rubrics" / "broken.yaml").write_text("{half an edit")
    assert work.run("-n", check=False).status != 0
    work.run("-n", "--config", f"study_snapshot={path}")
