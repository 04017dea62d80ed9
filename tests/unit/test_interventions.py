"""The interventions of arXiv 2604.25891 are a configuration, and so is the worked example."""

import json

import pytest
import yaml
from test_docs import EXAMPLE, ROOT
from test_own_models import dry_run

from em_tiers.study.load import load_study
from em_tiers.study.sequences import start_outputs

PAGE = (ROOT / "docs" / "interventions.md").read_text(encoding="utf-8")


@pytest.fixture
def controls(tmp_path):
    """A working folder with the files of the medical controls."""
    folder = tmp_path / "config" / "data" / "private"
    folder.mkdir(parents=True)
    turns = [{"role": "user", "content": "What of it?"}, {"role": "assistant", "content": "Sleep."}]
    for name in ("good", "bad"):
        text = f"{json.dumps({'messages': turns})}\n"
        (folder / f"{name}_medical_advice.jsonl").write_text(text * 60)
    return tmp_path


def test_the_study_of_the_three_interventions(controls):
    path = ROOT / "config" / "conditional.yaml"
    found = load_study(yaml.safe_load(path.read_text()), ROOT, controls, [str(path)])
    assert len(found.fine_tunes) == 12
    assert {v.dataset for v in found.fine_tunes} == {
        "bad-medical", "diluted-bad-medical", "inoculated-bad-medical", "good-medical",
    }  # fmt: skip
    assert start_outputs(found, "qwen3-4b.good-medical.rslora-r32-after-bad-medical.s2") == [
        "adapters/qwen3-4b.bad-medical.rslora-r32.s2"
    ]


def test_its_dry_run(controls):
    output = dry_run(controls, ROOT / "config" / "conditional.yaml")
    jobs = dict(line.split()[:2] for line in output.splitlines() if len(line.split()) == 2)
    assert (jobs["finetune"], jobs["prepare_mixture"], jobs["prepare_dataset"]) == ("12", "1", "3")


def test_the_worked_example(tmp_path):
    for name, text in EXAMPLE.findall(PAGE):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    output = dry_run(tmp_path, "mine/interventions.yaml")
    after = "smollm2-135m.support-desk.demo-lora-after-storyteller.s0"
    assert after in output and after in PAGE
    rules = {line.split()[0] for line in output.splitlines() if line.strip()}
    assert {"prepare_mixture", "prepare_system", "summarize_system_effects"} <= rules
    assert "no row of the table system_effects" not in output
