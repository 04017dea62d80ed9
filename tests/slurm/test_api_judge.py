"""A judge behind an API on the cluster: asked from the login node, where its key stays."""

import threading
from pathlib import Path

import pytest

from api.loopback import serve
from api.recorded import Loopback
from api.study import KEY_ENV
from slurm.driver import ROOT, Folder
from workdir import Workdir

pytestmark = [pytest.mark.slurm, pytest.mark.e2e]
KEY = "sk-canary-Hq4vT8mZ2c"


class Watcher(threading.Thread):
    """Collects the environment of each script of the workflow that runs in a folder."""

    def __init__(self, folder):
        super().__init__(daemon=True)
        self.mark = f"{folder}/.snakemake/scripts/".encode()
        self.seen = {}
        self.done = threading.Event()

    def run(self):
        while not self.done.wait(0.05):
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    command = (process / "cmdline").read_bytes()
                    if self.mark in command and process.name not in self.seen:
                        script = command.rpartition(b".snakemake/scripts/")[2].split(b".")[1]
                        environment = (process / "environ").read_bytes().split(b"\0")
                        self.seen[process.name] = (script.decode(), environment)
                except OSError:
                    continue

    def scripts(self, *variables):
        """Names of scripts that ran with all of the variables, given as bytes, in their names."""
        return {
            script
            for script, environment in self.seen.values()
            if all(any(line.startswith(name) for line in environment) for name in variables)
        }


@pytest.fixture(scope="module")
def study(cluster, tmp_path_factory):
    """The case ran once; yields its folder, its endpoint, and the processes observed."""
    work = Workdir(tmp_path_factory.mktemp("api"), "api_judge", Path("unused"))
    folder = Folder(work.folder, cluster)
    endpoint = Loopback()
    watcher = Watcher(work.folder)
    watcher.start()
    cluster.environment[KEY_ENV] = KEY
    try:
        with serve(endpoint.app()) as address:
            judges = work.read("catalogue/judges.yaml")
            judges["behind-an-api"]["endpoint"]["base_url"] = f"{address}/v1"
            work.write("catalogue/judges.yaml", judges)
            status = folder.run("--configfile", "config.yaml", snakefile=ROOT / "Snakefile")
    finally:
        del cluster.environment[KEY_ENV]
        watcher.done.set()
    assert status == 0, folder.output()
    return folder, endpoint, watcher


def test_it_is_asked_from_the_login_node(study):
    folder, endpoint, watcher = study
    assert len(endpoint.bodies) >= 24  # 12 answers, two rubrics
    names = sorted(job.comment.removeprefix("rule_") for job in folder.jobs())
    assert names[:2] == ["import_responses_wildcards_after", "import_responses_wildcards_before"]
    assert [name.startswith("statistics_") for name in names[2:]] == [True]
    assert {job.partition for job in folder.jobs()} == {"cpu"}
    assert "judge_api" not in watcher.scripts(b"SLURM_JOB_ID=")


def test_its_key_stays_on_the_login_node(study):
    """sbatch hands the whole environment over; the jobs' scripts find no key in it."""
    _, _, watcher = study
    key = f"{KEY_ENV}={KEY}".encode()
    assert "judge_api" in watcher.scripts(key)
    assert {"import_responses", "summarize_rates"} <= watcher.scripts(b"SLURM_JOB_ID=")
    assert not watcher.scripts(b"SLURM_JOB_ID=", key)
