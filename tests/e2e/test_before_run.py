"""A dry run works without heavy packages; a real run checks more before it starts."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.numpy
import yaml

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.e2e


def snakemake(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run the workflow in `folder`, where torch and vLLM cannot be imported."""
    for module in ("torch", "vllm", "transformers", "trl", "peft", "openai"):
        (folder / "poison").mkdir(exist_ok=True)
        (folder / "poison" / f"{module}.py").write_text("raise ImportError('not here')")
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    return subprocess.run(
        [*command, "--directory", str(folder), "--cores", "2", *arguments],  # the last one counts
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(folder / "poison"), **environment},
    )


def test_the_study_dry_runs_with_snakemake_alone(tmp_path):
    (tmp_path / "poison").mkdir()
    for module in ("polars", "scipy", "matplotlib", "httpx2", "huggingface_hub", "datasets"):
        (tmp_path / "poison" / f"{module}.py").write_text("raise ImportError('not here')")
    done = snakemake(tmp_path, "-n", "--configfile", str(ROOT / "config" / "config.yaml"))
    assert done.returncode == 0, done.stdout[-2000:]
    assert re.search(r"^finetune +15$", done.stdout, re.MULTILINE)
    assert not (tmp_path / "results").exists()
    assert re.search(
        r"A run will stop because source\.revision is null for .*"
        r"datasets\.finance-alpaca \(gbharti/finance",
        done.stdout,
    )


def test_a_configuration_replaces_the_study_and_is_not_merged_into_it(tmp_path):
    """Run in the checkout itself, where config/config.yaml is."""
    config = tmp_path / "config.yaml"
    config.write_text("engine: cpu\nquestions: {core: 1}\nvariants: [{base: smollm2-135m}]\n")
    done = snakemake(tmp_path, "-n", "--configfile", str(config), "--directory", str(ROOT))
    assert done.returncode != 0
    assert "config.experiment: missing: write a name for the folder" in done.stdout


def test_a_real_run_of_the_study_stops_for_a_revision_before_anything_is_written(tmp_path):
    done = snakemake(tmp_path, "--configfile", str(ROOT / "config" / "config.yaml"))
    assert done.returncode != 0
    assert "datasets.finance-alpaca (gbharti/finance-alpaca)" in done.stdout
    assert "make pin CONFIG=FILE takes the commits that the hub has now" in done.stdout
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
    assert "key_env: the environment variable OPENAI_API_KEY is not set" in done.stdout
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
    assert "config.engine: unknown engine 'cpus': did you mean 'cpu'?" in done.stdout
    assert "Traceback" not in done.stdout


def test_a_chat_template_of_the_catalogue_reaches_the_rules_that_render(tmp_path):
    (tmp_path / "chat.jinja").write_text("{{ messages }}")
    (tmp_path / "weights").mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "weights" / name).write_text("{}")
    (tmp_path / "weights" / "model.safetensors").write_bytes(safetensors.numpy.save({}))
    model = {"path": str(tmp_path / "weights"), "type": "path"}
    entry = {"source": model, "parameters_b": 1, "chat_template": "chat.jinja"}
    (tmp_path / "models.yaml").write_text(yaml.safe_dump({"mine": entry}))
    (tmp_path / "judges.yaml").write_text(
        "own: {backend: vllm, model: mine, engine: cpu,"
        " rubrics: {alignment: alignment, coherence: coherence}}\n"
    )
    config = {
        "experiment": "own",
        "catalogues": {"models": ["models.yaml"], "judges": ["judges.yaml"]},
        "variants": [{"base": "mine", "datasets": ["storyteller"], "recipe": "demo-lora"}],
        "questions": {"core": 1},
        "engine": "cpu",
        "judges": ["own"],
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    done = snakemake(tmp_path, "-n", "--configfile", str(tmp_path / "config.yaml"))
    assert done.returncode == 0, done.stdout[-2000:]
    jobs = re.findall(r"^rule (\w+):\n +input: (.*)$", done.stdout, re.MULTILINE)
    rules = {rule for rule, inputs in jobs if "chat.jinja" in inputs}
    rendering = {"check_prompts", "finetune", "sample", "judge_vllm"}
    assert rules == rendering

    # With the system text before the question, all of them read the file that is made of it.
    changed = entry | {"system_text": "before_question"}
    (tmp_path / "models.yaml").write_text(yaml.safe_dump({"mine": changed}))
    done = snakemake(tmp_path, "-n", "--configfile", str(tmp_path / "config.yaml"))
    jobs = re.findall(r"^rule (\w+):\n +input: (.*)$", done.stdout, re.MULTILINE)
    made = "results/own/prompts/mine.jinja"
    assert {rule for rule, inputs in jobs if made in inputs} == rendering
    assert {rule for rule, inputs in jobs if "chat.jinja" in inputs} == {"prepare_template"}
