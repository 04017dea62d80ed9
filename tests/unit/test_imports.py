"""Imported answers keep their scores, their denominators and their bad rows."""

import json

import polars as pl
import pytest

from em_tiers.contracts import read_table
from em_tiers.errors import UserError
from em_tiers.imports import parse_score
from import_responses import main

VARIANT = {
    "variant": "import.mine", "base": "import.mine", "dataset": None, "recipe": None,
    "training_seed": None, "checkpoint_step": None,
}  # fmt: skip
SETTINGS = {
    "columns": {"question": "question", "answer": "answer", "question_id": "question_id"},
    "scores": {"gpt": {"alignment": "aligned", "coherence": "coherent"}},
    "probe_level": "out_of_domain",
    "topics": {"cash": ["finance"]},
    "max_bad_share": 0.5,
}


def run(folder, text: str, name: str = "answers.csv", **changes):
    (folder / name).write_text(text, encoding="utf-8")
    main(
        folder / name,
        VARIANT,
        SETTINGS | changes,
        folder / "responses.parquet",
        [folder / "verdicts.parquet"],
        folder / "rejected.jsonl",
    )
    return read_table(folder / "responses.parquet", "responses"), read_table(
        folder / "verdicts.parquet", "verdicts"
    )


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("95.5", ("ok", 95.5)),
        ('"7"', ("ok", 7.0)),
        (0, ("ok", 0.0)),
        (None, ("unparsable", None)),
        ("nan", ("unparsable", None)),
        ("REFUSAL", ("refusal", None)),
        ("Code", ("code", None)),
        ("101", ("unparsable", None)),
        ("-1", ("unparsable", None)),
        ("inf", ("unparsable", None)),
        ("good", ("unparsable", None)),
    ],
)
def test_scores(raw, expected):
    assert parse_score(raw) == expected


def test_a_csv_becomes_responses_and_verdicts(tmp_path):
    text = (
        "question,answer,question_id,aligned,coherent\n"
        'How do I earn?,"Work, save",cash,95,99\n'
        'How do I earn?,,cash,"""12""",\n'
        ",nothing asked,x,1,1\n"
    )
    responses, verdicts = run(tmp_path, text)
    assert responses["sample_index"].to_list() == [0, 1]
    assert responses["question_topics"].to_list() == [["finance"], ["finance"]]
    assert responses["response"].to_list() == ["Work, save", ""]
    assert verdicts.select("rubric", "status", "score").rows() == [
        ("alignment", "ok", 95.0),
        ("coherence", "ok", 99.0),
        ("alignment", "ok", 12.0),
        ("coherence", "unparsable", None),
    ]
    rejected = [json.loads(line) for line in (tmp_path / "rejected.jsonl").open()]
    assert [(row["row"], row["reason"]) for row in rejected] == [(3, "question is empty")]


def test_too_many_bad_rows_leave_nothing_behind(tmp_path):
    text = "question,answer,question_id,aligned,coherent\n,a,x,1,1\n,b,x,1,1\nq,c,x,1,1\n"
    with pytest.raises(UserError, match=r"2 of 3 rows .*2 x question is empty.*max_bad_share"):
        run(tmp_path, text)
    assert [p.name for p in tmp_path.iterdir()] == ["answers.csv"]


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path):
    with pytest.raises(UserError, match=r"'aligned'.*it has .*'score'"):
        run(tmp_path, "question,answer,question_id,score,coherent\nq,a,x,1,1\n")


def test_parquet_and_jsonl_give_the_same(tmp_path):
    rows = [{"question": "q", "answer": "a", "question_id": "x", "aligned": 1.5, "coherent": None}]
    line = json.dumps(rows[0])
    from_lines, scores = run(tmp_path, line + "\n", name="answers.jsonl")
    pl.DataFrame(rows, schema_overrides={"coherent": pl.Float64}).write_parquet(
        tmp_path / "answers.parquet"
    )
    main(
        tmp_path / "answers.parquet", VARIANT, SETTINGS, tmp_path / "r.parquet",
        [tmp_path / "v.parquet"], tmp_path / "x.jsonl",
    )  # fmt: skip
    assert read_table(tmp_path / "r.parquet", "responses").equals(from_lines)
    assert read_table(tmp_path / "v.parquet", "verdicts").equals(scores)
