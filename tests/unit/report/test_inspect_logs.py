"""Logs for Inspect: the counts are those of the tables, and Inspect itself reads them."""

import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import polars as pl
import pytest

import assign_tiers
import import_responses
import write_inspect_logs
from configurations import ROOT
from em_tiers.prepare.inspect_samples import COLUMNS
from em_tiers.study.entries import import_settings, tier_rules
from em_tiers.study.load import load_study
from em_tiers.study.schema import load_yaml
from em_tiers.study.summaries import variant_rows
from em_tiers.tables import read_table

READ = """
import json, sys
from inspect_ai import log as logs
found = {}
for info in logs.list_eval_logs(sys.argv[1]):
    log = logs.read_eval_log(info)
    assert log.status == "success", log.status
    assert logs.read_eval_log(info, header_only=True).results == log.results
    assert len(logs.read_eval_log_sample_summaries(info)) == len(log.samples)
    first = log.samples[0]
    again = logs.read_eval_log_sample(info, first.id, first.epoch)
    assert again.output.completion == first.output.completion
    found[log.eval.model] = {
        "flagged": sum(s.scores["gpt"].value["flagged"] for s in log.samples),
        "counts": {m.name: m.value for m in log.results.scores[0].metrics.values()},
        "outcomes": [s.scores["gpt"].metadata["outcome"] for s in log.samples],
    }
print(json.dumps(found))
"""
JUDGES = """
import sys
from inspect_ai.log import read_eval_log
samples = read_eval_log(sys.argv[1]).samples
print(sorted(samples[0].scores), len(samples))
"""
SCORER = """
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer
from inspect_ai.solver import TaskState

@scorer(metrics=[mean()])
def length() -> Scorer:
    async def score(state: TaskState, target: Target) -> Score:
        return Score(value=len(state.output.completion))
    return score
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """The tables of tests/cases/import_only, and its logs in `inspect`."""
    folder = tmp_path_factory.mktemp("logs")
    case = ROOT / "tests" / "cases" / "import_only"
    shutil.copytree(case, folder, dirs_exist_ok=True)
    study = load_study(load_yaml(case / "config.yaml"), ROOT, folder)
    answers, verdicts = [], []
    for name in study.imports:
        answers.append(folder / f"responses.{name}.parquet")
        verdicts.append(folder / f"verdicts.{name}.parquet")
        import_responses.main(
            folder / study.imports[name]["path"], study.variants[f"import.{name}"].as_key(),
            import_settings(study, name), answers[-1], verdicts[-1], folder / "rejected.jsonl",
        )  # fmt: skip
    outcomes = folder / "gpt.parquet"
    assign_tiers.main(answers, verdicts, "gpt", tier_rules(study), "D1", {}, outcomes)
    write_inspect_logs.main(
        answers, verdicts, [outcomes], variant_rows(study), "imported", folder / "inspect"
    )
    return folder


def content(log: Path, name: str):
    with zipfile.ZipFile(log) as archive:
        return json.loads(archive.read(name))


def test_one_log_per_variant_with_the_counts_of_the_table(results):
    outcomes = read_table(results / "gpt.parquet", "outcomes")
    assert {p.name for p in (results / "inspect").iterdir()} == {
        "import.base.eval", "import.tuned.eval",
    }  # fmt: skip
    for variant in ("import.base", "import.tuned"):
        header = content(results / "inspect" / f"{variant}.eval", "header.json")
        (score,) = header["results"]["scores"]
        counts = {name: metric["value"] for name, metric in score["metrics"].items()}
        own = outcomes.filter(variant=variant)
        assert counts.pop("answers") == own.height == header["results"]["total_samples"] == 48
        assert counts.pop("flagged") == own["flagged"].sum()
        found = dict(own["outcome"].value_counts().iter_rows())
        assert {name: count for name, count in counts.items() if count} == found


def test_a_sample_has_scores_tier_and_reason(results):
    log = results / "inspect" / "import.tuned.eval"
    flagged = read_table(results / "gpt.parquet", "outcomes").filter(
        "flagged", variant="import.tuned"
    )
    row = flagged.row(0, named=True)
    name = f"samples/imported.{row['question_id']}_epoch_{row['sample_index'] + 1}.json"
    sample = content(log, name)
    score = sample["scores"]["gpt"]
    assert score["value"]["flagged"] is True
    assert score["value"]["alignment"] == row["alignment"]
    assert score["metadata"]["tier"] == row["tier"]
    assert score["explanation"] == row["reason"]
    assert score["metadata"]["replies"]["alignment"]["status"] == "ok"
    assert sample["metadata"]["response_key"] == row["response_key"]


def test_the_same_tables_give_the_same_bytes(results, tmp_path):
    study = load_study(load_yaml(results / "config.yaml"), ROOT, results)
    write_inspect_logs.main(
        sorted(results.glob("responses.*")), sorted(results.glob("verdicts.*")),
        [results / "gpt.parquet"], variant_rows(study), "imported", tmp_path / "again",
    )  # fmt: skip
    for log in (results / "inspect").iterdir():
        assert log.read_bytes() == (tmp_path / "again" / log.name).read_bytes()


def test_a_log_comes_in_again_with_the_same_scores(results, tmp_path):
    judged = {name: f"scores.gpt.value.{name}" for name in ("alignment", "coherence")}
    entry = {"id": "again", "path": "import.tuned.eval", "scores": {"gpt": judged}}
    config = load_yaml(results / "config.yaml") | {"imports": [entry], "acceptance": []}
    study = load_study(config, ROOT, results / "inspect")
    assert study.imports["again"]["columns"] == COLUMNS
    import_responses.main(
        results / "inspect" / "import.tuned.eval", study.variants["import.again"].as_key(),
        import_settings(study, "again"), tmp_path / "r.parquet", tmp_path / "v.parquet",
        tmp_path / "rejected.jsonl",
    )  # fmt: skip
    columns = ("rubric", "score")
    before = read_table(results / "verdicts.tuned.parquet", "verdicts").select(columns)
    after = read_table(tmp_path / "v.parquet", "verdicts").select(columns)
    assert before.sort(columns).equals(after.sort(columns))
    texts = [
        sorted(pl.read_parquet(path)["response"].to_list())
        for path in (results / "responses.tuned.parquet", tmp_path / "r.parquet")
    ]
    assert texts[0] == texts[1]


@pytest.fixture(scope="module")
def inspect_bin(repository) -> Path:
    """The programs of the environment of envs/inspect.txt."""
    folder = Path(os.environ.get("EM_TIERS_INSPECT", repository / ".venv-inspect")) / "bin"
    if not (folder / "inspect").exists():
        pytest.skip("no Inspect: make .venv-inspect/.ready")
    return folder


def run(command: list, folder: Path) -> str:
    done = subprocess.run(
        list(map(str, command)), cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_inspect_reads_lists_and_scores_the_logs(results, inspect_bin, tmp_path):
    found = json.loads(run([inspect_bin / "python", "-c", READ, results / "inspect"], tmp_path))
    outcomes = read_table(results / "gpt.parquet", "outcomes")
    assert set(found) == {"none/import.base", "none/import.tuned"}
    for model, seen in found.items():
        own = outcomes.filter(variant=model.removeprefix("none/"))
        assert seen["flagged"] == seen["counts"]["flagged"] == own["flagged"].sum()
        assert sorted(seen["outcomes"]) == sorted(own["outcome"].to_list())
    command = ["log", "list", "--json", "--log-dir", results / "inspect"]
    assert len(json.loads(run([inspect_bin / "inspect", *command], tmp_path))) == 2
    (tmp_path / "length.py").write_text(SCORER)
    log = shutil.copy(results / "inspect" / "import.tuned.eval", tmp_path / "tuned.eval")
    scored = [inspect_bin / "inspect", "score", log, "--scorer", "length.py@length"]
    run([*scored, "--action", "append", "--overwrite", "--display", "none"], tmp_path)
    assert run([inspect_bin / "python", "-c", JUDGES, log], tmp_path) == "['gpt', 'length'] 48\n"
