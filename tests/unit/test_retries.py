"""Retries through Snakemake itself: only what may pass is run again."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).parents[2] / "scripts"
SNAKEFILE = """
rule all:
    input: "user.out", "temporary.out", "other.out"

rule fail:
    output: "{kind}.out"
    log: "logs/{kind}.log"
    retries: 2
    params: kind="{kind}"
    script: "fail.py"
"""
SCRIPT = """
from pathlib import Path
from em_tiers.errors import TemporaryError, UserError
from em_tiers.logs import run_script

ERRORS = {"user": UserError, "temporary": TemporaryError, "other": OSError}

def main(kind, output):
    with open(f"{kind}.runs", "a") as file:
        file.write("x")
    if not Path("corrected").exists():
        raise ERRORS[kind](f"{kind}: wrong")
    Path(output).touch()

job = globals()["snakemake"]
run_script(
    main,
    job.log[0],
    kind=job.params.kind,
    output=job.output[0],
)
"""


def run(folder: Path) -> int:
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--keep-going", "--quiet"]
    # As both profiles have it.
    command += ["--default-resources", "attempt=attempt"]
    path = {"PYTHONPATH": str(SCRIPTS)}
    done = subprocess.run(command, cwd=folder, env={**os.environ, **path}, capture_output=True)
    return done.returncode


def test_an_error_that_a_retry_cannot_correct_is_reported_again_without_running(tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "fail.py").write_text(SCRIPT)
    assert run(tmp_path) != 0

    def runs() -> dict[str, int]:
        return {path.stem: len(path.read_text()) for path in tmp_path.glob("*.runs")}

    assert runs() == {"user": 1, "temporary": 3, "other": 3}
    # Snakemake clears the log before each attempt: this is the last one's.
    log = (tmp_path / "logs" / "user.log").read_text()
    assert log.endswith(" ERROR user: wrong\n")
    assert [path.name for path in tmp_path.glob("logs/*.gave_up")] == ["user.log.gave_up"]

    # The next run starts with a first attempt, which forgets what was given up.
    (tmp_path / "corrected").touch()
    assert run(tmp_path) == 0
    assert runs() == {"user": 2, "temporary": 4, "other": 4}
    assert not list(tmp_path.glob("logs/*.gave_up"))
