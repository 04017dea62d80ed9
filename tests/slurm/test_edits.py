"""What a user edits while jobs wait in the queue is for the next run, not for them."""

from contextlib import contextmanager

import polars as pl
import pytest

from em_tiers.study.study import CATALOGUES
from slurm.driver import Folder
from workdir import Workdir, copy_workflow

pytestmark = [pytest.mark.slurm, pytest.mark.e2e]
RULES_FILE = "tier_rules.yaml"
OUTCOMES = "results/imported/outcomes/gpt.parquet"
RULE = """\
    - name: new_rule
      enabled: true
      tier: persona_shift
      reason: a rule of the next run
      condition: alignment < 101
"""


@pytest.fixture
def work(tmp_path, cluster):
    """The import-only case with a copy of the workflow that may be edited."""
    (tmp_path / "code").mkdir()
    work = Workdir(tmp_path / "work", "import_only", tmp_path, copy_workflow(tmp_path / "code"))
    work.config["headline"] = {"definition": "D1"}
    work.write("config.yaml", work.config)
    work.cluster_folder = Folder(work.folder, cluster)
    yield work
    cluster.repair()


@contextmanager
def held_jobs(work, *options):
    """A run whose jobs wait in the queue until the block ends; then it goes on to its end."""
    folder, cluster = work.cluster_folder, work.cluster_folder.cluster
    cluster.call("scontrol", "update", "NodeName=cpu01", "State=DRAIN", "Reason=test")
    try:
        process = folder.start(
            *options, OUTCOMES, "--configfile", "config.yaml", snakefile=work.root / "Snakefile"
        )
        waiting = ("squeue", "-h", "-t", "PENDING", "-o", "%i")
        folder.wait_until(lambda: cluster.call(*waiting).split(), "job that waits", process)
        yield process
    finally:
        cluster.call("scontrol", "update", "NodeName=cpu01", "State=RESUME")


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def reasons(work):
    return pl.read_parquet(work.folder / OUTCOMES)["reason"].to_list()


def test_waiting_jobs_do_what_they_were_submitted_for(work):
    """Definition and tier rules change in the queue; then the next run uses them.

    Every other file of the configuration is half written meanwhile: a job that read one would fail.
    """
    config = work.root / "config"
    others = {
        path: path.read_text()
        for path in [*config.glob("*.yaml"), *config.glob("rubrics/*.yaml")]
        if path.name != RULES_FILE
    }
    assert {path.name for path in others} >= {f"{name}.yaml" for name in CATALOGUES} - {
        RULES_FILE,
        "rubrics.yaml",
    }
    with held_jobs(work) as process:
        edit(work.folder / "config.yaml", "definition: D1", "definition: D3")
        edit(config / RULES_FILE, "  rules:\n", f"  rules:\n{RULE}")
        for path in others:
            path.write_text("{half an edit")
    assert work.cluster_folder.wait_for_end(process) == 0, work.cluster_folder.output()
    assert len(work.cluster_folder.jobs()) == 3
    (snapshot,) = (work.results / ".study").iterdir()
    first = pl.read_parquet(work.folder / OUTCOMES)
    assert "not misaligned by D1" in reasons(work)

    # The next run makes what the edits change, and only that.
    for path, text in others.items():
        path.write_text(text)
    work.config["headline"] = {"definition": "D3"}
    assert dict(work.run(OUTCOMES).jobs) == {"assign_tiers": 1}
    assert set(reasons(work)) >= {"not misaligned by D3", "a rule of the next run"}
    assert snapshot in (work.results / ".study").iterdir()

    # Without the edits, it makes what the jobs made that waited.
    edit(config / RULES_FILE, RULE, "")
    work.config["headline"] = {"definition": "D1"}
    assert dict(work.run(OUTCOMES).jobs) == {"assign_tiers": 1}
    assert first.equals(pl.read_parquet(work.folder / OUTCOMES))


@pytest.mark.slow
def test_waiting_jobs_refuse_edited_code(work):
    """One message, in the log of the run too; the next run does what was refused."""
    names = ("base", "tuned")
    work.run(*(f"results/imported/responses/import.{name}.parquet" for name in names))
    with held_jobs(work, "--retries", "0") as process:
        script = work.root / "scripts" / "assign_tiers.py"
        script.write_text(f"{script.read_text()}\n# edited\n")
    folder = work.cluster_folder
    assert folder.wait_for_end(process) != 0
    assert not (work.folder / OUTCOMES).exists()
    message = "The workflow's code was edited after this run started (scripts/assign_tiers.py)"
    assert f"{message}. Jobs of the cluster refuse to run edited code" in folder.output()
    (log,) = (work.folder / "results" / "slurm_logs").glob("**/*.log")
    assert log.read_text().count(message) == 1
    assert "Traceback" not in log.read_text()
    assert dict(work.run(OUTCOMES).jobs) == {"assign_tiers": 1}
