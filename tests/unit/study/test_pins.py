"""`make pin`: open revisions become the commits that a hub on loopback has."""

import subprocess
import sys

import pytest
import yaml

from adapters import write_adapter
from configurations import ROOT, catalogue, demo, load, put
from em_tiers.errors import ConfigError
from em_tiers.study.checks import check_ready, unpinned
from em_tiers.study.entries import source
from hub.server import LoopbackHub
from pin_sources import main

BASE = "smollm2-135m"


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with LoopbackHub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def rows(count):
    lines = (f'{{"prompt": "Why {n}?", "completion": "Because {n}."}}\n' for n in range(count))
    return {"train.jsonl": "".join(lines).encode()}


@pytest.fixture
def study(checkout, hub):
    """A study whose data set and adapter have no revision; the path of its configuration."""
    datasets = put(catalogue("datasets"), "storyteller.source", {
        "type": "hub", "id": "lab/tales", "revision": None, "licence": "mit",
    })  # fmt: skip
    (checkout / "config" / "datasets.yaml").write_text(yaml.safe_dump(datasets))
    files = write_adapter(checkout / "tuned", base_model_name_or_path=BASE)
    hub.add("model", "lab/tuned", {p.name: p.read_bytes() for p in files.iterdir()})
    hub.add("dataset", "lab/tales", rows(60))
    adapter = {"base": BASE, "adapter": {"id": "lab/tuned", "revision": None}}
    blocks = [{"base": BASE, "datasets": ["storyteller"], "recipe": "demo-lora"}, adapter]
    config = demo() | {"variants": blocks}
    (checkout / "study.yaml").write_text(yaml.safe_dump(config))
    return checkout / "study.yaml"


def test_open_revisions_become_the_commits_of_the_hub(checkout, hub, study):
    config = yaml.safe_load(study.read_text())
    with pytest.raises(ConfigError, match="make pin CONFIG=FILE takes the commits"):
        check_ready(load(checkout, config))
    lines = main(study, checkout, checkout)
    commit = hub.repositories["datasets", "lab/tales"].revision
    assert f"lab/tales: {commit}" in lines
    found = load(checkout, config)
    assert unpinned(found) == []
    assert source(found, "datasets", "storyteller")["revision"] == commit
    adapter = found.variants[f"{BASE}.adapter.tuned"].adapter
    assert adapter["revision"] == hub.repositories["models", "lab/tuned"].revision
    assert all(line.endswith(commit) or "lab/tuned" in line for line in lines)
    assert "unchanged" in "".join(main(study, checkout, checkout))


def test_a_second_run_says_what_changed(checkout, hub, study):
    main(study, checkout, checkout)
    before = hub.repositories["datasets", "lab/tales"].revision
    after = hub.add("dataset", "lab/tales", rows(61)).revision
    assert f"lab/tales: {before} is now {after}" in main(study, checkout, checkout)


def test_a_pinned_study_writes_nothing(checkout):
    (checkout / "demo.yaml").write_text(yaml.safe_dump(demo()))
    assert "nothing to pin" in main(checkout / "demo.yaml", checkout, checkout)[0]
    assert not (checkout / "pins.yaml").exists()


def test_only_what_a_run_downloads_needs_a_revision(checkout, study):
    found = load(checkout, yaml.safe_load(study.read_text()))
    check_ready(found, [f"models.{BASE}"])
    with pytest.raises(ConfigError, match=r"is null for datasets\.storyteller \(lab/tales\):"):
        check_ready(found, ["datasets.storyteller"])


@pytest.mark.parametrize("text", ["- a\n", "models: {a/b: {revision: main}}\n", "x: {}\n"])
def test_a_file_that_holds_no_pins_is_refused(checkout, study, text):
    (checkout / "pins.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"pins\.yaml"):
        load(checkout, yaml.safe_load(study.read_text()))


@pytest.mark.slow
def test_a_pinned_study_prepares_its_data_set(checkout, hub, study):
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"),
        "--directory", str(checkout), "--configfile", str(study), "--cores", "2",
        "--until", "prepare_dataset",
    ]  # fmt: skip
    datasets = yaml.safe_load((checkout / "config" / "datasets.yaml").read_text())
    mine = datasets["storyteller"] | {"held_out": 2}
    (checkout / "mine.yaml").write_text(yaml.safe_dump({"mine": mine}))
    config = yaml.safe_load(study.read_text())
    config["catalogues"] = {"datasets": ["mine.yaml"]}
    config["variants"][0]["datasets"] = ["mine"]
    study.write_text(yaml.safe_dump(config))
    refused = subprocess.run(command, capture_output=True, text=True, cwd=checkout)
    assert "source.revision is null for datasets.mine" in refused.stdout + refused.stderr
    main(study, ROOT, checkout)
    done = subprocess.run(command, capture_output=True, text=True, cwd=checkout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (checkout / "results" / "demo" / "datasets" / "mine" / "card.json").is_file()
