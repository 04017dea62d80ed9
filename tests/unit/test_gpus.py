"""GPUs of one machine, claimed by real processes through real locks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from em_tiers import gpus

SCRIPTS = Path(__file__).parents[2] / "scripts"
CLAIM = """
import sys, time
from pathlib import Path
from em_tiers.gpus import VISIBLE, claim_gpus
from em_tiers.logs import log_to
import os
log_to(None)
claim_gpus(int(sys.argv[1]), Path("locks"))
print(os.environ.get(VISIBLE, ""), flush=True)
time.sleep(600)
"""


@pytest.fixture
def claim(tmp_path):
    """Start a process that claims GPUs of 0, 1, 2 and 3; kills all of them at the end."""
    (tmp_path / "locks").mkdir()
    started = []

    def start(count, visible="0,1,2,3"):
        environment = {**os.environ, "PYTHONPATH": str(SCRIPTS), gpus.VISIBLE: visible}
        process = subprocess.Popen(
            [sys.executable, "-c", CLAIM, str(count)],
            cwd=tmp_path,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def seen(process):
    return process.stdout.readline().strip().split(",")


def test_no_gpu_is_used_twice(claim):
    used = [gpu for _ in range(4) for gpu in seen(claim(1))]
    assert sorted(used) == ["0", "1", "2", "3"]


def test_a_job_waits_for_a_gpu_and_gets_it_when_its_job_is_killed(claim):
    first = claim(1, "5,7")
    assert seen(first) == ["5"]
    assert seen(claim(1, "5,7")) == ["7"]
    waiting = claim(1, "5,7")
    assert "waiting for 1 of the GPUs 5, 7" in waiting.stderr.readline()
    first.kill()
    assert seen(waiting) == ["5"]


def test_jobs_of_several_gpus_get_all_or_none(claim):
    assert seen(claim(2)) == ["0", "1"]
    three = claim(3)
    assert "waiting for 3" in three.stderr.readline()
    assert seen(claim(2)) == ["2", "3"]


def test_what_a_scheduler_chose_is_left_alone(claim):
    assert seen(claim(2, "GPU-8a,GPU-8b")) == ["GPU-8a", "GPU-8b"]
    assert seen(claim(1, "")) == [""]
    assert seen(claim(0, "0,1")) == ["0", "1"]


def test_visible_gpus_come_from_the_environment_or_the_driver(tmp_path):
    assert gpus.visible_names({gpus.VISIBLE: "2, 3"}) == ["2", "3"]
    assert gpus.visible_names({gpus.VISIBLE: ""}) == []


def test_a_lock_folder_of_another_user_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "mine").mkdir()
    (tmp_path / f"em-tiers-gpus-{os.getuid()}").symlink_to(tmp_path / "mine")
    monkeypatch.setenv(gpus.VISIBLE, "0,1")
    with pytest.raises(gpus.UserError, match="set TMPDIR"):
        gpus.claim_gpus(1)
