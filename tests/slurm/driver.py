"""The tests' handle on the cluster: run Snakemake, ask about jobs, break things."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from waiting import PATIENCE, wait_for_end, wait_until

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TINY = HERE / "tiny" / "Snakefile"
FIELDS = ("JobIDRaw", "JobName", "Comment", "State", "Partition", "NodeList", "AllocTRES")
UNFINISHED = ("PENDING", "RUNNING", "REQUEUED", "COMPLETING")


@dataclass
class Job:
    """One job as sacct sees it; `comment` is `rule_NAME`, with wildcards if it has any."""

    id: str
    run: str
    comment: str
    state: str
    partition: str
    node: str
    granted: dict[str, str]
    minutes: int


class Cluster:
    """A running test cluster."""

    def __init__(self, home: Path, environment: dict[str, str]):
        self.home = home
        self.environment = environment

    def call(self, *command: str) -> str:
        return subprocess.run(
            command, env=self.environment, check=True, capture_output=True, text=True
        ).stdout

    def control(self, *command: str) -> None:
        subprocess.run([HERE / "cluster", *command], env=self.environment, check=True)

    def jobs(self, **wanted: str) -> list[Job]:
        """Jobs of this session, oldest first, with every attempt of a requeued one.

        `wanted` are attributes of Job that must be equal, such as `run=`.
        """
        report = self.call(
            "sacct", "-X", "-P", "-n", "--duplicates", "--starttime=now-1day",
            f"--format={','.join([*FIELDS, 'TimelimitRaw'])}",
        )  # fmt: skip
        found = [parse_job(line) for line in report.splitlines()]
        return [j for j in found if all(getattr(j, k) == v for k, v in wanted.items())]

    def running(self) -> list[str]:
        """Ids of jobs that wait or run."""
        return self.call("squeue", "-h", "-o", "%i").split()

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until a condition holds; on failure, the message shows the queue."""
        wait_until(condition, what, output=lambda: self.call("squeue"), pause_s=0.5)

    def repair(self) -> None:
        """Cancel all jobs and bring every node back, whatever a test left behind."""
        self.call("scancel", "--user", self.call("id", "-un").strip())
        self.control("up", "--accounting")
        self.wait_until(lambda: not self.running(), "empty queue")


class Folder:
    """A working folder with the repository's profile in it, like a user's."""

    def __init__(self, path: Path, cluster: Cluster):
        self.path = path
        self.cluster = cluster
        path.mkdir(exist_ok=True)
        (path / "slurm").symlink_to(ROOT / "slurm")

    def start(self, *arguments: str, snakefile: Path = TINY) -> subprocess.Popen:
        """`snakemake --profile slurm`, its output in `log`."""
        command = [sys.executable, "-m", "snakemake", "--profile", "slurm", "-s", snakefile]
        with self.log.open("w") as log:
            return subprocess.Popen(
                [*command, *arguments],
                cwd=self.path,
                env=self.cluster.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def run(self, *arguments: str, snakefile: Path = TINY, seconds: float = PATIENCE) -> int:
        """The exit status of a run from beginning to end."""
        process = self.start(*arguments, snakefile=snakefile)
        try:
            return self.wait_for_end(process, seconds)
        finally:
            stop(process)

    def wait_for_end(self, process: subprocess.Popen, seconds: float = PATIENCE) -> int:
        """Wait until a run that was started ends, and return its exit status."""
        return wait_for_end(process, self._state, seconds)

    def wait_until(
        self, condition: Callable[[], bool], what: str, process: subprocess.Popen
    ) -> None:
        """Wait until a condition holds, while the run is still going."""
        wait_until(condition, what, process, self._state, pause_s=0.5)

    def wait_for_answers(self, name: str, number: int, process: subprocess.Popen) -> None:
        """Wait until this many answers are in a journal."""
        self.wait_until(
            lambda: len(self.journal_keys(name)) >= number, f"answer {number} of {name}", process
        )

    def _state(self) -> str:
        return f"{self.output()}\n{self.cluster.call('squeue')}"

    @property
    def log(self) -> Path:
        return self.path / "snakemake.log"

    def output(self) -> str:
        return self.log.read_text()

    def run_name(self) -> str:
        """The name that all SLURM jobs of the last run share."""
        return self.output().split("SLURM run ID: ")[1].split()[0]

    def jobs(self, **wanted: str) -> list[Job]:
        return self.cluster.jobs(run=self.run_name(), **wanted)

    def read(self, name: str) -> dict:
        return json.loads((self.path / name).read_text())

    def journal_keys(self, name: str) -> list[str]:
        """Keys in a journal in the order of writing, repeats included."""
        lines = [
            line
            for file in sorted((self.path / "journals" / name).glob("*.jsonl"))
            for line in file.read_text().splitlines()
        ]
        return [json.loads(line)["key"] for line in lines]


def change_site(folder: Folder, monkeypatch: pytest.MonkeyPatch, **profile) -> None:
    """A site file for this test only, with further entries under `profile:`."""
    site = yaml.safe_load((HERE / "site.yaml").read_text())
    site["profile"] |= {key.replace("_", "-"): value for key, value in profile.items()}
    path = folder.path / "site.yaml"
    path.write_text(yaml.safe_dump(site))
    monkeypatch.setitem(folder.cluster.environment, "EM_TIERS_SITE", str(path))


def parse_job(line: str) -> Job:
    id, run, comment, state, partition, node, granted, minutes = line.split("|")
    pairs = dict(pair.split("=", 1) for pair in granted.split(",") if pair)
    # "CANCELLED by 0" is CANCELLED.
    return Job(id, run, comment, state.split()[0], partition, node, pairs, int(minutes or 0))


def stop(process: subprocess.Popen) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def find_ports(number: int = 6) -> int:
    """The first of this many free ports, away from the defaults of tests/slurm/cluster.

    Another session may test on this machine, or a killed one have left its cluster behind.
    """
    for first in range(17520, 18520, 10):
        try:
            for port in range(first, first + number):
                with socket.socket() as listener:
                    listener.bind(("", port))
        except OSError:
            continue
        return first
    raise RuntimeError("no free ports between 17520 and 18520 for a SLURM cluster")


def read_environment(home: Path) -> dict[str, str]:
    """The variables of `cluster env` over those of this process."""
    environment = os.environ | {
        "EM_TIERS_CLUSTER": str(home),
        "EM_TIERS_CLUSTER_PORT": str(find_ports()),
        "EM_TIERS_SITE": str(HERE / "site.yaml"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    printed = subprocess.run(
        [HERE / "cluster", "env"], env=environment, check=True, capture_output=True, text=True
    ).stdout
    exports = dict(word.split("=", 1) for word in shlex.split(printed)[1:])
    exports["PATH"] = exports["PATH"].replace("$PATH", environment["PATH"])
    return environment | exports
