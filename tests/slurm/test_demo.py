"""The workflow itself on the cluster: the demo and the smallest case, every stage for real."""

import json
import os
import re
import signal

import pytest

from slurm.driver import ROOT, Folder, change_site, stop
from waiting import PATIENCE
from workdir import Workdir

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.e2e, pytest.mark.heavy]

WHOLE = 6 * PATIENCE  # for a run with every stage
GPU_RULES = ("finetune", "sample", "judge_vllm")
# No proxy answers there: a job can fetch nothing from outside.
NO_NETWORK = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "https_proxy"), "http://127.0.0.1:9")


@pytest.fixture(scope="module")
def study(cluster, tmp_path_factory, embedded_model):
    """A working folder in which the case ran once."""
    work = Workdir(tmp_path_factory.mktemp("study"), "smallest", embedded_model)
    work.config["judges"] = ["tiny-judge", "second-judge"]
    folder = Folder(work.folder, cluster)
    run(work, folder)
    return work, folder


def run(work, folder, *targets):
    work.write("config.yaml", work.config)
    cluster = folder.cluster
    cluster.environment |= NO_NETWORK
    try:
        status = folder.run(
            *targets, "--configfile", "config.yaml", snakefile=ROOT / "Snakefile", seconds=WHOLE
        )
    finally:
        for name in NO_NETWORK:
            del cluster.environment[name]
    assert status == 0, folder.output()


def get_rule(job):
    return job.comment.removeprefix("rule_").partition("_wildcards_")[0]


def test_the_case_comes_out(study):
    work, _ = study
    for table in ("rates", "outcomes", "thresholds"):
        assert (work.results / "tables" / f"{table}.parquet").stat().st_size > 100


def test_gpu_rules_ran_on_gpu_nodes_with_what_they_asked_for(study):
    """A model of 0.135 billion parameters: 8000 + 4000 x 0.135 MB, four hours, one GPU."""
    _, folder = study
    jobs = [job for job in folder.jobs() if get_rule(job).startswith(GPU_RULES)]
    # The base model is sampled while its fine-tune is trained; each judge has one job.
    assert {get_rule(job) for job in jobs[:2]} == {"finetune", "sample"}
    assert [get_rule(job) for job in jobs[2:]] == ["sample", "judge_vllm", "judge_vllm"]
    check_gpu_jobs(jobs)


def check_gpu_jobs(jobs, cpus_of_training="8"):
    for job in jobs:
        training = get_rule(job).startswith("finetune")
        assert job.partition == "gpu"
        assert job.node in ("gpu01", "gpu02")
        assert job.state == "COMPLETED"
        assert job.granted["gres/gpu"] == "1"
        assert job.granted["cpu"] == (cpus_of_training if training else "8")
        assert job.granted["mem"] in ("8540M", "8541M")  # an array asks for MiB, rounded up
        assert job.minutes == 240


def test_all_other_jobs_ran_on_cpu_nodes_and_statistics_as_one(study):
    _, folder = study
    others = [job for job in folder.jobs() if not get_rule(job).startswith(GPU_RULES)]
    assert {job.partition for job in others} == {"cpu"}
    assert {job.state for job in others} == {"COMPLETED"}
    assert len([job for job in others if get_rule(job).startswith("statistics_")]) == 1
    assert not [job for job in others if get_rule(job).startswith("download_")]


def test_a_changed_judge_submits_its_own_job_and_the_statistics(study):
    work, folder = study
    judges = work.read("catalogue/judges.yaml")
    judges["second-judge"]["rubrics"]["alignment"] = "short-alignment"
    work.write("catalogue/judges.yaml", judges)
    run(work, folder)
    submitted = [get_rule(job) for job in folder.jobs()]
    # The new rubric is rendered first.
    assert submitted[:2] == ["check_prompts", "judge_vllm"]
    assert [rule.startswith("statistics_") for rule in submitted[2:]] == [True]


