"""A login node with the small environment parses the workflow and shows what would be submitted."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Importing any of these fails, as where they are not installed.
ABSENT = ["torch", "vllm", "transformers", "trl", "peft", "datasets", "accelerate", "safetensors"]
DRY_RUN = f"""
import sys
sys.modules |= dict.fromkeys({ABSENT})
from snakemake.cli import main
main(sys.argv[1:])
"""


def test_a_dry_run_needs_no_models_and_no_network(tmp_path):
    environment = os.environ | {
        "EM_TIERS_SITE": str(ROOT / "tests" / "slurm" / "site.yaml"),
        "https_proxy": "http://127.0.0.1:9",
    }
    (tmp_path / "slurm").symlink_to(ROOT / "slurm")
    arguments = ["--profile", "slurm", "--configfile", ROOT / "config" / "demo.yaml"]
    done = subprocess.run(
        [sys.executable, "-c", DRY_RUN, *arguments, "--snakefile", ROOT / "Snakefile", "--dry-run"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert {"convert_model", "finetune"} <= set((done.stdout + done.stderr).split())


@pytest.mark.parametrize("script", ["finetune", "sample", "judge_vllm"])
def test_a_gpu_job_goes_offline_before_anything_reads_that_it_is(script):
    """huggingface_hub reads HF_HUB_OFFLINE once, when it is imported: the scripts set it first."""
    loaded = (
        f"import sys, {script}; print({{*{[*ABSENT, 'huggingface_hub']}}} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", loaded],
        env=os.environ | {"PYTHONPATH": str(ROOT / "scripts")},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "set()"


def test_the_model_of_a_package_names_what_converts_it(tmp_path):
    """Downloads need no torch; a model that comes in a package is converted by a job."""
    code = f"""
import sys
sys.modules |= dict.fromkeys({ABSENT})
from pathlib import Path
from em_tiers.download.gguf import convert_gguf
from em_tiers.errors import UserError
try:
    convert_gguf(Path("model.gguf"), Path("model"))
except UserError as error:
    print(error)
"""
    path = {"PYTHONPATH": str(ROOT / "scripts")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | path, capture_output=True, text=True
    )
    assert "use that of make setup-gpu or make setup, or --sdm conda or apptainer" in done.stdout
