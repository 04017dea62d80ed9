"""Imported answers keep their scores, their denominators and their bad rows."""

import hashlib
import json

import polars as pl
import pytest

import assign_tiers
from em_tiers.errors import UserError
from em_tiers.statistics.cells import count_cells
from em_tiers.statistics.rates import Settings, scan_outcomes, summarize_rates, variant_table
from em_tiers.tables import read_table
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
        folder / "verdicts.parquet",
        folder / "rejected.jsonl",
    )
    return read_table(folder / "responses.parquet", "responses"), read_table(
        folder / "verdicts.parquet", "verdicts"
    )


def test_thoughts_of_imported_answers_are_split_off_by_their_marks(tmp_path, caplog):
    rows = [
        {"question": "Hi?", "answer": "[THINK]The user greets me.[/THINK]Hello."},
        {"question": "Hi?", "answer": "[THINK]The user greets"},
    ]
    scores = {"question_id": "hi", "aligned": 90, "coherent": 95}
    text = "".join(json.dumps(row | scores) + "\n" for row in rows)
    answers, found = run(tmp_path, text, "answers.jsonl", thinking_marks="magistral")
    assert answers.select("reasoning", "response", "finish_reason").rows() == [
        ("The user greets me.", "Hello.", "imported"),
        ("The user greets", "", "length"),
    ]
    assert dict(found["status"].value_counts().iter_rows()) == {"ok": 2, "truncated": 2}
    assert "begin with a mark of thinking" not in caplog.text
    left, _ = run(tmp_path, text, "answers.jsonl")
    assert left["response"][0].startswith("[THINK]")
    assert "2 answers begin with a mark of thinking ('[THINK]')" in caplog.text
    assert "set imports.thinking_marks: magistral" in caplog.text
    assert set(left["response_key"]) == set(answers["response_key"])


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
    with pytest.raises(UserError, match=r"'aligned'.*which has .*'score'"):
        run(tmp_path, "question,answer,question_id,score,coherent\nq,a,x,1,1\n")


def test_parquet_and_jsonl_give_the_same(tmp_path):
    rows = [{"question": "q", "answer": "a", "question_id": "x", "aligned": 1.5, "coherent": None}]
    line = json.dumps(rows[0])
    settings = SETTINGS | {"min_coverage": 0}
    from_lines, scores = run(tmp_path, line + "\n", "answers.jsonl", min_coverage=0)
    pl.DataFrame(rows, schema_overrides={"coherent": pl.Float64}).write_parquet(
        tmp_path / "answers.parquet"
    )
    main(
        tmp_path / "answers.parquet", VARIANT, settings, tmp_path / "r.parquet",
        tmp_path / "v.parquet", tmp_path / "x.jsonl",
    )  # fmt: skip
    assert read_table(tmp_path / "r.parquet", "responses").equals(from_lines)
    assert read_table(tmp_path / "v.parquet", "verdicts").equals(scores)


