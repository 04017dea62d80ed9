"""The script behind the test cluster leaves nothing behind, however its user ends."""

import subprocess
from pathlib import Path

import pytest

from slurm.driver import HERE, read_environment
from waiting import wait_for_end, wait_until

pytestmark = pytest.mark.slurm


def is_alive(pid):
    """Whether the process runs; one that only waits to be reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_killed_user_leaves_no_daemons_and_no_jobs(cluster, tmp_path):
    """A second cluster beside that of the test run, with its own ports and folder."""
    environment = read_environment(tmp_path)
    user = subprocess.Popen(["sleep", "infinity"])
    guard = subprocess.Popen([HERE / "cluster", "guard", str(user.pid)], env=environment)
    try:
        subprocess.run([HERE / "cluster", "up"], env=environment, check=True)
        daemons = [int(file.read_text()) for file in (tmp_path / "run").glob("*.pid")]
        script = "#!/bin/sh\necho $$ > job.pid\nexec sleep infinity\n"
        command = ["sbatch", "--wait-all-nodes=1", "--chdir", tmp_path]
        subprocess.run(command, env=environment, input=script, text=True, check=True)
        job = tmp_path / "job.pid"
        wait_until(lambda: job.exists() and job.read_text().strip(), "running job")
        processes = [*daemons, int(job.read_text())]
        # munged, slurmctld, three slurmd, the job.
        assert [is_alive(pid) for pid in processes] == [True] * 6
    finally:
        user.kill()
        user.wait()
        assert wait_for_end(guard) == 0
    wait_until(lambda: not any(map(is_alive, processes)), "end of every process")
    assert cluster.call("sinfo", "-h", "-o", "%P")
