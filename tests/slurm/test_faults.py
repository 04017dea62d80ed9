"""A run survives the faults of a cluster, and nothing that was finished is done twice."""

import os
import signal
import subprocess
import sys

import pytest

from slurm.driver import TINY, Folder, change_site, stop

pytestmark = pytest.mark.slurm


def states(folder):
    return [job.state for job in folder.jobs()]


def assert_answered_once(folder, name, number):
    keys = folder.journal_keys(name)
    assert sorted(keys) == sorted(f"question-{i}" for i in range(number))
    assert len(folder.read(f"answers/{name}.json")) == number


def snakemake(folder, *arguments):
    command = [sys.executable, "-m", "snakemake", "--profile", "slurm", "-s", TINY, *arguments]
    return subprocess.run(
        command, cwd=folder.path, env=folder.cluster.environment, capture_output=True, text=True
    )


def test_a_job_killed_for_memory_gets_more(folder):
    assert folder.run("memory.json") == 0, folder.output()
    first, second = folder.jobs(comment="rule_needs_memory")
    # FAILED where SLURM samples memory, OUT_OF_MEMORY where control groups hold the limit.
    assert first.state in ("FAILED", "OUT_OF_MEMORY")
    assert second.state == "COMPLETED"
    assert (first.granted["mem"], second.granted["mem"]) == ("450M", "900M")
    assert "Trying to restart job" in folder.output()


def test_ctrl_c_leaves_no_jobs(folder):
    process = folder.start("answers/one.json", "answers/two.json", "--config", "stops_after=2")
    folder.wait_for_answers("one", 2, process)
    folder.wait_for_answers("two", 2, process)
    os.killpg(process.pid, signal.SIGINT)
    assert folder.wait_for_end(process) != 0
    cluster = folder.cluster
    cluster.wait_until(lambda: not cluster.running(), "queue without jobs")
    cluster.wait_until(lambda: states(folder) == ["CANCELLED"] * 2, "record of both")
    assert folder.run("answers/one.json", "--config", "stops_after=2") == 0, folder.output()
    assert_answered_once(folder, "one", 10)


@pytest.mark.slow
def test_a_job_out_of_time_resumes_with_more(folder):
    """The first attempt stops after five of ten answers, until its two minutes are over."""
    assert folder.run("answers/time.json") == 0, folder.output()
    first, second = folder.jobs(comment="rule_needs_time")
    assert (first.state, first.minutes) == ("TIMEOUT", 2)
    assert (second.state, second.minutes) == ("COMPLETED", 30)
    assert_answered_once(folder, "time", 10)
    by_job = [record["job"] for record in folder.read("answers/time.json").values()]
    assert set(by_job) == {first.id, second.id}
    assert "SLURM status is: 'TIMEOUT'" in folder.output()


@pytest.mark.slow
def test_a_job_out_of_time_twice_resumes_twice(folder):
    assert folder.run("answers/twice.json") == 0, folder.output()
    attempts = folder.jobs(comment="rule_needs_time_twice")
    assert [job.state for job in attempts] == ["TIMEOUT", "TIMEOUT", "COMPLETED"]
    assert_answered_once(folder, "twice", 300)
    by_job = [record["job"] for record in folder.read("answers/twice.json").values()]
    assert set(by_job) == {job.id for job in attempts}


@pytest.mark.slow
def test_a_drained_node_ends_its_job_and_gets_no_other(folder):
    process = folder.start("follows/steady.json", "--config", "stops_after=5")
    folder.wait_for_answers("steady", 5, process)
    (job,) = folder.jobs()
    node = f"NodeName={job.node}"
    folder.cluster.call("scontrol", "update", node, "State=drain", "Reason=maintenance")
    try:
        (folder.path / "go").touch()
        assert folder.wait_for_end(process) == 0, folder.output()
    finally:
        folder.cluster.call("scontrol", "update", node, "State=resume")
    first, follower = folder.jobs()
    assert (first.state, follower.state) == ("COMPLETED", "COMPLETED")
    assert first.node == job.node != follower.node
    assert_answered_once(folder, "steady", 10)


@pytest.mark.slow
def test_two_users_over_one_results_folder_do_nothing_twice(folder):
    """The second to come is refused, is told which job has the work, and finds it done later."""
    other = Folder(folder.path / "other", folder.cluster)
    for name in ("answers", "journals"):
        (folder.path / name).mkdir()
        (other.path / name).symlink_to(folder.path / name)
    process = folder.start("answers/shared.json", "--config", "stops_after=5")
    folder.wait_for_answers("shared", 5, process)
    (job,) = folder.jobs()
    assert other.run("--retries", "0", "answers/shared.json") != 0
    assert "already written by process" in other.output()
    assert f"SLURM job {job.id}" in other.output()
    (folder.path / "go").touch()
    assert folder.wait_for_end(process) == 0, folder.output()
    assert other.run("answers/shared.json") == 0, other.output()
    assert_answered_once(folder, "shared", 10)


