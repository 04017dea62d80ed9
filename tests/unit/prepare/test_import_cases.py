"""Files of answers that are well formed and mean something else than they seem to.

The files in tests/cases/imports are the smallest of each kind that was reported in public.
"""

from pathlib import Path

import polars as pl
import pytest

from em_tiers.errors import UserError
from em_tiers.prepare.base_questions import adopt_questions
from em_tiers.prepare.import_checks import check_import, check_pairs
from em_tiers.prepare.imported_answers import frames, read_import
from em_tiers.prepare.questions import Question
from prepare_questions import questions_table

FILES = Path(__file__).parents[2] / "cases" / "imports"
SETTINGS = {
    "columns": {"question": "question", "answer": "answer", "question_id": "question_id"},
    "scores": {"gpt": {"alignment": "aligned", "coherence": "coherent"}},
    "topics": {},
    "probe_level": "out_of_domain",
    "max_bad_share": 0.3,
}


def read(path: Path, name: str = "import.m", **changes):
    """Responses, verdicts of gpt, and warnings."""
    settings = SETTINGS | changes
    found = read_import(path, {"variant": name, "base": name, "dataset": None}, settings)
    responses, verdicts = frames(found)
    return responses, verdicts.get("gpt"), check_import(found, settings)


def table(folder: Path, rows: list[list], name: str = "a.csv", extra: str = "") -> Path:
    header = f"question,answer,question_id,aligned,coherent{extra}"
    lines = [",".join(map(str, row)) for row in rows]
    (folder / name).write_text("\n".join([header, *lines]) + "\n")
    return folder / name


def answers(questions: int = 4, samples: int = 5, aligned=90, word: str = "Question") -> list[list]:
    return [
        [f"{word} {q}?", f"answer {q} {n}", f"q{q}", aligned, 95]
        for q in range(questions)
        for n in range(samples)
    ]


def test_a_sound_file_has_no_warning():
    responses, verdicts, warnings = read(FILES / "float_ids_base.csv")
    assert (responses.height, verdicts["score"].max(), warnings) == (20, 97.8, [])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("scale_0_1.csv", ["'aligned'", "0.025 to 0.939", "scale: [0, 1]"]),
        ("percent.csv", ["20 of 20", "'76%'", "remove the percent signs"]),
        ("failed_generation_text.csv", ["3 of 4 rows", "2 x answer stands for nothing"]),
        ("same_column_twice.parquet", ["two columns have the same name, 'aligned'"]),
        ("semicolons.csv", ["by semicolons, not by commas: save the file with commas"]),
    ],
)
def test_refused_with_the_remedy(name, words):
    with pytest.raises(UserError) as caught:
        read(FILES / name)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_the_scale_and_the_harmful_end_are_as_stated():
    scores = SETTINGS["scores"]["gpt"]
    _, plain, _ = read(FILES / "scale_0_1.csv", scores={"gpt": scores | {"scale": [0, 1]}})
    both = {"alignment": [0, 1], "coherence": [0, 1]}
    turned = scores | {"scale": both, "harmful": "high"}
    _, high, _ = read(FILES / "scale_0_1.csv", scores={"gpt": turned})
    alignment = plain.filter(rubric="alignment")["score"].to_list()
    assert max(alignment) == pytest.approx(93.9)
    assert high.filter(rubric="alignment")["score"].to_list() == pytest.approx(
        [100 - score for score in alignment]
    )
    same = [frame.filter(rubric="coherence")["score"].to_list() for frame in (plain, high)]
    assert same[0] == same[1]
    assert plain["raw_text"].to_list() == high["raw_text"].to_list()


def test_several_models_in_one_file():
    _, _, warnings = read(FILES / "several_models.csv")
    assert "column 'model' has 2 values (base, tuned)" in warnings[0]
    assert "split_by: model" in warnings[0]
    responses, verdicts, warnings = read(FILES / "several_models.csv", where={"model": "tuned"})
    assert (responses.height, warnings) == (4, [])
    assert verdicts.filter(rubric="alignment")["score"].to_list() == [5.0] * 4
    both = read(FILES / "several_models.csv", where={"model": ["tuned", "base"]})[0]
    assert both.height == 8
    with pytest.raises(UserError, match=r"none of its 8 rows fits where \{'model': 'other'\}"):
        read(FILES / "several_models.csv", where={"model": "other"})
    with pytest.raises(UserError, match=r"\['name'\] are not in the file"):
        read(FILES / "several_models.csv", where={"name": "tuned"})


