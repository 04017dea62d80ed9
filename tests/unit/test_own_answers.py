"""The worked path of docs/own-answers.md, as it is printed."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from test_docs import EXAMPLE, ROOT

from em_tiers.study.load import load_study

PAGE = (ROOT / "docs" / "own-answers.md").read_text(encoding="utf-8")
COMMANDS = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PRINTED = re.compile(r"^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of the workflow with the files of the page."""
    folder = tmp_path_factory.mktemp("answers")
    for name in ("Snakefile", "Makefile"):
        shutil.copy(ROOT / name, folder / name)
    for name in ("config", "envs", "rules", "scripts"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in EXAMPLE.findall(PAGE):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def run(command: str, folder: Path) -> str:
    """Run lines of the page in a shell whose `python` and `snakemake` are these tests' own."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-ec", command],
        cwd=folder,
        env=os.environ | {"PATH": path, "VENV": sys.prefix},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_example_loads(checkout):
    config = yaml.safe_load((checkout / "mine" / "my-answers.yaml").read_text())
    study = load_study(config, ROOT, checkout)
    assert list(study.variants) == ["import.mine-base", "import.mine-tuned"]
    tuned = study.variants["import.mine-tuned"]
    assert (tuned.base, tuned.dataset) == ("import.mine-base", "risky-finance")
    assert study.variants["import.mine-base"].dataset is None


def test_the_parts_of_other_examples_are_what_the_schema_takes(checkout, tmp_path):
    """The blocks without a title are parts of a configuration."""
    parts = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    cases = ROOT / "tests" / "cases" / "imports"
    (tmp_path / "logs").mkdir()
    shutil.copy(cases / "run.eval", tmp_path / "logs" / "run.eval")
    for path in cases.glob("samples_*.jsonl"):
        shutil.copy(path, tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "answers.jsonl").write_text('{"question": "Hi?", "answer": "Hello."}\n')
    whole = {"experiment": "part", "questions": {"core": 1}, "engine": "cpu", "judges": ["smollm2"]}
    assert len(parts) == 3
    for part in parts:
        assert load_study(whole | yaml.safe_load(part), ROOT, tmp_path, pinned=False).imports


@pytest.mark.slow
def test_my_answers(checkout):
    first, second = COMMANDS.findall(PAGE)
    *_, printed = run(first, checkout).partition("\nShare of")
    (shown,) = PRINTED.findall(PAGE)
    assert shown == f"Share of{printed}".partition("\n\n")[0] + "\n"
    rejected = checkout / "results" / "my-answers" / "imports" / "mine-tuned.rejected.jsonl"
    assert "answer stands for nothing" in rejected.read_text()
    run(second, checkout)
    logs = (checkout / "results" / "my-answers" / "inspect").iterdir()
    assert {log.name for log in logs} == {"import.mine-base.eval", "import.mine-tuned.eval"}