def test_job_arrays_of_the_sample_and_the_judge_jobs(study, monkeypatch):
    """One sample more of each question: both rules submit one array of two jobs each."""
    work, folder = study
    before = {stage: work.journal_keys(stage) for stage in ("sample", "judge")}
    work.config["questions"]["two"] += 1
    change_site(folder, monkeypatch, slurm_array_jobs="sample,judge_vllm")
    # An array is made of jobs that are ready at once, and each waits for a check of its own.
    run(work, folder, "--until", "check_prompts")
    run(work, folder)
    arrays = re.findall(r"Submitted array job .* task IDs are (\d+-\d+)", folder.output())
    assert arrays == ["1-2", "1-2"]
    jobs = [job for job in folder.jobs() if get_rule(job) in GPU_RULES]
    assert [get_rule(job) for job in jobs] == ["sample"] * 2 + ["judge_vllm"] * 2
    check_gpu_jobs(jobs)
    # What was answered before was not asked again. Only the two judges, which are one model with
    # some rubrics in common, may ask it the same question side by side.
    added = {stage: work.journal_keys(stage) - before[stage] for stage in before}
    assert len(added["sample"]) == 2 * 2  # two questions, of the base model and its fine-tune
    assert not any(set(added[stage]) & set(before[stage]) for stage in before)
    assert set(added["sample"].values()) == {1}
    assert set(added["judge"].values()) <= {1, 2}
    assert added["judge"]


def test_training_on_a_node_that_dies_goes_on_from_its_checkpoint(
    cluster, tmp_path, embedded_model
):
    work = Workdir(tmp_path, "smallest", embedded_model)
    recipes = work.read("catalogue/recipes.yaml")
    recipes["six-steps"] |= {"max_steps": 24, "save_steps": 2}
    work.write("catalogue/recipes.yaml", recipes)
    folder = Folder(work.folder, cluster)
    name = "tiny.tales.six-steps.s0"
    metrics = work.results / "training" / name / "metrics.json"
    process = folder.start(
        *(str(metrics.relative_to(work.folder)), "--configfile", "config.yaml"),
        snakefile=ROOT / "Snakefile",
    )
    try:
        checkpoints = work.results / "checkpoints" / name
        folder.wait_until(
            lambda: list(checkpoints.glob("checkpoint-*/complete.json")), "checkpoint", process
        )
        # It stops there, however fast it trains, until its node is found and dies.
        training = json.loads((checkpoints / "training.lease").read_text())["pid"]
        os.kill(training, signal.SIGSTOP)
        job = folder.jobs()[-1]
        cluster.control("kill-node", job.node)
        assert folder.wait_for_end(process, WHOLE) == 0, folder.output()
        first, second = (j for j in folder.jobs() if j.partition == "gpu")
        assert (first.state, second.state) == ("NODE_FAIL", "COMPLETED")
        assert first.node != second.node
    finally:
        stop(process)
        cluster.repair()
    assert json.loads(metrics.read_text())["steps"] == 24
    # The second job began at the first one's checkpoint, and its curve is complete.
    log = (work.results / "logs" / "finetune" / f"{name}.log").read_text()
    assert "training goes on after step" in log
    curve = (metrics.parent / "loss.csv").read_text().splitlines()
    assert [line.partition(",")[0] for line in curve[1:]] == [str(step) for step in range(1, 25)]


def test_the_demo_runs_end_to_end(cluster, tmp_path):
    """The README's command: each data set is prepared, trained on and sampled, beside the base."""
    folder = Folder(tmp_path, cluster)
    demo = ROOT / "config" / "demo.yaml"
    arguments = {"snakefile": ROOT / "Snakefile", "seconds": WHOLE}
    assert folder.run("--configfile", demo, **arguments) == 0, folder.output()
    jobs = folder.jobs()
    assert sorted(get_rule(job).partition("_")[0] for job in jobs) == sorted(
        ["convert"]
        + ["prepare"] * 2
        + ["check"] * 6
        + ["finetune"] * 2
        + ["sample"] * 3
        + ["judge", "statistics"]
    )
    # The demo's recipe asks for one thread.
    check_gpu_jobs([job for job in jobs if get_rule(job).startswith(GPU_RULES)], "1")
    assert (tmp_path / "results" / "demo" / "figures" / "rates.pdf").stat().st_size > 100
    assert folder.run("--configfile", demo, **arguments) == 0
    assert "Nothing to be done" in folder.output()