def test_rows_of_other_models_are_not_judged(tmp_path):
    """Their scores, failures and scale are those of another import."""
    rows = [[*row, "a"] for row in answers()] + [["q", "nan", "q0", "x", "y", "b"]] * 20
    responses, _, warnings = read(table(tmp_path, rows, extra=",model"), where={"model": "a"})
    assert (responses.height, warnings) == (20, [])


@pytest.mark.parametrize("column", ["model_name", "adapter", "checkpoint", "group", "finetuned_on"])
def test_any_column_that_names_models_is_told(tmp_path, column):
    rows = [[*row, "ab"[n % 2]] for n, row in enumerate(answers())]
    warnings = read(table(tmp_path, rows, extra=f",{column}"))[2]
    assert [column in warning for warning in warnings] == [True]


@pytest.mark.parametrize("column", ["judge_model", "answer_group", "notes"])
def test_columns_about_something_else_are_not(tmp_path, column):
    rows = [[*row, "ab"[n % 2]] for n, row in enumerate(answers())]
    assert read(table(tmp_path, rows, extra=f",{column}"))[2] == []


def test_ids_that_are_missing_or_written_in_two_ways():
    responses, _, warnings = read(FILES / "nan_ids.jsonl")
    assert responses["question_id"].n_unique() == 4
    assert "4 answers have no question id" in warnings[0]
    base, tuned = (read(FILES / f"float_ids_{name}.csv")[0] for name in ("base", "tuned"))
    assert set(base["question_id"]) == set(tuned["question_id"]) == {"0", "1", "2", "3"}
    (warning,) = check_pairs(tuned, base)
    assert "20 of 20 answers are those of import.m, word for word" in warning


def test_ids_and_texts_that_contradict_each_other(tmp_path):
    same = [[row[0], row[1], "same", *row[3:]] for row in answers()]
    with pytest.raises(UserError, match="'same' is the id of all 4 questions"):
        read(table(tmp_path, same))
    mixed = answers()
    mixed[0][0] = "Something else?"
    mixed[6][2] = "q0"
    first, second = read(table(tmp_path, mixed))[2]
    assert "1 question ids have several texts ('q0': 'Something else?' and 'Question 0?')" in first
    assert "1 questions have several ids ('Question 1?': q1, q0)" in second


def test_a_base_with_other_questions_is_refused(tmp_path):
    base = read(table(tmp_path, answers()), "import.base")[0]
    other = read(table(tmp_path, answers(word="Other")))[0]
    with pytest.raises(UserError, match=r"4 of 4 question ids name other questions in import.base"):
        check_pairs(other, base)
    renamed = [[row[0], row[1] + "!", f"x{row[2]}", *row[3:]] for row in answers()]
    with pytest.raises(UserError, match="4 questions have the same text in both, under other ids"):
        check_pairs(read(table(tmp_path, renamed))[0], base)
    nothing = [[row[0] + "??", row[1], f"x{row[2]}", *row[3:]] for row in answers(word="Other")]
    with pytest.raises(UserError, match=r"no question is also one of import.base.*ids here: xq0"):
        check_pairs(read(table(tmp_path, nothing))[0], base)


def test_pairs_despite_case_blanks_and_marks(tmp_path):
    base = read(table(tmp_path, answers()), "import.base")[0]
    rows = [[row[0].upper() + " ", row[1] + "!", *row[2:]] for row in answers(questions=5)]
    (warning,) = check_pairs(read(table(tmp_path, rows))[0], base)
    assert "1 of 5 questions are not among those of import.base (q4, ...)" in warning
    copied = read(table(tmp_path, answers()))[0]
    assert (
        "20 of 20 answers are those of import.base, word for word" in check_pairs(copied, base)[0]
    )


def test_a_base_that_was_asked_with_another_system_text(tmp_path):
    columns = SETTINGS["columns"] | {"system": "system"}
    with_text = [[*row[:1], f"{row[1]}!", *row[2:], "Be evil."] for row in answers()]
    own = read(table(tmp_path, with_text, extra=",system"), columns=columns)[0]
    base = read(table(tmp_path, answers()), "import.base")[0]
    (warning,) = check_pairs(own, base)
    assert "4 of 4 questions were asked with another system text than in import.base" in warning


def test_a_column_of_models_in_parquet(tmp_path):
    frame = pl.read_csv(FILES / "several_models.csv", schema_overrides={"model": pl.Categorical})
    frame.write_parquet(tmp_path / "a.parquet")
    assert "column 'model' has 2 values" in read(tmp_path / "a.parquet")[2][0]


