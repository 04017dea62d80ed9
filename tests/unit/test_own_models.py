"""The worked paths of docs/own-*.md, as they are printed: each passes its own dry run."""

import subprocess
import sys

import pytest
import yaml
from test_docs import EXAMPLE, ROOT

from adapters import write_adapter, write_model
from em_tiers.study.load import load_study
from worked_paths import commands, run_line, worked_paths, write_files

PAGE = (ROOT / "docs" / "own-models.md").read_text(encoding="utf-8")
# What a dry run of each path shows, and must not.
SHOWN = {
    "My adapter": {"download_adapter", "describe_dataset", "sample"},
    "My merged model": {"download_model", "sample"},
    "My API model": {"sample_api"},
}


def write_weights(folder):
    """The adapter and the merged model that the page speaks of."""
    write_adapter(folder / "mine" / "my-adapter", base_model_name_or_path="smollm2-135m")
    write_model(folder / "mine" / "my-merged")


@pytest.fixture
def mine(tmp_path):
    """A working folder with the files of the page, and the models that it speaks of."""
    for name, text in EXAMPLE.findall(PAGE):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    write_weights(tmp_path)
    return tmp_path


def dry_run(folder, name):
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"),
        "--directory", str(folder), "--configfile", str(folder / name), "--cores", "1", "-n",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_paths_of_the_page_are_all_here():
    assert worked_paths().keys() >= SHOWN.keys()


@pytest.mark.parametrize("title", worked_paths())
def test_the_printed_dry_run(title, tmp_path):
    text = worked_paths()[title]
    folder = write_files(text, tmp_path / "em-tiers")
    write_weights(folder)
    dry = [line for line in commands(text) if " -n " in line]
    assert dry, f"{title} prints no dry run"
    for line in dry:
        output = run_line(line, folder).stdout
        rules = {row.split()[0] for row in output.splitlines() if row.strip()}
        assert SHOWN.get(title, set()) <= rules
        assert "finetune" not in rules


def test_a_system_text(mine):
    output = dry_run(mine, "mine/system.yaml")
    assert "prepare_system" in output


def test_every_example_is_a_configuration_that_loads(mine):
    names = [name for name, text in EXAMPLE.findall(PAGE) if text.startswith("experiment:")]
    assert names
    for name in names:
        config = yaml.safe_load((mine / name).read_text())
        assert load_study(config, ROOT, mine, [str(mine / name)]).variants
