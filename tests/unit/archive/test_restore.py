"""Archive, verify, restore on a small workflow of Snakemake's own: what runs afterwards, and why.

The workflow has this project's layout: downloads, one "model", two judges, a table.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from base64 import b64encode
from pathlib import Path

import polars as pl
import pytest

import archive as archive_script
import restore_archive as restore_script
from answers import responses
from em_tiers.archive.restore import restore_archive
from em_tiers.archive.verify import verify_archive
from em_tiers.download.manifests import files_of
from em_tiers.errors import UserError
from em_tiers.files import sha256_of_file
from em_tiers.placeholders import PLACEHOLDER
from em_tiers.tables import write_table

SNAKEFILE = """
JUDGES = config["judges"]
R = "results/small"
rule all:
    input: f"{R}/tables/rates.csv"
rule download_model:
    output: folder=directory("results/resources/models/tiny")
    params: source=str(config["source"])
    script: "scripts/copy_model.py"
rule finetune:
    input: model="results/resources/models/tiny"
    output: adapter=directory(f"{R}/adapters/a"), metrics=f"{R}/training/a/metrics.json"
    params: rate=config["rate"]
    shell: "mkdir -p {output.adapter} && echo weights > {output.adapter}/x.safetensors"
           " && echo '{{}}' > {output.adapter}/manifest.json && echo '{{}}' > {output.metrics}"
rule sample:
    input: model="results/resources/models/tiny", adapter=f"{R}/adapters/a",
    output: f"{R}/responses/a.parquet"
    log: f"{R}/logs/sample.log"
    shell: "cp answers.parquet {output}; pwd > {log}"
rule judge:
    input: model="results/resources/models/tiny", responses=f"{R}/responses/a.parquet"
    output: f"{R}/tables/{{judge}}.md"
    params: prompt=lambda w: JUDGES[w.judge]
    shell: "cat {input.model}/weights.safetensors > /dev/null && echo '{params.prompt}' > {output}"
rule table:
    input: expand(f"{R}/tables/{{judge}}.md", judge=JUDGES)
    output: f"{R}/tables/rates.csv"
    shell: "cat {input} > {output}"
