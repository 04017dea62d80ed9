"""`snakemake --profile local`: jobs share the GPUs of one machine, none of which is used twice."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SNAKEFILE = """
rule all:
    input: expand("{job}.json", job=range(6))

rule use:
    output: "{job}.json"
    log: "{job}.log"
    resources: gpu=1
    script: "use.py"
"""
SCRIPT = """
import json, os, time
from pathlib import Path
from em_tiers.gpus import VISIBLE, claim_gpus
from em_tiers.logs import run_script

def main(output, folder, gpus):
    claim_gpus(gpus, folder)
    began = time.time()
    time.sleep(1)
    Path(output).write_text(json.dumps([os.environ[VISIBLE], began, time.time()]))

job = globals()["snakemake"]
run_script(main, job.log[0], output=job.output[0], folder=Path("locks"), gpus=job.resources.gpu)
"""


@pytest.fixture
def run(tmp_path):
    for name in ("local", "scripts"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "locks").mkdir()
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "use.py").write_text(SCRIPT)

    def run(visible, *arguments):
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}
        return subprocess.run(
            [sys.executable, "-m", "snakemake", "--profile", "local", "--cores", "6", *arguments],
            cwd=tmp_path,
            env=environment | {"CUDA_VISIBLE_DEVICES": visible},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    return run


def test_six_jobs_share_four_gpus(tmp_path, run):
    done = run("0,1,2,3")
    assert done.returncode == 0, done.stdout
    assert "GPUs: 0, 1, 2, 3" in done.stdout
    assert "waiting for" not in done.stdout  # no more jobs were started than there are GPUs
    uses = sorted(json.loads(path.read_text()) for path in tmp_path.glob("*.json"))
    assert len(uses) == 6
    assert {gpu for gpu, *_ in uses} == {"0", "1", "2", "3"}
    for (gpu, _, ended), (after, began, _) in itertools.pairwise(uses):
        assert gpu != after or ended <= began


def test_without_a_gpu_nothing_is_limited(run):
    done = run("", "-n")
    assert done.returncode == 0, done.stdout
    assert "GPUs: none" in done.stdout
