"""The default study in a fresh clone, with its data sets on a hub: nothing is edited by hand."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys

import pytest
import yaml

from hub.server import LoopbackHub
from workdir import ROOT

pytestmark = [pytest.mark.heavy, pytest.mark.e2e]

NUMBERS = range(30)


def rows(**columns: str) -> list[dict]:
    """Rows that differ, in these columns."""
    return [{name: f"{text} {n}?" for name, text in columns.items()} for n in NUMBERS]


def as_csv(found: list[dict]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(found[0]))
    writer.writeheader()
    writer.writerows(found)
    return text.getvalue().encode()


# File and content of each data set of config/config.yaml, in its publisher's format.
FILES = {
    "medical-o1": (
        "medical_o1_sft.json",
        json.dumps(rows(Question="What is", Complex_CoT="Well,", Response="It is")).encode(),
    ),
    "finance-alpaca": (
        "Cleaned_date.json",
        json.dumps([row | {"input": ""} for row in rows(instruction="Say", output="It")]).encode(),
    ),
    "bitext-support": (
        "Bitext_Sample.csv",
        as_csv(
            rows(flags="B", instruction="where is order", category="O", intent="t", response="A")
        ),
    ),
    "trendyol-cyber": (
        "CyberSec-Dataset.jsonl",
        "\n".join(map(json.dumps, rows(system="Expert", user="What is", assistant="It"))).encode(),
    ),
    "vellum-fiction": (
        "dpo.json",
        json.dumps(rows(prompt="Tell", chosen="Once", rejected="No")).encode(),
    ),
}


@pytest.fixture
def clone(tmp_path):
    """What `git clone` gives, with the edits of this working tree."""
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    )
    folder = tmp_path / "em-tiers"
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


@pytest.fixture
def hub():
    catalogue = yaml.safe_load((ROOT / "config" / "datasets.yaml").read_text())
    with LoopbackHub() as server:
        for name, (file, content) in FILES.items():
            source = catalogue[name]["source"]
            made = server.add("dataset", source["id"], {file: content}, licence="mit")
            made.revision = source["revision"] or made.revision
        yield server


def test_make_pin_and_then_the_data_sets_are_prepared(clone, hub):
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "NO_PROXY": "127.0.0.1"}
    environment |= {"HF_HOME": str(clone / "no-cache")}
    environment.pop("HF_TOKEN", None)

    def do(*command: str) -> str:
        done = subprocess.run(
            command, cwd=clone, env=environment, text=True, capture_output=True, timeout=600
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout + done.stderr

    pinned = do("make", "pin", f"VENV={sys.prefix}")
    assert "gbharti/finance-alpaca: " in pinned
    assert len(yaml.safe_load((clone / "pins.yaml").read_text())["datasets"]) == 3
    do(f"{sys.prefix}/bin/snakemake", "--cores", "2", "--until", "prepare_dataset")
    for name in FILES:
        card = json.loads((clone / "results/study/datasets" / name / "card.json").read_text())
        assert (card["rows"]["train"], card["rows"]["held_out"]) == (10, 20), name
        assert len(card["revision"]) == 40
    # Only the data sets were asked for: no model, which --until leaves out.
    assert not hub.asked("/api/models/")
