"""A study that its user described by editing the workflow's own config/, archived and restored.

The tests share two checkouts of one commit and run in the order of the file.
"""

import os
import shutil
import subprocess
import sys

import pytest
import yaml

from em_tiers.archive.restore import restore_archive
from workdir import CASES, Run, copy_workflow

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.heavy]

CASE = CASES / "smallest"
CATALOGUES = ("datasets", "engines", "judges", "question_sets", "recipes")


class Checkout:
    """A git checkout of the workflow in which `snakemake` runs without further arguments."""

    def __init__(self, folder):
        self.folder = copy_workflow(folder)
        (folder / ".gitignore").write_text("results/\n.snakemake/\n__pycache__/\n")
        self.git("init", "-q")
        self.git("add", "-A")
        self.git("-c", "user.name=x", "-c", "user.email=x@y", "commit", "-q", "-m", "first")

    def git(self, *words):
        # Of one moment, so that each checkout has the same revision.
        moment = {"GIT_AUTHOR_DATE": "2026-01-01T00:00Z", "GIT_COMMITTER_DATE": "2026-01-01T00:00Z"}
        subprocess.run(["git", "-C", str(self.folder), *words], check=True, env=os.environ | moment)

    def run(self, *arguments):
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", "--cores", "2", *arguments],
            cwd=self.folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | {"OMP_WAIT_POLICY": "PASSIVE"},
        )
        assert done.returncode == 0, done.stdout[-6000:]
        return Run(done.returncode, done.stdout)

    def add(self, catalogue, entries):
        """Add entries to one of the workflow's own catalogues."""
        path = self.folder / "config" / f"{catalogue}.yaml"
        path.write_text(path.read_text() + "\n" + yaml.safe_dump(entries))


def edit(checkout, model):
    """Edit config/ as a user would: every catalogue, a rubric, rows, questions and the study."""
    config = checkout.folder / "config"
    for name in CATALOGUES:
        checkout.add(name, yaml.safe_load((CASE / "catalogue" / f"{name}.yaml").read_text()))
    tiny = {"source": {"type": "path", "path": str(model)}, "parameters_b": 0.135}
    checkout.add("models", {"tiny": tiny})
    shutil.copytree(CASE / "catalogue" / "rubrics", config / "rubrics", dirs_exist_ok=True)
    (checkout.folder / "catalogue").mkdir()
    for name in ("questions.yaml", "more.yaml"):
        shutil.copy(CASE / "catalogue" / name, checkout.folder / "catalogue")
    rows = config / "data" / "storyteller.jsonl"
    rows.write_text("".join(rows.read_text().splitlines(keepends=True)[1:]))
    study = yaml.safe_load((CASE / "config.yaml").read_text())
    del study["catalogues"]
    (config / "config.yaml").write_text(yaml.safe_dump(study, sort_keys=False))


@pytest.fixture(scope="module")
def archived(tmp_path_factory, embedded_model):
    checkout = Checkout(tmp_path_factory.mktemp("author"))
    edit(checkout, embedded_model)
    checkout.run("archive")
    return checkout.folder / "results" / "smallest.archive.zip"


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    return Checkout(tmp_path_factory.mktemp("reader"))


def test_a_fresh_checkout_has_nothing_to_do(archived, fresh):
    done = restore_archive(archived, fresh.folder, fresh.folder)
    assert "config/engines.yaml" in done.replaced
    assert "config/data/storyteller.jsonl" in done.replaced
    assert done.differing == done.absent == []
    assert not fresh.run("-n").jobs
    assert not fresh.run("-n", "--configfile", done.config).jobs


def test_a_changed_judge_then_runs_alone(fresh):
    path = fresh.folder / "config" / "rubrics" / "short-alignment.yaml"
    path.write_text(path.read_text().replace("Grade how kind", "Judge how kind"))
    fetch = [sys.executable, "scripts/restore_archive.py", "--fetch"]
    subprocess.run(fetch, cwd=fresh.folder, check=True)
    jobs = fresh.run("-n").jobs
    assert jobs.pop("judge_vllm") == jobs.pop("check_prompts") == 1
    assert all(
        job in ("all", "assign_tiers") or job.startswith(("summarize_", "plot_", "build_"))
        for job in jobs
    )