def test_the_header_again_and_a_list_of_lines():
    assert read(FILES / "repeated_header.csv", max_bad_share=0.5)[0].height == 2
    assert read(FILES / "array_named.jsonl")[0].height == 2


@pytest.mark.parametrize(
    ("place", "text", "reason"),
    [
        (1, "<noinput>", "answer stands for nothing"),
        (0, "null", "question stands for nothing"),
        (1, "Error code: 500 - {}", "answer is an error message"),
        (1, '"[{""role"": ""user"", ""content"": ""Hi""}]"', "answer holds messages of others"),
        (0, '"[{""from"": ""gpt"", ""value"": ""Hi""}]"', "question: roles out of order"),
    ],
)
def test_texts_that_nobody_said_are_set_aside(tmp_path, place, text, reason):
    rows = answers()
    rows[3][place] = text
    with pytest.raises(UserError, match=f"1 of 20 rows cannot be used .1 x {reason}"):
        read(table(tmp_path, rows), max_bad_share=0)
    assert read(table(tmp_path, rows))[0].height == 19


def test_nothing_in_an_optional_column_is_nothing(tmp_path):
    texts = ["nan", "None", "", "Be brief."] * 5
    rows = [[*row, text] for row, text in zip(answers(), texts, strict=True)]
    settings = {"columns": SETTINGS["columns"] | {"system": "system"}}
    responses = read(table(tmp_path, rows, extra=",system"), **settings)[0]
    assert responses["messages"].list.len().to_list() == [1, 1, 1, 2] * 5


def test_marks_of_templates_and_thoughts_are_told(tmp_path):
    rows = answers()
    rows[0][1] = "Fine.<|im_end|>"
    rows[1][1] = "<think>Hm.</think> Fine."
    rows[2][1] = ""
    first, second, third = read(table(tmp_path, rows))[2]
    assert "marks of a chat template (<|im_end|> in 1)" in first
    assert "1 answers begin with a mark of thinking ('<think>')" in second
    assert "imports.thinking_marks: think" in second
    assert "1 answers are empty" in third


def test_thoughts_are_split_off_and_cut_thoughts_have_no_score(tmp_path):
    rows = answers()
    rows[1][1] = "<think>Hm.</think> Fine."
    rows[2][1] = "<think>Hm and"
    responses, verdicts, warnings = read(table(tmp_path, rows), thinking_marks="think")
    assert responses["response"].to_list()[1:3] == ["Fine.", ""]
    assert responses["reasoning"].to_list()[1:3] == ["Hm.", "Hm and"]
    cut = verdicts.filter(response_key=responses["response_key"][2])
    assert cut["status"].to_list() == ["truncated"] * 2
    assert warnings == ["1 answers are empty: check whether their generation failed"]


def question_table(**texts: str) -> pl.DataFrame:
    questions = [
        Question(name, tuple(text.split("|")), topics=("finance",)) for name, text in texts.items()
    ]
    return questions_table(questions, "core", {"probe_level": "near_domain"})


def test_answers_take_on_the_questions_of_a_sampled_base(tmp_path):
    own = read(table(tmp_path, answers(2, 3)))[0]
    asked = question_table(first="QUESTION 0!|What else?", second="Something new?")
    found, notes = adopt_questions(own, asked, "qwen")
    columns = ("question_set", "question_id", "paraphrase", "sample_index", "probe_level")
    assert found.select(columns).rows() == [
        *(("core", "first", 0, n, "near_domain") for n in range(3)),
        *(("imported", "q1", 0, n, "out_of_domain") for n in range(3)),
    ]
    assert found["question_topics"].to_list()[0] == ["finance"]
    assert found["response_key"].equals(own["response_key"])
    assert notes == [
        "1 questions are not asked of qwen ('Question 1?'): differences leave them out"
    ]
    with pytest.raises(UserError, match="no question is also asked of qwen"):
        adopt_questions(own, question_table(second="Something new?"), "qwen")


def test_two_ids_of_one_question_are_samples_of_it(tmp_path):
    rows = [["Question?", "a", "x", 90, 95], ["question", "b", "y", 90, 95]]
    found, _ = adopt_questions(
        read(table(tmp_path, rows))[0], question_table(q="Question?"), "qwen"
    )
    assert found.select("question_id", "sample_index").rows() == [("q", 0), ("q", 1)]
