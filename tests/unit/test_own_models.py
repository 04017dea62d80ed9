"""The worked paths of docs/own-models.md, as they are printed."""

import subprocess
import sys

import pytest
import yaml
from test_docs import EXAMPLE, ROOT

from adapters import write_adapter, write_model
from em_tiers.study.load import load_study

PAGE = (ROOT / "docs" / "own-models.md").read_text(encoding="utf-8")


@pytest.fixture
def mine(tmp_path):
    """A working folder with the files of the page, and the model that it speaks of."""
    for name, text in EXAMPLE.findall(PAGE):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    write_adapter(tmp_path / "mine" / "my-adapter", base_model_name_or_path="smollm2-135m")
    write_model(tmp_path / "mine" / "my-merged")
    return tmp_path


def dry_run(folder, name):
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"),
        "--directory", str(folder), "--configfile", str(folder / name), "--cores", "1", "-n",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_my_adapter(mine):
    assert "snakemake -n --configfile mine/adapter.yaml" in PAGE
    output = dry_run(mine, "mine/adapter.yaml")
    assert "download_adapter" in output
    assert "describe_dataset" in output
    assert "rule finetune" not in output


def test_my_merged_model(mine):
    assert "snakemake -n --configfile mine/merged.yaml" in PAGE
    output = dry_run(mine, "mine/merged.yaml")
    assert "smollm2-135m.model.my-merged" in output
    assert "rule finetune" not in output


def test_my_api_model(mine):
    assert "snakemake -n --configfile mine/api.yaml" in PAGE
    output = dry_run(mine, "mine/api.yaml")
    assert "rule sample_api" in output
    assert not {"rule sample:", "rule finetune"} & set(output.splitlines())


def test_a_system_text(mine):
    output = dry_run(mine, "mine/system.yaml")
    assert "prepare_system" in output


def test_every_example_is_a_configuration_that_loads(mine):
    names = [name for name, text in EXAMPLE.findall(PAGE) if text.startswith("experiment:")]
    assert names
    for name in names:
        config = yaml.safe_load((mine / name).read_text())
        assert load_study(config, ROOT, mine, [str(mine / name)]).variants
