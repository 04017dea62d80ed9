"""Every lock installs on every supported Python: pip's dry run finds a build of each package."""

import os
import subprocess
import sys

import pytest

from build_locks import ENVS, OLDEST_PYTHON

NEWEST_PYTHON = "3.12.12"
slow = pytest.mark.slow  # minutes each, for about 200 packages


@pytest.mark.parametrize(
    ("lock", "python"),
    [
        ("workflow", OLDEST_PYTHON),
        pytest.param("workflow", NEWEST_PYTHON, marks=slow),
        pytest.param("cuda", OLDEST_PYTHON, marks=slow),
        pytest.param("cuda", NEWEST_PYTHON, marks=slow),
        pytest.param("cuda12", OLDEST_PYTHON, marks=slow),
        pytest.param("cuda12", NEWEST_PYTHON, marks=slow),
        # torch's CPU build exists for Python 3.11 only.
        pytest.param("cpu", OLDEST_PYTHON, marks=slow),
    ],
)
def test_a_lock_installs(lock, python, tmp_path):
    requirements = tmp_path / "lock.txt"
    lines = (ENVS / f"{lock}.txt").read_text().splitlines(keepends=True)
    # torch's and vLLM's builds for CUDA 12.9 are on indexes of their own.
    requirements.write_text("".join(line for line in lines if "+cu129" not in line))
    command = [
        *[sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps", "--ignore-installed"],
        *["--quiet", "--only-binary=:all:", "--no-binary=connection_pool"],
        *["--implementation=cp", f"--python-version={python}", f"--target={tmp_path}"],
        *["--requirement", str(requirements)],
    ]
    done = subprocess.run(command, text=True, capture_output=True, env=os.environ)
    assert done.returncode == 0, done.stderr[-2000:]
