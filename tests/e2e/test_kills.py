"""A run that is stopped at any moment, in any way, ends with the tables of an undisturbed one."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from waiting import wait_until
from workdir import Workdir

pytestmark = [pytest.mark.heavy, pytest.mark.e2e]

# Tables of seconds and of what depends on them.
OF_THE_MACHINE = ("dose", "training", "cost")
LONGEST_PAUSE_S = 6
JOB_KILLED = "job killed"
WAYS = ("group killed", "Snakemake killed", JOB_KILLED, "terminated", "interrupted")


def final_files(work: Workdir) -> dict[str, bytes]:
    """What a run is for, keyed by path: answers, verdicts, outcomes and tables."""
    kinds = ("responses/*.parquet", "verdicts/*/*.parquet", "outcomes/*.parquet", "tables/*.csv")
    found = {p.relative_to(work.results).as_posix(): p for k in kinds for p in work.results.glob(k)}
    return {
        name: path.read_bytes()
        for name, path in found.items()
        if path.stem not in OF_THE_MACHINE or path.parent.name != "tables"
    }


def descendants(pid: int) -> Iterator[int]:
    """Processes below a process, parents first."""
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(entry.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == pid:
            yield int(entry.parent.name)
            yield from descendants(int(entry.parent.name))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def is_job(pid: int) -> bool:
    try:
        return b".snakemake/scripts" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def stop(process: subprocess.Popen, way: str, below: list[int]) -> None:
    """Stop a run in one of WAYS; its jobs may live on."""
    match way:
        case "group killed":
            os.killpg(process.pid, signal.SIGKILL)
        case "Snakemake killed":
            process.kill()
        case "job killed":
            for pid in [p for p in below if is_job(p)][-1:]:
                os.kill(pid, signal.SIGKILL)
        case "terminated":
            process.terminate()
        case "interrupted":
            os.killpg(process.pid, signal.SIGINT)


def run_and_stop(work: Workdir, way: str, jobs: int, rng: random.Random) -> bool:
    """Start a run and stop it some seconds after `jobs` jobs are done; False if it ended before."""
    # Where the tests run in a shell's background, they and all that they start ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    log = work.folder / "run.out"
    with log.open("w") as output:
        process = subprocess.Popen(
            work.command("--rerun-incomplete", "--keep-going"),
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **work.environment},
            cwd=work.folder,
            start_new_session=True,
        )
    ended = lambda: process.poll() is not None  # noqa: E731
    wait_until(
        lambda: ended() or log.read_text(errors="replace").count("Finished jobid") >= jobs,
        f"{jobs} finished jobs",
        pause_s=0.2,
    )
    until = time.monotonic() + rng.uniform(0, LONGEST_PAUSE_S)
    while time.monotonic() < until and not ended():
        time.sleep(0.1)
    if ended():
        return False
    below = list(descendants(process.pid))
    stop(process, way, below)
    wait_until(ended, "end of the run", pause_s=0.2)
    # A job that outlives Snakemake keeps its lease: the docs say to wait for it.
    wait_until(lambda: not any(map(is_alive, below)), "end of its jobs", pause_s=0.2)
    work.run("--unlock")
    return True


def chain(work: Workdir, seed: int, stops: int) -> int:
    """Stop a run up to `stops` times and let it end; returns how often it was stopped.

    Each stop leaves work to those after it. A killed job is the last: Snakemake starts it again
    and goes on to the end.
    """
    rng = random.Random(seed)
    ways = [WAYS[(seed + n) % len(WAYS)] for n in range(stops)]
    ways.sort(key=lambda way: way == JOB_KILLED)
    stopped = 0
    for later, way in zip(reversed(range(stops)), ways, strict=True):
        jobs = work.run("-n", "--rerun-incomplete").jobs.total() // (later + 2)
        stopped += run_and_stop(work, way, rng.randint(0, jobs), rng)
    work.run("--rerun-incomplete")
    return stopped


def check_equal(work: Workdir, undisturbed: dict[str, bytes]) -> None:
    found = final_files(work)
    assert found.keys() == undisturbed.keys()
    assert [name for name, content in undisturbed.items() if found[name] != content] == []
    for stage in ("sample", "judge"):
        assert set(work.journal_keys(stage).values()) <= {1}
    stray = [p for p in work.results.rglob("*") if ".part" in p.name or p.suffix == ".lease"]
    assert stray == []
    assert not work.run("-n").jobs


def test_an_import_that_is_stopped_twice_ends_the_same(tmp_path):
    whole = Workdir(tmp_path / "whole", "import_only", Path("/nowhere"))
    whole.run()
    stopped = Workdir(tmp_path / "stopped", "import_only", Path("/nowhere"))
    assert chain(stopped, seed=0, stops=2) == 2
    check_equal(stopped, final_files(whole))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, embedded_model):
    work = Workdir(tmp_path_factory.mktemp("undisturbed"), "smallest", embedded_model)
    work.run()
    return final_files(work)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_a_study_that_is_stopped_again_and_again_ends_the_same(
    undisturbed, embedded_model, tmp_path, seed
):
    """Five times, in each of the ways: 25 moments in training, sampling, judging and statistics."""
    work = Workdir(tmp_path / "stopped", "smallest", embedded_model)
    assert chain(work, seed, stops=5) >= 4
    check_equal(work, undisturbed)