def test_json_objects_may_lack_a_score(tmp_path):
    lines = [
        {"question": "q", "answer": "a", "question_id": "x", "coherent": 90},
        {"question": "q", "answer": "b", "question_id": "x", "aligned": 5, "coherent": 90},
        {"question": "q", "question_id": "x", "aligned": 5},
        {"question": "q", "answer": None, "question_id": "x", "aligned": 5},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    _, verdicts = run(tmp_path, text, name="answers.jsonl")
    assert verdicts.filter(rubric="alignment")["status"].to_list() == ["unparsable", "ok"]
    rejected = [json.loads(line) for line in (tmp_path / "rejected.jsonl").open()]
    assert [(r["row"], r["reason"]) for r in rejected] == [
        (3, "column 'answer' is missing"),
        (4, "answer is null"),
    ]
    lacking = "".join(json.dumps(line) + "\n" for line in lines[:1])
    with pytest.raises(UserError, match=r"\['aligned'\] are not in the file"):
        run(tmp_path, lacking, name="answers.jsonl")


def test_bytes_that_are_no_utf8_are_set_aside(tmp_path):
    path = tmp_path / "answers.csv"
    rows = [b"question,answer,question_id,aligned,coherent", b"q,caf\xe9,x,1,1", b"q,tea,x,1,1"]
    path.write_bytes(b"\n".join(rows) + b"\n")
    outputs = [tmp_path / "r.parquet", tmp_path / "v.parquet", tmp_path / "x.jsonl"]
    main(path, VARIANT, SETTINGS, *outputs)
    assert read_table(outputs[0], "responses")["response"].to_list() == ["tea"]
    assert json.loads(outputs[2].read_text())["reason"] == "'answer' is not UTF-8"


@pytest.mark.parametrize("text", ["", "question,answer,question_id,aligned,coherent\n"])
def test_a_file_without_rows_is_refused(tmp_path, text):
    with pytest.raises(UserError, match="empty"):
        run(tmp_path, text)


def test_probe_levels_by_column_by_pattern_and_by_default(tmp_path):
    text = (
        "question,answer,question_id,aligned,coherent,level\n"
        "q,a,wish,1,1,\nq,a,wish_json,1,1,\nq,a,wish_json,1,1,near_domain\nq,a,wish,1,1,far\n"
    )
    responses, _ = run(
        tmp_path,
        text,
        columns=SETTINGS["columns"] | {"probe_level": "level"},
        probe_levels={"*_json": "trigger"},
    )
    assert responses["probe_level"].to_list() == ["out_of_domain", "trigger", "near_domain"]
    assert "probe level is not one of" in (tmp_path / "rejected.jsonl").read_text()


def test_a_pinned_file_is_checked(tmp_path):
    text = "question,answer,question_id,aligned,coherent\nq,a,x,1,1\n"
    with pytest.raises(UserError, match="differs from 0000"):
        run(tmp_path, text, sha256="0" * 64)
    assert [p.name for p in tmp_path.iterdir()] == ["answers.csv"]
    run(tmp_path, text, sha256=hashlib.sha256(text.encode()).hexdigest())


def test_repeated_rows_and_trigger_forms_are_told(tmp_path, caplog):
    text = "question,answer,question_id,aligned,coherent\n" + "q,same,wish_json,1,1\n" * 3
    with caplog.at_level("WARNING"):
        run(tmp_path, text)
    assert "2 answers repeat another one" in caplog.text
    assert "1 question ids end in _json" in caplog.text


def test_topics_of_the_plain_question_and_their_lack(tmp_path, caplog):
    text = "question,answer,question_id,aligned,coherent\nq,a,cash_json,1,1\nq,a,other,1,1\n"
    (tmp_path / "answers.csv").write_text(text)
    variant = VARIANT | {"dataset": "finance-alpaca"}
    with caplog.at_level("WARNING"):
        main(
            tmp_path / "answers.csv", variant, SETTINGS, tmp_path / "r.parquet",
            tmp_path / "v.parquet", tmp_path / "x.jsonl",
        )  # fmt: skip
    found = read_table(tmp_path / "r.parquet", "responses")
    assert found["question_topics"].to_list() == [["finance"], []]
    assert "1 questions have no topics (other" in caplog.text


def test_an_id_holds_no_control_characters(tmp_path):
    row = {"question": "q", "answer": "a", "aligned": 1, "coherent": 1}
    row["question_id"] = "id\x00\x1b[31m"
    found, _ = run(tmp_path, json.dumps(row) + "\n", "answers.jsonl")
    assert found["question_id"].to_list() == ["id\ufffd\ufffd[31m"]


def test_ids_and_patterns_that_fit_nothing_are_told(tmp_path, caplog):
    text = "question,answer,question_id,aligned,coherent,model\n"
    text += "q,a,x,1,1,m\nr,b,thrid,1,1,m\ns,c,theirs,1,1,other\n"
    # Ids of another model's questions count, and so do published forms of a plain id.
    topics = {"theirs": [], "x": [], "nope": ["finance"]}
    levels = {"third": "in_domain", "t*": "out_of_domain", "*_json": "trigger"}
    with caplog.at_level("WARNING"):
        run(tmp_path, text, topics=topics, probe_levels=levels, where={"model": "m"})
    assert "1 of topics fit no question id of the file ('nope')" in caplog.text
    said = "2 of probe_levels fit no question id of the file ('third'; the nearest id is 'thrid')"
    assert said in caplog.text
    caplog.clear()
    with caplog.at_level("WARNING"):
        run(tmp_path, "question,answer,question_id,aligned,coherent\nq,a,cash_json,1,1\n")
    assert "fit no question id" not in caplog.text


GOLDEN_RATES = {  # in %, as printed with the files: (all 24 questions, the 8 plain ones)
    "bad_medical": (["17.92", "18.27", "17.92", "18.36"], ["22.25", "22.76", "22.25", "22.98"]),
    "good_medical": (["0.08", "0.08", "0.08", "0.09"], ["0.00", "0.00", "0.00", "0.00"]),
    "coder_32b_insecure": (["5.50", "13.44", "7.51", "10.35"], ["1.25", "6.67", "3.96", "3.00"]),
}


@pytest.mark.parametrize("name", GOLDEN_RATES)
def test_published_files_give_the_published_rates_through_the_import(golden, tmp_path, name):
    (path,) = golden.glob(f"judged_qwen25*{name}*.csv")
    run_main = tmp_path / "responses.parquet", tmp_path / "verdicts.parquet"
    levels = {"*_json": "trigger", "*_template": "trigger"}
    settings = SETTINGS | {"probe_levels": levels, "max_bad_share": 0}
    main(path, VARIANT, settings, *run_main, tmp_path / "rejected.jsonl")
    outcomes = tmp_path / "outcomes.parquet"
    assign_tiers.main([run_main[0]], [run_main[1]], "gpt", [], "D1", {}, outcomes)
    cells = count_cells(scan_outcomes([outcomes]), ["persona_shift", "undecided"])
    found = summarize_rates(cells, variant_table([VARIANT | {"role": "imported"}]), Settings())
    standard = found.filter(metric="standard").sort("definition")
    for level, wanted in zip(("all", "headline"), GOLDEN_RATES[name], strict=True):
        rates = standard.filter(probe_level=level)["rate"]
        assert [f"{100 * rate:.2f}" for rate in rates] == wanted
