"""`make check-gpu` on the cluster, whose GPUs are pretended: the report says so, job by job."""

import subprocess
import sys

import pytest

from slurm.driver import ROOT, Folder

pytestmark = [pytest.mark.slurm, pytest.mark.slow]


def test_a_node_of_each_gpu_partition_is_checked(cluster, tmp_path):
    folder = Folder(tmp_path, cluster)
    command = [
        *[sys.executable, "-m", "snakemake", "--profile", "slurm", "-s", ROOT / "Snakefile"],
        *["--configfile", ROOT / "config" / "config.yaml", "--nolock", "--", "show_gpu_checks"],
    ]
    done = subprocess.run(
        command,
        cwd=folder.path,
        env=cluster.environment | {"EM_TIERS_SITE": str(ROOT / "tests" / "slurm" / "site.yaml")},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    folder.log.write_text(done.stdout + done.stderr)  # where the driver reads the run's name
    (job,) = folder.jobs()
    assert job.partition == "gpu"
    assert job.granted["gres/gpu"] == "2"  # of the judge on two GPUs
    table = done.stdout
    assert "the job was given GPU 0,1, but there is no nvidia-smi" in table
    assert "judge qwen2-5-32b" in table
    assert f"gpu        {job.node}" in table
    assert "To do:" in table
