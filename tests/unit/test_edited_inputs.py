"""Files that change or lie about while a job runs, through Snakemake itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
SNAKEFILE = """
rule copy:
    input: "rows.txt", ancient("judge.py")
    output: "copy.txt"
    log: "copy.log"
    script: "read_rows.py"
"""
SCRIPT = """
import time
from pathlib import Path
from em_tiers.logs import run_script

def main(source, output):
    text = Path(source).read_text()
    Path("reading").touch()
    while not Path("go").exists():
        time.sleep(0.05)
    Path(output).write_text(text)

job = globals()["snakemake"]
run_script(main, job.log[0], source=job.input[0], output=job.output[0])
"""


@pytest.fixture
def run(tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "read_rows.py").write_text(SCRIPT)
    (tmp_path / "rows.txt").write_text("before")
    (tmp_path / "judge.py").write_text("pass")
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--quiet"]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}

    def start(*arguments):
        return subprocess.Popen(
            [*command, *arguments],
            cwd=tmp_path,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    return start


@pytest.mark.parametrize("edited", ["rows.txt", "judge.py"])
def test_results_of_an_edited_input_are_not_kept(tmp_path, run, edited):
    process = run()
    while not (tmp_path / "reading").exists():
        assert process.poll() is None, process.communicate()
    (tmp_path / edited).write_text("after")
    (tmp_path / "go").touch()
    output, _ = process.communicate()
    assert process.returncode != 0
    assert f"{edited}: edited while this job was running" in output
    assert "Traceback" not in output
    assert not (tmp_path / "copy.txt").exists()
    # The next run does it again.
    assert run().wait() == 0
    assert (tmp_path / "copy.txt").read_text() == (tmp_path / "rows.txt").read_text()


def test_results_are_kept_where_nothing_was_edited(tmp_path, run):
    (tmp_path / "go").touch()
    abandoned = tmp_path / ".copy.txt.a1b2c3d4.part"  # as a killed job leaves it
    abandoned.touch()
    assert run().wait() == 0
    assert (tmp_path / "copy.txt").read_text() == "before"
    assert not abandoned.exists()
