"""Jobs go to the partitions that fit their resources, on the site's terms."""

import subprocess
import sys

import pytest
import yaml

from slurm.driver import HERE, ROOT, Folder

pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module")
def placed(cluster, tmp_path_factory):
    """A finished run with every kind of rule."""
    folder = Folder(tmp_path_factory.mktemp("placed"), cluster)
    assert folder.run("placed") == 0, folder.output()
    return folder


def only_job(folder, comment):
    (job,) = folder.jobs(comment=comment)
    return job


def test_a_local_rule_stays_on_the_login_node(placed):
    assert placed.read("local.json")["SLURM_JOB_ID"] is None
    assert not placed.jobs(comment="rule_stays_local")


def test_a_cpu_rule_gets_what_it_asked_for_on_a_cpu_node(placed):
    job = only_job(placed, "rule_wants_cpu")
    assert (job.partition, job.node, job.state) == ("cpu", "cpu01", "COMPLETED")
    assert job.granted["cpu"] == "3"
    assert job.granted["mem"] == "700M"
    assert job.minutes == 11
    assert "gres/gpu" not in job.granted
    assert placed.read("cpu.json")["SLURMD_NODENAME"] == "cpu01"


def test_a_gpu_rule_gets_its_gpus_on_a_gpu_node(placed):
    job = only_job(placed, "rule_wants_gpu")
    assert job.partition == "gpu"
    assert job.granted["gres/gpu"] == "2"
    assert job.granted["cpu"] == "4"
    assert job.granted["mem"] == "900M"
    assert job.minutes == 13
    seen = placed.read("gpu.json")
    assert seen["SLURMD_NODENAME"] in ("gpu01", "gpu02")
    assert seen["CUDA_VISIBLE_DEVICES"] == "0,1"


def test_the_scheduler_saw_the_same(placed):
    job = only_job(placed, "rule_wants_gpu")
    lines = (placed.cluster.home / "log" / "jobcomp.txt").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith(f"JobId={job.id} ")]
    assert "Partition=gpu TimeLimit=13 " in line
    assert "Tres=cpu=4,mem=900M,node=1,billing=4,gres/gpu=2 " in line
    shown = placed.cluster.call("scontrol", "show", "job", job.id)
    assert "TresPerJob=gres:gpu:2" in shown


def test_small_jobs_share_one_submission(placed):
    """Six tables and their summary: one job, four tables at a time, its time the sum of layers."""
    job = only_job(placed, "rule_statistics_draws_summary_draws_table")
    assert job.partition == "cpu"
    # Layers: 6 tables by 4 make 2, the summary 1; 10 minutes each. Memory: 4 x 250.
    assert job.minutes == 3 * 10
    assert job.granted["mem"] == "1000M"
    assert {placed.read(f"tables/{name}.json")["SLURM_JOB_ID"] for name in "abcdef"} == {job.id}
    assert len(placed.jobs()) == 3


def test_used_against_requested_resources_are_reported(placed):
    (report,) = (placed.path / "results" / "slurm_logs").glob("efficiency_report_*.csv")
    assert "rule_wants_gpu" in report.read_text()


def test_a_rerun_submits_nothing(placed):
    before = len(placed.cluster.jobs())
    assert placed.run("placed") == 0
    assert "Nothing to be done" in placed.output()
    assert len(placed.cluster.jobs()) == before


def test_gpus_that_no_node_has_are_refused_at_once(folder):
    assert folder.run("impossible.json") != 0
    message = folder.output()
    assert "No suitable partition found for job wants_too_many_gpus" in message
    assert "SLURM sbatch failed" in message
    assert "Requested node configuration is not available" in message
    assert not folder.cluster.running()


@pytest.mark.parametrize("word", ["gres", "gpu"])
def test_a_site_with_one_model_of_gpu(folder, monkeypatch, word):
    """The variants of slurm/site.example.yaml: other words for GPUs, account, extra options."""
    site = yaml.safe_load((HERE / "site.yaml").read_text())
    site["gpu"] = {"word": word, "model": "a100"}
    site["partitions"]["gpu"]["available_gpu_models"] = ["h100", "a100"]
    site["profile"]["default-resources"] = {
        "slurm_account": "lab",
        "slurm_extra": "'--nice=5'",
    }
    path = folder.path / "site.yaml"
    path.write_text(yaml.safe_dump(site))
    monkeypatch.setitem(folder.cluster.environment, "EM_TIERS_SITE", str(path))
    assert folder.run("site.json") == 0, folder.output()
    (job,) = folder.jobs()
    assert (job.partition, job.node) == ("gpu", "gpu02")
    assert job.granted["gres/gpu"] == "1"
    assert folder.read("site.json")["CUDA_VISIBLE_DEVICES"] == "0"
    shown = folder.cluster.call("scontrol", "show", "job", job.id)
    assert "Account=lab" in shown
    assert "Nice=5" in shown
    assert "NumNodes=1 " in shown


def test_gpus_of_one_job_stand_on_one_node(folder):
    """One GPU of each node is taken: a job for two waits instead of getting one on each."""
    cluster = folder.cluster
    for node in ("gpu01", "gpu02"):
        options = ["-p", "gpu", "-w", node, "--gpus=1", "--mem=100", "--wrap", "sleep infinity"]
        cluster.call("sbatch", "-o", "/dev/null", *options)
    states = ["squeue", "-h", "-o", "%T"]
    cluster.wait_until(
        lambda: cluster.call(*states).split() == ["RUNNING"] * 2, "two jobs that run"
    )
    process = folder.start("gpu.json")
    waits = ["squeue", "-h", "-t", "PENDING", "-o", "%r %D"]
    folder.wait_until(lambda: "Resources 1" in cluster.call(*waits), "job that waits", process)
    cluster.call("scancel", "--state=RUNNING", "--user", cluster.call("id", "-un").strip())
    assert folder.wait_for_end(process) == 0, folder.output()
    assert folder.read("gpu.json")["CUDA_VISIBLE_DEVICES"] == "0,1"


def make_site(cluster, path):
    return subprocess.run(
        [sys.executable, ROOT / "scripts" / "make_site.py", path],
        env=cluster.environment, capture_output=True, text=True,
    )  # fmt: skip


def test_make_site_describes_this_cluster_and_leaves_a_site_file_alone(cluster, tmp_path):
    path = tmp_path / "site.yaml"
    assert make_site(cluster, path).returncode == 0
    site = yaml.safe_load(path.read_text())
    assert "profile" not in site
    assert site["partitions"] == {
        "cpu": {"max_runtime": 1440, "max_threads": 16, "max_mem_mb": 64000},
        "gpu": {
            "max_runtime": 480,
            "max_threads": 16,
            "max_mem_mb": 128000,
            "max_gpu": 2,
            "available_gpu_models": ["a100", "h100"],
        },
    }
    path.write_text("mine")
    again = make_site(cluster, path)
    assert again.returncode == 1
    assert f"{path} exists: edit it" in again.stderr
    assert path.read_text() == "mine"
