"""A working folder in which tests run the real workflow as a user would."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
CASES = ROOT / "tests" / "cases"


class Workdir:
    """A copy of a case folder, with the embedded model as its model `tiny`.

    Args:
        folder: an empty folder.
        case: name of a folder in tests/cases.
        model: folder of the converted embedded model.
        root: folder of the Snakefile, where a test works on a copy of the workflow.
    """

    def __init__(self, folder: Path, case: str, model: Path, root: Path = ROOT):
        self.folder = folder
        self.root = root
        shutil.copytree(CASES / case, folder, dirs_exist_ok=True)
        tiny = {"source": {"type": "path", "path": str(model)}, "parameters_b": 0.135}
        self.write("catalogue/models.yaml", {"tiny": tiny})
        self.config = self.read("config.yaml")
        # Threads that wait must not spin: tests share few cores with each other.
        self.environment = {"PYTHONUNBUFFERED": "1", "OMP_WAIT_POLICY": "PASSIVE"}

    @property
    def results(self) -> Path:
        """The experiment's results folder."""
        return self.folder / "results" / self.config["experiment"]

    def read(self, path: str):
        """A YAML file of the folder."""
        return yaml.safe_load((self.folder / path).read_text())

    def write(self, path: str, value) -> None:
        """Write a YAML file into the folder."""
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_text(yaml.safe_dump(value, sort_keys=False))

    def command(self, *arguments: str) -> list[str]:
        """The command line of a run in this folder with its configuration."""
        self.write("config.yaml", self.config)
        return [
            sys.executable, "-m", "snakemake", "--snakefile", str(self.root / "Snakefile"),
            "--directory", str(self.folder), "--configfile", str(self.folder / "config.yaml"),
            "--cores", "2", *arguments,
        ]  # fmt: skip

    def run(self, *arguments: str, check: bool = True) -> "Run":
        """Run the workflow and wait for it."""
        done = subprocess.run(
            self.command(*arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **self.environment},
            cwd=self.folder,
        )
        if check and done.returncode:
            raise AssertionError(f"snakemake failed:\n{done.stdout[-6000:]}")
        return Run(done.returncode, done.stdout)

    def journal_keys(self, stage: str) -> Counter:
        """How often each request is in the journals of a stage (sample or judge)."""
        keys: Counter[str] = Counter()
        for path in sorted((self.results / "journals" / stage).glob("*/*.jsonl")):
            keys.update(json.loads(line)["key"] for line in path.open(encoding="utf-8"))
        return keys


def copy_workflow(folder: Path) -> Path:
    """A copy of the workflow itself, whose rules, scripts and rubrics a test may edit."""
    for name in ("rules", "scripts", "config", "envs"):
        ignored = shutil.ignore_patterns("__pycache__", "private")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy2(ROOT / "Snakefile", folder)
    return folder


class Run:
    """The outcome of a run of Snakemake."""

    def __init__(self, status: int, output: str):
        self.status = status
        self.output = output

    @property
    def jobs(self) -> Counter:
        """Jobs by rule, from the table of job counts; empty when there was nothing to do."""
        table = re.search(r"^Job stats:\n(.*?)^total\b", self.output, re.MULTILINE | re.DOTALL)
        lines = table.group(1).splitlines()[2:] if table else []
        return Counter({line.split()[0]: int(line.split()[1]) for line in lines if line.strip()})