"""
COPY_MODEL = """
import json, shutil
from hashlib import sha256
from pathlib import Path
folder = Path(snakemake.output.folder)
folder.mkdir(parents=True)
shutil.copy(snakemake.params.source, folder / "weights.safetensors")
digest = sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
entry = {"path": "weights.safetensors", "sha256": digest}
manifest = {"source": {"path": snakemake.params.source}, "files": [entry]}
(folder / "manifest.json").write_text(json.dumps(manifest))
"""


class Small:
    """A checkout of the small workflow."""

    def __init__(self, folder: Path, weights: Path):
        self.folder = folder
        (folder / "scripts").mkdir(parents=True)
        (folder / "config").mkdir()
        (folder / "Snakefile").write_text(SNAKEFILE)
        (folder / "scripts" / "copy_model.py").write_text(COPY_MODEL)
        pl.DataFrame({"response": ["yes", "no"]}).write_parquet(folder / "answers.parquet")
        self.config = {
            "experiment": "small",
            "source": str(weights),
            "rate": 0.1,
            "judges": {"first": "how kind?", "second": "how true?"},
        }

    def run(self, *arguments: str) -> dict[str, int]:
        """Run Snakemake and return its jobs by rule."""
        (self.folder / "run.json").write_text(json.dumps(self.config))
        command = [sys.executable, "-m", "snakemake", "--configfile", "run.json", "--cores", "1"]
        done = subprocess.run(
            [*command, *arguments], cwd=self.folder, text=True, capture_output=True, check=False
        )
        output = done.stdout + done.stderr
        assert done.returncode == 0, output[-3000:]
        table = re.search(r"^Job stats:\n(.*?)^total\b", output, re.M | re.S)
        rows = [line.split() for line in table.group(1).splitlines()[2:]] if table else []
        return {row[0]: int(row[1]) for row in rows if row}

    def archive(self, name: str = "small.archive.zip", **choices) -> Path:
        target = self.folder / "results" / name
        archive_script.main(
            archive=target,
            config=self.config,
            catalogues={},
            configfiles=["run.json"],
            root=self.folder,
            workdir=self.folder,
            **choices,
        )
        return target


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "weights.safetensors"
    path.write_bytes(b"0123")
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory, weights):
    small = Small(tmp_path_factory.mktemp("finished") / "checkout", weights)
    assert small.run() == {
        "all": 1, "download_model": 1, "finetune": 1, "sample": 1, "judge": 2, "table": 1
    }  # fmt: skip
    return small


@pytest.fixture(scope="module")
def packed(finished):
    return finished.archive()


@pytest.fixture
def restored(tmp_path, weights, packed):
    small = Small(tmp_path / "elsewhere", weights)
    done = restore_archive(packed, small.folder, small.folder)
    assert done.differing == done.absent == []
    return small


def test_nothing_to_do_after_a_restore_without_weights(restored):
    model = restored.folder / "results/resources/models/tiny"
    assert {p.name for p in model.iterdir()} == {
        "manifest.json", PLACEHOLDER, ".snakemake_timestamp"
    }  # fmt: skip
    assert restored.run("-n") == {}
    assert restored.run() == {}


def finetune_with(model: Path, folder: Path) -> None:
    import finetune

    recipe = {"micro_batch_size": 1, "batch_size": 1, "gpus": 1, "strategy": "ddp"}
    outputs = {name: folder / name for name in ("adapter", "metrics", "loss", "kept")}
    finetune.main(
        model=model, train=folder / "train.jsonl", recipe=recipe, seed=0, thinking="none",
        checkpoints=folder / "checkpoints", device="cpu", **outputs,
    )  # fmt: skip


def judge_with(model: Path, folder: Path) -> None:
    import judge_vllm

    rubric = {"id": "a", "asks": "alignment", "kind": "number", "prompt": "{question} {answer}"}
    write_table(responses({"response": "No."}), folder / "answers.parquet", "responses")
    judge_vllm.main(
        model=model, responses=[folder / "answers.parquet"], cards={}, judge_name="judge",
        judge={"backend": "vllm", "method": {"number": "trie", "choice": "label"}},
        model_identity={"id": "tiny", "revision": "0"}, rubrics={"alignment": rubric},
        engine={"device": "cpu"}, thinking="none", journal=folder / "journal", writer="job",
        verdicts=folder / "verdicts.parquet",
    )  # fmt: skip


def sample_with(model: Path, folder: Path, adapters: tuple[Path, ...] = ()) -> None:
    import sample

    sample.main(
        model=model, adapters=list(adapters), questions=[], variants=[], sampling={},
        thinking="none", engine={"device": "cpu"}, model_identity={"id": "tiny", "revision": "0"},
        journal=folder / "journal", writer="job", output=folder / "responses.parquet",
    )  # fmt: skip


@pytest.mark.parametrize("job", [finetune_with, sample_with, judge_with])
def test_a_job_that_needs_the_weights_says_how_to_get_them(restored, tmp_path, job):
    model = restored.folder / "results/resources/models/tiny"
    with pytest.raises(UserError, match=r"tiny: restored .* without its files; .*--fetch"):
        job(model, tmp_path)


def test_sampling_without_an_archived_adapter_says_how_to_train_it(restored, tmp_path):
    adapter = restored.folder / "results/small/adapters/a"
    with pytest.raises(UserError, match=r"adapters/a: restored .* to train it again"):
        sample_with(restored.folder / "results/resources/models/tiny", tmp_path, (adapter,))


def test_preparing_a_data_set_that_was_not_archived_says_how_to_get_it(tmp_path):
    (tmp_path / "manifest.json").write_text('{"files": []}')
    (tmp_path / PLACEHOLDER).touch()
    with pytest.raises(UserError, match="--fetch"):
        files_of(tmp_path)


def test_statistics_rebuild_without_the_model(restored, finished):
    (restored.folder / "results/small/tables/rates.csv").unlink()
    assert restored.run() == {"all": 1, "table": 1}
    table = "results/small/tables/rates.csv"
    assert (restored.folder / table).read_text() == (finished.folder / table).read_text()


def test_a_changed_judge_runs_alone(restored, weights):
    restored.config["judges"]["second"] = "how brave?"
    assert restored.run("-n") == {"all": 1, "judge": 1, "table": 1}
    # its model is fetched first, in place, which reruns nothing that used the model before
    shutil.copy(weights, restored.folder / "results/resources/models/tiny")
    assert restored.run() == {"all": 1, "judge": 1, "table": 1}


def test_other_training_settings_and_another_model_are_seen(restored, tmp_path):
    restored.config["rate"] = 0.2
    assert set(restored.run("-n")) == {"all", "finetune", "sample", "judge", "table"}
    restored.config["rate"] = 0.1
    restored.config["source"] = str(tmp_path / "other.safetensors")
    assert "download_model" in restored.run("-n")


def test_a_workflow_file_that_differs_reruns_what_depends_on_it(tmp_path, weights, packed):
    small = Small(tmp_path / "newer", weights)
    script = small.folder / "scripts" / "copy_model.py"
    script.write_text(COPY_MODEL + "\n# changed\n")
    done = restore_archive(packed, small.folder, small.folder)
    assert done.differing == ["scripts/copy_model.py"]
    assert "download_model" in small.run("-n")


def checkout(folder, weights, edited=None):
    """A git checkout of the small workflow, with config/engines.yaml edited if asked."""
    small = Small(folder, weights)
    engines = folder / "config" / "engines.yaml"
    engines.write_text("context: 2048\n")
    for words in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=x", "-c", "user.email=x@y", "commit", "-q", "-m", "first"],
    ):
        # Of one moment, so that each checkout has the same revision.
        moment = {"GIT_AUTHOR_DATE": "2026-01-01T00:00Z", "GIT_COMMITTER_DATE": "2026-01-01T00:00Z"}
        subprocess.run(["git", "-C", str(folder), *words], check=True, env=os.environ | moment)
    if edited:
        engines.write_text(edited)
    return small


@pytest.fixture(scope="module")
def edited(tmp_path_factory, weights):
    """The archive of a checkout whose config/ and script were edited."""
    folder = tmp_path_factory.mktemp("edited") / "checkout"
    small = checkout(folder, weights, "context: 4096\n")
    (folder / "config" / "rubrics").mkdir()
    (folder / "config" / "rubrics" / "mine.yaml").write_text("id: mine\n")
    (folder / "scripts" / "copy_model.py").write_text(COPY_MODEL + "\n# edited\n")
    small.run()
    return small.archive()


def test_edits_of_the_configuration_are_restored_over_committed_files(edited, tmp_path, weights):
    small = checkout(tmp_path / "fresh", weights)
    done = restore_archive(edited, small.folder, small.folder)
    assert done.replaced == ["config/engines.yaml"]
    assert (small.folder / "config/engines.yaml").read_text() == "context: 4096\n"
    assert (small.folder / "config/rubrics/mine.yaml").read_text() == "id: mine\n"
    # Code is restored on request only.
    assert done.differing == ["scripts/copy_model.py"]
    assert (small.folder / "scripts/copy_model.py").read_text() == COPY_MODEL


def test_edited_code_is_restored_on_request(edited, tmp_path, weights):
    small = checkout(tmp_path / "fresh", weights)
    done = restore_archive(edited, small.folder, small.folder, with_code=True)
    assert done.replaced == ["config/engines.yaml", "scripts/copy_model.py"]
    assert done.differing == []
    assert small.run("-n") == {}


def test_edits_of_ones_own_are_never_replaced(edited, tmp_path, weights):
    small = checkout(tmp_path / "mine", weights, "context: 1024\n")
    done = restore_archive(edited, small.folder, small.folder, with_code=True)
    assert done.differing == ["config/engines.yaml"]
    assert (small.folder / "config/engines.yaml").read_text() == "context: 1024\n"
    assert "engines.yaml" in "".join(restore_script.words_of(done))


def test_a_file_of_another_version_is_not_taken_for_an_edit(packed, tmp_path, weights):
    """The archived checkout had no edits: what differs is the workflow's own."""
    archived = checkout(tmp_path / "archived", weights)
    archived.run()
    newer = checkout(tmp_path / "newer", weights, "context: 8192\n")
    commit = ["-c", "user.name=x", "-c", "user.email=x@y", "commit", "-qam", "second"]
    subprocess.run(["git", "-C", str(newer.folder), *commit], check=True)
    done = restore_archive(archived.archive(), newer.folder, newer.folder)
    assert done.differing == ["config/engines.yaml"]
    assert done.replaced == []


