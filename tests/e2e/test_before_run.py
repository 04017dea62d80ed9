"""What a dry run shows without heavy packages, and what a real run demands before it starts."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.e2e


def snakemake(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run the workflow in `folder`, where torch and vLLM cannot be imported."""
    for module in ("torch", "vllm", "transformers", "trl", "peft", "openai"):
        (folder / "poison").mkdir(exist_ok=True)
        (folder / "poison" / f"{module}.py").write_text("raise ImportError('not here')")
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    return subprocess.run(
        [*command, "--directory", str(folder), "--cores", "2", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(folder / "poison"), **environment},
    )


def test_the_study_dry_runs_without_torch_and_vllm_in_20_seconds(tmp_path):
    started = time.monotonic()
    done = snakemake(tmp_path, "-n", "--configfile", str(ROOT / "config" / "config.yaml"))
    assert done.returncode == 0, done.stdout[-2000:]
    assert time.monotonic() - started < 20
    assert re.search(r"^finetune +15$", done.stdout, re.MULTILINE)
    assert not (tmp_path / "results").exists()


def test_a_real_run_of_the_study_stops_for_a_revision_before_anything_is_written(tmp_path):
    done = snakemake(tmp_path, "--configfile", str(ROOT / "config" / "config.yaml"))
    assert done.returncode != 0
    assert "datasets.finance-alpaca (gbharti/finance-alpaca)" in done.stdout
    assert "copy the commit's full id" in done.stdout
    assert not (tmp_path / "results").exists()


@pytest.fixture
def with_api_judge(tmp_path):
    """A configuration whose only missing piece is the key of its judge."""
    (tmp_path / "config.yaml").write_text(
        "experiment: keyed\nquestions: {core: 1}\nengine: cpu\njudges: [gpt-4o]\n"
        "variants: [{base: smollm2-135m}]\n"
    )
    return tmp_path


def test_a_missing_key_is_named_before_any_work_starts(with_api_judge):
    config = str(with_api_judge / "config.yaml")
    done = snakemake(with_api_judge, "--configfile", config, OPENAI_API_KEY="")
    assert done.returncode != 0
    assert "judges.gpt-4o.endpoint.key_env: OPENAI_API_KEY: is not set" in done.stdout
    assert not (with_api_judge / "results").exists()


def test_a_key_is_asked_for_only_when_its_judge_has_work_to_do(with_api_judge):
    config = str(with_api_judge / "config.yaml")
    target = "results/keyed/questions/core.parquet"
    done = snakemake(with_api_judge, target, "--configfile", config, OPENAI_API_KEY="")
    assert done.returncode == 0, done.stdout[-2000:]
    assert (with_api_judge / target).exists()


def test_a_mistake_in_the_configuration_is_one_message_without_a_traceback(with_api_judge):
    config = with_api_judge / "config.yaml"
    config.write_text(config.read_text().replace("engine: cpu", "engine: cpus"))
    done = snakemake(with_api_judge, "-n", "--configfile", str(config))
    assert done.returncode != 0
    assert "config.engine: cpus: is no engine of the catalogue: did you mean cpu?" in done.stdout
    assert "Traceback" not in done.stdout
