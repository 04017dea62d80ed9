"""The log of a rule script, in a process of its own: what a person sees while it runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(folder: Path, body: str) -> tuple[int, list[str]]:
    """Run a script whose heart beats after 0.2 s of silence; return its status and its log."""
    code = (
        "import time\nfrom em_tiers import logs\n"
        "from em_tiers.errors import UserError\n"
        "logs.HEARTBEAT = logs.Heartbeat(first_s=0.2, longest_s=0.8)\n"
        f"def main():\n{body}\n"
        f"logs.run_script(main, {str(folder / 'rule.log')!r})\n"
    )
    path = {"PYTHONPATH": str(ROOT / "scripts")}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **path}, capture_output=True, text=True
    )
    logged = (folder / "rule.log").read_text().splitlines()
    assert done.stderr.splitlines()[: len(logged)] == logged  # the terminal shows the same
    return done.returncode, [line.split(" ", 2)[2] for line in logged]


def test_a_silent_script_says_that_it_runs_and_then_less_often(tmp_path):
    status, log = run(tmp_path, "    time.sleep(4.5)")
    assert status == 0
    assert all(re.fullmatch(r"still running, after \d+ s", line) for line in log)
    # After 0.2, 0.4 and 0.8 s of silence, and then each 0.8 s: seven lines, where one each 0.2 s
    # would be twenty. A busy machine writes fewer.
    assert 1 <= len(log) <= 8


def test_a_slow_stage_says_how_far_it_is(tmp_path):
    body = (
        "    def items():\n        for number in range(100):\n"
        "            time.sleep(2 if number == 3 else 0)\n            yield number\n"
        "    assert list(logs.progress(items(), 'judge', 100)) == list(range(100))"
    )
    status, log = run(tmp_path, body)
    assert status == 0
    assert any(re.fullmatch(r"judge: 3 of 100, after \d+ s", line) for line in log)
    tenths = [line for line in log if "after" not in line]
    assert tenths == [f"judge: {done} of 100" for done in range(10, 101, 10)]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("    raise UserError('engine: dtype: wrong')", "engine: dtype: wrong"),
        ("    raise OSError('disk')", "unexpected failure"),
    ],
)
def test_a_failure_ends_the_script_with_its_words(tmp_path, body, says):
    code = (
        "from em_tiers import logs\nfrom em_tiers.errors import UserError\n"
        f"def main():\n{body}\nlogs.run_script(main, {str(tmp_path / 'rule.log')!r})\n"
    )
    path = {"PYTHONPATH": str(ROOT / "scripts")}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **path}, capture_output=True, text=True
    )
    assert done.returncode == 1
    log = (tmp_path / "rule.log").read_text()
    assert f"ERROR {says}" in log
    assert ("Traceback" in log) == (says == "unexpected failure")