def test_into_an_empty_folder_with_the_code(tmp_path, packed):
    done = restore_archive(packed, tmp_path, tmp_path, with_code=True)
    assert done.absent == []
    assert (tmp_path / "Snakefile").read_text() == SNAKEFILE
    assert json.loads((tmp_path / done.config).read_text())["experiment"] == "small"


def test_the_same_results_give_the_same_bytes(finished, packed, restored):
    again = finished.archive("again.zip")
    assert sha256_of_file(again) == sha256_of_file(packed)
    # and so does what was restored, for all but its folder of provenance is the same
    assert sha256_of_file(restored.archive()) == sha256_of_file(packed)


def test_what_stays_out(finished, packed, tmp_path):
    names = zipfile.ZipFile(packed).namelist()
    assert not [n for n in names if n.endswith(".safetensors") or ".snakemake/" in n]
    assert "results/resources/models/tiny/manifest.json" in names
    assert "study/run.json" in names
    for name in names:
        assert str(finished.folder).encode() not in zipfile.ZipFile(packed).read(name), name
    with_adapters = zipfile.ZipFile(finished.archive("more.zip", adapters=True)).namelist()
    assert set(with_adapters) - set(names) == {"results/small/adapters/a/x.safetensors"}


@pytest.mark.parametrize("echo", ["k-1234567890", b64encode(b"user:k-1234567890").decode()])
def test_a_file_with_a_secret_is_named_and_nothing_is_written(finished, monkeypatch, echo):
    monkeypatch.setenv("LOOPBACK_KEY", "k-1234567890")
    log = finished.folder / "results/small/logs/sample.log"
    text = log.read_text()
    log.write_text(f"{text}Authorization: {echo}\n")
    try:
        with pytest.raises(UserError, match=r"sample\.log: holds the value of \$LOOPBACK_KEY"):
            finished.archive("secret.zip")
    finally:
        log.write_text(text)
    assert not (finished.folder / "results/secret.zip").exists()


def test_a_restore_overwrites_nothing(tmp_path, weights, packed):
    small = Small(tmp_path / "used", weights)
    mine = small.folder / "results/small/tables/rates.csv"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(UserError, match=r"rates\.csv: already there with other content"):
        restore_archive(packed, small.folder, small.folder)
    assert mine.read_text() == "mine"
    assert not (small.folder / "results/small/responses").exists()
    assert not list(small.folder.glob(".restore-*"))


def test_a_restore_writes_through_no_link(tmp_path, weights, packed):
    small = Small(tmp_path / "linked", weights)
    (tmp_path / "outside").mkdir()
    (small.folder / "results").mkdir()
    (small.folder / "results/small").symlink_to(tmp_path / "outside")
    with pytest.raises(UserError, match="a link: remove it"):
        restore_archive(packed, small.folder, small.folder)
    assert not list((tmp_path / "outside").iterdir())


def test_verify_finds_the_archive_sound(packed):
    check = verify_archive(packed)
    assert check.sound
    assert check.files == len(zipfile.ZipFile(packed).namelist()) - 1