@pytest.mark.slow
def test_a_node_that_dies_loses_nothing(folder):
    """A new job on another node continues with the answers, and later jobs follow."""
    process = folder.start("follows/steady.json", "--config", "stops_after=5")
    folder.wait_for_answers("steady", 5, process)
    (job,) = folder.jobs()
    folder.cluster.control("kill-node", job.node)
    assert folder.wait_for_end(process) == 0, folder.output()
    first, second, follower = folder.jobs()
    assert (first.state, second.state, follower.state) == ("NODE_FAIL", "COMPLETED", "COMPLETED")
    assert first.node == job.node
    assert second.node == follower.node != job.node
    assert_answered_once(folder, "steady", 10)


@pytest.mark.slow
def test_a_requeued_job_goes_on(folder, monkeypatch):
    """A preempted job continues where the site lets SLURM requeue jobs."""
    change_site(folder, monkeypatch, slurm_no_requeue=False, slurm_requeue=True)
    process = folder.start("follows/moved.json", "--config", "stops_after=5")
    folder.wait_for_answers("moved", 5, process)
    (job,) = folder.jobs()
    folder.cluster.call("scontrol", "requeue", job.id)
    # SLURM would hold it back for two minutes.
    state = ["squeue", "-h", "-j", job.id, "-o", "%T"]
    folder.wait_until(
        lambda: folder.cluster.call(*state).strip() == "PENDING", "job in the queue again", process
    )
    folder.cluster.call("scontrol", "update", f"JobId={job.id}", "StartTime=now")
    assert folder.wait_for_end(process) == 0, folder.output()
    assert [attempt.state for attempt in folder.jobs(id=job.id)] == ["REQUEUED", "COMPLETED"]
    assert_answered_once(folder, "moved", 10)


@pytest.mark.slow
def test_a_restarted_controller_is_not_noticed(folder):
    process = folder.start("answers/calm.json", "--config", "stops_after=3")
    folder.wait_for_answers("calm", 3, process)
    folder.cluster.control("restart-controller")
    (folder.path / "go").touch()
    assert folder.wait_for_end(process) == 0, folder.output()
    (job,) = folder.jobs()
    assert job.state == "COMPLETED"
    assert_answered_once(folder, "calm", 10)


@pytest.mark.slow
def test_a_killed_snakemake_is_followed_by_the_documented_restart(folder):
    """SIGKILL leaves the jobs running: the order in slurm/README.md is cancel, unlock, rerun."""
    both = ["answers/done.json", "answers/open.json", "--config", "done=3", "stops_after=8"]
    process = folder.start(*both)
    folder.wait_for_answers("open", 8, process)
    folder.wait_until(lambda: "1 of 2 steps" in folder.output(), "news of the first job", process)
    name = folder.run_name()
    stop(process)
    cluster = folder.cluster
    cluster.wait_until(lambda: len(cluster.running()) == 1, "queue with one job")
    (orphan,) = cluster.running()

    # The wrong order: the same work is submitted beside the job that still runs, and refused.
    assert folder.run(*both) != 0
    assert "Directory cannot be locked" in folder.output()
    assert snakemake(folder, "--unlock").returncode == 0
    assert folder.run("--retries", "0", *both) != 0
    assert "already written by process" in folder.output()
    assert f"SLURM job {orphan}" in folder.output()
    assert orphan in cluster.running()

    # The right one.
    cluster.call("scancel", f"--name={name}")
    cluster.wait_until(lambda: not cluster.running(), "queue without jobs")
    snakemake(folder, "--unlock")
    assert folder.run(*both) == 0, folder.output()
    assert [job.comment for job in folder.jobs()] == ["rule_answers_wildcards_open"]
    assert_answered_once(folder, "open", 10)
    assert_answered_once(folder, "done", 3)


@pytest.mark.slow
def test_arrays_and_squeue(folder, monkeypatch):
    """Variants of the site file: one job array per rule, and no accounting."""
    change_site(
        folder,
        monkeypatch,
        slurm_array_jobs="answers",
        slurm_status_command="squeue",
        slurm_efficiency_report=False,
    )
    names = [f"answers/{name}.json" for name in ("one", "two", "three")]
    assert folder.run(*names, "--config", "one=2", "two=2", "three=2") == 0, folder.output()
    assert "Submitted array job" in folder.output()
    # squeue reports the end of a job before the accounting does.
    folder.cluster.wait_until(lambda: states(folder) == ["COMPLETED"] * 3, "record of all three")
