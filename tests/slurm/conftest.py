"""One SLURM cluster for all tests of a session, up before the first and down after the last."""

import os
import shutil
import signal
import subprocess

import pytest

from slurm.driver import HERE, Cluster, Folder, read_environment


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """The running cluster; skips where SLURM is not installed, fails there in CI."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    missing = [c for c in ("slurmctld", "slurmdbd", "mariadbd") if not shutil.which(c, path=path)]
    if missing:
        reason = f"no {', '.join(missing)}: run tests/slurm/install.sh as root"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    # A test run that is told to end stops its daemons.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    home = tmp_path_factory.mktemp("cluster")
    environment = read_environment(home)
    # One that is killed outright cannot: this process outlives it and stops them.
    guard = subprocess.Popen(
        [HERE / "cluster", "guard", str(os.getpid())],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        subprocess.run([HERE / "cluster", "up", "--accounting"], env=environment, check=True)
        yield Cluster(home, environment)
    finally:
        subprocess.run([HERE / "cluster", "down"], env=environment, check=True)
        guard.kill()
        guard.wait()


@pytest.fixture
def folder(cluster, tmp_path):
    """A fresh working folder; afterwards the cluster is complete and idle again."""
    yield Folder(tmp_path, cluster)
    cluster.repair()
