"""The workflow itself on the cluster: the smallest case, with the real model and every stage."""

import re

import pytest

from slurm.driver import ROOT, Folder
from workdir import Workdir

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.e2e, pytest.mark.heavy]

GPU_RULES = ("finetune", "sample_", "judge_")
# No proxy answers there: whatever a job would fetch from outside, it does not get.
NO_NETWORK = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "https_proxy"), "http://127.0.0.1:9")


@pytest.fixture(scope="module")
def study(cluster, tmp_path_factory, embedded_model):
    """A working folder in which the case ran once, and the folder as a user's."""
    work = Workdir(tmp_path_factory.mktemp("study"), "smallest", embedded_model)
    folder = Folder(work.folder, cluster)
    run(work, folder)
    return work, folder


def run(work, folder):
    work.write("config.yaml", work.config)
    cluster = folder.cluster
    cluster.environment |= NO_NETWORK
    try:
        status = folder.run(
            "--configfile", "config.yaml", snakefile=ROOT / "Snakefile", timeout=900
        )
    finally:
        for name in NO_NETWORK:
            del cluster.environment[name]
    assert status == 0, folder.output()


def get_rule(job):
    return job.comment.removeprefix("rule_").partition("_wildcards_")[0]


def read_requests(output):
    """What each rule asked for, from the `resources:` line of its last job in the log."""
    blocks = re.findall(r"^\s*rule (\S+):\n(.*?)\n(?=\[|\S)", output, re.MULTILINE | re.DOTALL)
    requests = {}
    for rule, block in blocks:
        line = re.search(r"resources: (.*)", block)
        pairs = (pair.split("=", 1) for pair in line[1].split(", "))
        requests[rule] = {key: value for key, value in pairs if value.isdigit()}
    return requests


def test_the_case_comes_out(study):
    work, _ = study
    for table in ("rates", "outcomes", "thresholds"):
        assert (work.results / "tables" / f"{table}.parquet").stat().st_size > 100


def test_gpu_rules_ran_on_gpu_nodes_with_what_they_asked_for(study):
    _, folder = study
    requests = read_requests(folder.output())
    jobs = [job for job in folder.jobs() if get_rule(job).startswith(GPU_RULES)]
    assert [get_rule(job) for job in jobs] == [
        "finetune",
        "sample_tiny-0",
        "judge_tiny-judge_tiny-0",
    ]
    for job in jobs:
        asked = requests[get_rule(job)]
        assert job.partition == "gpu"
        assert job.node in ("gpu01", "gpu02")
        assert job.state == "COMPLETED"
        assert job.granted["gres/gpu"] == asked["gpu"] == "1"
        assert job.granted["mem"].removesuffix("M") == asked["mem_mb"]
        assert job.minutes == int(asked["runtime"])


def test_all_other_jobs_ran_on_cpu_nodes_and_statistics_as_one(study):
    _, folder = study
    others = [job for job in folder.jobs() if not get_rule(job).startswith(GPU_RULES)]
    assert {job.partition for job in others} == {"cpu"}
    assert {job.state for job in others} == {"COMPLETED"}
    assert len([job for job in others if get_rule(job).startswith("statistics_")]) == 1
    assert not [job for job in others if get_rule(job).startswith("download_")]


def test_a_further_judge_submits_its_own_job_and_the_statistics(study):
    work, folder = study
    work.config["judges"] = ["tiny-judge", "second-judge"]
    run(work, folder)
    submitted = [get_rule(job) for job in folder.jobs()]
    assert submitted[0] == "judge_second-judge_tiny-0"
    assert [rule.startswith("statistics_") for rule in submitted[1:]] == [True]
