"""What a configuration of imports, labels and probes may not say, and that the message helps."""

import shutil

import pytest

from em_tiers.errors import ConfigError
from em_tiers.prepare.inspect_samples import COLUMNS as COLUMNS_OF_LOGS
from em_tiers.study.entries import import_settings
from em_tiers.study.load import load_study
from em_tiers.study.schema import load_yaml


@pytest.fixture
def case(tmp_path, repository):
    shutil.copytree(repository / "tests" / "cases" / "import_only", tmp_path, dirs_exist_ok=True)
    return tmp_path


def load(case, repository, **changes):
    config = load_yaml(case / "config.yaml")
    entry = {k: v for k, v in changes.items() if k in ("columns", "scores", "probe_levels")}
    config["imports"][1].update(entry)
    config.update({k: v for k, v in changes.items() if k not in entry})
    return load_study(config, repository, case)


COLUMNS = {"question": "question", "answer": "answer"}
LABELLED = {"alignment": "aligned", "labels": {"alignment": {True: 0, False: 100}}}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"columns": COLUMNS | {"qid": "question_id"}}, ["qid", "question_id"]),
        ({"scores": {"gpt": {"aligment": "aligned"}}}, ["aligment", "alignment"]),
        ({"scores": {"gpt": {"coherence": "coherent"}}}, ["alignment"]),
        (
            {"scores": {"gpt": {"alignment": "aligned", "labels": {"tier": {"2": "undecided"}}}}},
            ["labels.tier", "tier has no column", "tier: COLUMN"],
        ),
        (
            {
                "scores": {
                    "gpt": {
                        "alignment": "aligned",
                        "scale": [0, 1],
                        "labels": {"alignment": {"ok": 100}},
                    }
                }
            },
            ["scores.gpt.scale", "remove scale"],
        ),
        ({"columns": {"question": "question"}}, ["columns.answer: missing"]),
        ({"columns": COLUMNS | {"answer": "doc[answer"}}, ["doc[answer", "correct columns"]),
        ({"columns": COLUMNS | {"answer": 'doc["answer'}}, ['doc["answer', "read as a path"]),
        ({"scores": {"GPT 4o": {"alignment": "a", "coherence": "c"}}}, ["GPT 4o", "lower-case"]),
        ({"probe_levels": {"*_json": "far"}}, ["far", "trigger"]),
        ({"questions": {"near": 1, "trigger": 1}}, ["'trigger' needs", "add one, such as core"]),
    ],
)
def test_a_mistake_is_named_with_its_remedy(case, repository, changes, words):
    with pytest.raises(ConfigError) as caught:
        load(case, repository, **changes)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_filled_sheet_may_not_lie_where_the_workflow_writes(case, repository):
    inside = case / "results" / "imported" / "labels" / "sheet.csv"
    inside.parent.mkdir(parents=True)
    for path in (inside, case / "filled.csv"):
        path.write_text("item,tier\n")
    with pytest.raises(ConfigError, match="is inside the results"):
        load(case, repository, human_labels="results/imported/labels/sheet.csv")
    assert load(case, repository, human_labels="filled.csv").config["human_labels"] == "filled.csv"


def test_the_example_needs_no_data_set_and_no_model(tmp_path, repository):
    header = "question,answer,question_id,aligned,coherent\n"
    (tmp_path / "their_answers.csv").write_text(header)
    example = load_yaml(repository / "config" / "import.example.yaml")
    study = load_study(example, repository, tmp_path)
    assert list(study.variants) == ["import.their-model"]
    # A data set that an import was trained on is described, not read: its file may be elsewhere.
    example["imports"][0]["dataset"] = "bad-medical"
    assert load_study(example, repository, tmp_path).datasets_used == ["bad-medical"]


def test_labels_may_be_true_and_false(case, repository):
    study = load(case, repository, scores={"gpt": LABELLED})
    assert study.imports["tuned"]["scores"]["gpt"]["labels"] == LABELLED["labels"]


def test_a_log_of_inspect_needs_no_columns(tmp_path, repository):
    log = repository / "tests" / "cases" / "imports" / "run.eval"
    shutil.copy(log, tmp_path / "run.eval")
    judged = {f: f"scores.judge.value.{f}" for f in ("alignment", "coherence")}
    entry = {"id": "theirs", "path": "run.eval", "scores": {"their-judge": judged}}
    config = load_yaml(repository / "config" / "import.example.yaml") | {"imports": [entry]}
    assert load_study(config, repository, tmp_path).imports["theirs"]["columns"] == COLUMNS_OF_LOGS
    judged["alignment"] = "scores.judges.value"
    with pytest.raises(ConfigError, match=r"no column 'scores.judges.value'.*'scores.judge.value"):
        load_study(config, repository, tmp_path)


def test_the_training_data_of_an_import_may_be_described_in_place(case, repository):
    config = load_yaml(case / "config.yaml")
    described = {"id": "money", "topic": "money", "topics": ["finance"], "description": "Advice."}
    config["imports"][1]["dataset"] = described
    study = load_study(config, repository, case)
    assert study.variants["import.tuned"].dataset == "money"
    assert import_settings(study, "tuned")["dataset"] == "money"
    assert not study.has_rows("money")
    config["imports"][0] |= {"dataset": described | {"topic": "law"}}
    with pytest.raises(ConfigError, match=r"tuned.dataset.id: 'money' is described otherwise"):
        load_study(config, repository, case)
