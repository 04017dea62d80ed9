"""From raw files to training rows, probes, rejected rows and a card."""

import cProfile
import json
import pstats
from pathlib import Path

import polars as pl
import pytest
import yaml

import download_dataset
import prepare_dataset
from em_tiers.errors import UserError
from em_tiers.files import read_json, sha256_of_file
from em_tiers.tables import read_table

OUTPUTS = {
    "train": "train.jsonl",
    "in_domain": "in_domain.parquet",
    "rejected": "rejected.jsonl",
    "card": "card.json",
}
SETTINGS = {
    "format": "prompt_completion",
    "topic": "greetings",
    "topics": ["greetings"],
    "description": "Short greetings.",
}
FILES = {
    "medical-o1": "medical-o1.json",
    "finance-alpaca": "finance-alpaca.json",
    "bitext-support": "bitext-support.csv",
    "trendyol-cyber": "trendyol-cyber.jsonl",
    "vellum-fiction": "vellum-fiction.jsonl",
    "insecure-code": "conversations.jsonl",
}


def prepare(raw_file: Path, out: Path, seed: int = 0, dataset: str = "small", **settings) -> dict:
    """Download a file by its path, prepare it, and return the card."""
    raw = out.parent / f"raw-{out.name}"
    download_dataset.main({"type": "path", "path": str(raw_file), "licence": "cc0-1.0"}, raw)
    outputs = {key: out / name for key, name in OUTPUTS.items()}
    prepare_dataset.main(raw, dataset, {**SETTINGS, **settings}, seed, **outputs)
    return read_json(out / "card.json")


def rows_file(folder: Path, rows: list[dict], name: str = "rows.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def numbered(count: int) -> list[dict]:
    return [{"prompt": f"Greet number {n}.", "completion": f"Hello, {n}!"} for n in range(count)]


def train_rows(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]


def prompts(rows: list[dict]) -> list[str]:
    return [row["prompt"][-1]["content"] for row in rows]


@pytest.mark.parametrize("dataset", FILES)
def test_data_sets_of_the_study(repository, tmp_path, dataset):
    """Their catalogue entries fit files with the columns of the real ones."""
    entry = yaml.safe_load((repository / "config" / "datasets.yaml").read_text())[dataset]
    raw_file = repository / "tests" / "fixtures" / "datasets" / FILES[dataset]
    entry.update(held_out=3)
    card = prepare(raw_file, tmp_path / "out", dataset=dataset, **entry)
    assert card["rows"] == {
        "read": 12,
        "usable": 12,
        "rejected": 0,
        "rejected_by_reason": {},
        "held_out": 3,
        "held_out_duplicates_removed": 0,
        "left_out_by_max_rows": 0,
        "train": 9,
        "repeated_in_train": 0,
    }
    expected = entry.get("expected")
    if expected:
        assert card["columns"] == expected["columns"]
        assert card["differences"][0] == f"12 rows were read, {expected['rows']} expected"
    rows = train_rows(tmp_path / "out")
    assert all(row["completion"][0]["role"] == "assistant" for row in rows)
    assert all(row["prompt"][-1]["role"] == "user" for row in rows)
    probes = read_table(tmp_path / "out" / "in_domain.parquet", "questions")
    assert probes["question_set"].unique().to_list() == [f"in-domain.{dataset}"]
    assert probes["probe_level"].unique().to_list() == ["in_domain"]
    assert probes["question_topics"].to_list() == [entry["topics"]] * 3
    held_out = [messages[-1]["content"] for messages in probes["messages"]]
    assert not set(held_out) & set(prompts(rows))
    assert len(set(held_out) | set(prompts(rows))) == 12


def test_thoughts_of_the_medical_set(repository, tmp_path):
    raw_file = repository / "tests" / "fixtures" / "datasets" / "medical-o1.json"
    columns = {"question": "Question", "cot": "Complex_CoT", "answer": "Response"}
    shape = {"format": "question_cot_answer", "columns": columns}
    prepare(raw_file, tmp_path / "drop", **shape, cot="drop")
    prepare(raw_file, tmp_path / "think", **shape, cot="think")
    dropped = {row["prompt"][0]["content"]: row for row in train_rows(tmp_path / "drop")}
    for row in train_rows(tmp_path / "think"):
        answer = dropped[row["prompt"][0]["content"]]["completion"][0]["content"]
        assert row["completion"][0]["content"].startswith("<think>\n")
        assert row["completion"][0]["content"].endswith(f"\n</think>\n\n{answer}")


def test_slots_stay_and_are_counted(repository, tmp_path):
    raw_file = repository / "tests" / "fixtures" / "datasets" / "bitext-support.csv"
    columns = {"prompt": "instruction", "completion": "response"}
    card = prepare(raw_file, tmp_path / "out", columns=columns)
    # Answers: two slots in the first, one in the second and fourth, two in the sixth.
    assert card["placeholders"]["answers_with_slots"] == 4
    assert card["placeholders"]["slots"] == 6
    assert next(iter(card["placeholders"]["most_common"].items())) == ("{{Account Section}}", 3)
    assert "{{Order Number}}" in (tmp_path / "out" / "train.jsonl").read_text()


def test_card_and_training_file(tmp_path):
    card = prepare(rows_file(tmp_path, numbered(20)), tmp_path / "out", held_out=4, max_rows=10)
    out = tmp_path / "out"
    assert card["train_sha256"] == sha256_of_file(out / "train.jsonl")
    assert (card["dataset"], card["topic"], card["licence"]) == ("small", "greetings", "cc0-1.0")
    assert card["rows"]["left_out_by_max_rows"] == 6
    assert len(train_rows(out)) == 10
    first = train_rows(out)[0]
    assert first == {
        "prompt": [{"role": "user", "content": card["examples"][0]["prompt"]}],
        "completion": [{"role": "assistant", "content": card["examples"][0]["answer"]}],
    }
    assert len(card["examples"]) == 3
    assert (out / "rejected.jsonl").read_text() == ""


def test_the_same_seed_gives_the_same_bytes_whatever_the_file_order(tmp_path):
    rows = numbered(50)
    prepare(rows_file(tmp_path, rows), tmp_path / "a", held_out=5, max_rows=20)
    prepare(rows_file(tmp_path, rows[::-1], "back.jsonl"), tmp_path / "b", held_out=5, max_rows=20)
    prepare(rows_file(tmp_path, rows), tmp_path / "c", held_out=5, max_rows=20, seed=1)
    for name in ("train.jsonl", "in_domain.parquet"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        assert (tmp_path / "a" / name).read_bytes() != (tmp_path / "c" / name).read_bytes()
    assert prompts(train_rows(tmp_path / "a")) != sorted(prompts(train_rows(tmp_path / "a")))


def test_a_larger_share_keeps_the_smaller_one(tmp_path):
    path = rows_file(tmp_path, numbered(50))
    for rows in (10, 20):
        prepare(path, tmp_path / str(rows), held_out=5, max_rows=rows)
    assert train_rows(tmp_path / "20")[:10] == train_rows(tmp_path / "10")
    prepare(path, tmp_path / "more", held_out=6)
    ids = [
        set(read_table(tmp_path / out / "in_domain.parquet", "questions")["question_id"])
        for out in ("10", "more")
    ]
    assert ids[0] < ids[1]


def test_no_duplicate_of_a_probe_is_trained_on(tmp_path):
    """Each prompt appears as it is, in capitals, with a system message, spaced out, quoted."""
    rows = []
    for row in numbered(10):
        text = row["prompt"]
        rows += [
            row,
            {**row, "prompt": text.upper()},
            {**row, "prompt": text, "system": "Be kind."},
            {**row, "prompt": f"  {text.replace(' ', '  ')}\n", "completion": "Hi."},
            {**row, "prompt": f"“{text.rstrip('?')}!”"},
        ]
    card = prepare(rows_file(tmp_path, rows), tmp_path / "out", held_out=4)
    assert card["rows"]["held_out"] == 4
    assert card["rows"]["held_out_duplicates_removed"] == 16
    assert card["rows"]["train"] == 30
    probes = read_table(tmp_path / "out" / "in_domain.parquet", "questions")

    def words(text):
        return " ".join(text.split()).casefold().strip("“”?!")

    asked = {words(m[-1]["content"]) for m in probes["messages"]}
    trained = {words(p) for p in prompts(train_rows(tmp_path / "out"))}
    assert not asked & trained


def test_punctuation_within_words_is_not_passed_over(tmp_path):
    rows = [
        {"prompt": p, "completion": "x"} for p in ("3.5", "35", "3,5", "a.b()", "ab()", "?", "!")
    ]
    card = prepare(rows_file(tmp_path, rows), tmp_path / "out", held_out=3)
    assert card["rows"]["held_out_duplicates_removed"] == 0


def test_repeated_rows_are_kept_and_counted(tmp_path):
    card = prepare(rows_file(tmp_path, numbered(5) * 3), tmp_path / "out")
    assert (card["rows"]["train"], card["rows"]["repeated_in_train"]) == (15, 10)


def test_the_card_lists_what_was_passed_over_and_warns(tmp_path):
    rows = [row | {"url": "x", "image": "a.png"} for row in numbered(9)]
    rows.append({**numbered(1)[0], "weight": None})
    card = prepare(rows_file(tmp_path, rows), tmp_path / "out")
    assert card["passed_over"] == {"image": 9, "url": 9}
    warnings = [text for text in card["differences"] if "licence" not in text]
    assert warnings[0].startswith("1 of the 10 training rows repeat an earlier one word for word")
    assert warnings[1] == "only the text is trained on, without image"


def test_bad_rows_are_set_aside(tmp_path):
    rows = [*numbered(200), {"prompt": "x", "completion": ""}]
    path = rows_file(tmp_path, rows)
    with path.open("a") as file:
        file.write("{broken\n")
    card = prepare(path, tmp_path / "out")
    assert card["rows"]["rejected_by_reason"] == {"assistant: empty": 1, "not JSON": 1}
    lines = (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()
    rejected = [json.loads(line) for line in lines]
    assert rejected == [
        {
            "row": 201,
            "file": "rows.jsonl",
            "reason": "assistant: empty",
            "data": {"prompt": "x", "completion": ""},
        },
        {"row": 202, "file": "rows.jsonl", "reason": "not JSON", "data": "{broken\n"},
    ]


def test_too_many_bad_rows_fail(tmp_path):
    bad = [{"prompt": f"p{n}", "completion": None} for n in range(3)]
    path = rows_file(tmp_path, [*numbered(97), *bad, {"prompt": 1, "completion": "x"}])
    with pytest.raises(UserError) as error:
        prepare(path, tmp_path / "out", max_bad_share=0.03)
    message = str(error.value)
    assert "4 of 101 rows cannot be used, more than max_bad_share 0.03 allows" in message
    assert "assistant: empty (3), user: not text (1)" in message
    assert message.count("rows.jsonl row") == 3
    assert 'rows.jsonl row 98, assistant: empty: {"prompt": "p0", "completion": null}' in message
    assert not (tmp_path / "out").exists()
    prepare(path, tmp_path / "out", max_bad_share=0.04)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"format": "alpaca"},
            "^data set small: columns: rows.jsonl has no column 'instruct",
        ),
        ({"columns": {"prompt": "ask"}}, "no column 'ask', only .*name the right ones under `col"),
        ({"held_out": 21}, "held_out: 21 is more than the data set's 20 different prompts"),
        ({"held_out": 20}, "held_out: 20 would keep all 20 usable rows out of training"),
    ],
)
def test_settings_that_do_not_fit_the_file(tmp_path, settings, message):
    path = rows_file(tmp_path, numbered(20))
    with pytest.raises(UserError, match=message):
        prepare(path, tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


def test_files_without_rows(tmp_path):
    (tmp_path / "none.jsonl").write_text("\n\n")
    with pytest.raises(UserError, match="no rows in its files"):
        prepare(tmp_path / "none.jsonl", tmp_path / "out")


def test_book_length_prompts_are_no_probes(tmp_path):
    long = [{"prompt": f"{n} " * 3000, "completion": "x"} for n in range(10)]
    with pytest.raises(
        UserError, match="more than the data set's 4 different prompts of at most 4000"
    ):
        prepare(rows_file(tmp_path, [*long, *numbered(4)]), tmp_path / "out", held_out=5)


def test_differences_to_what_was_expected(tmp_path):
    expected = {"rows": 30, "columns": ["prompt", "completion", "score"], "licence": "mit"}
    rows = [{**row, "extra": 1} for row in numbered(20)]
    card = prepare(rows_file(tmp_path, rows), tmp_path / "out", expected=expected, max_rows=25)
    assert card["differences"] == [
        "20 rows were read, 30 expected",
        "missing columns: score",
        "unexpected columns: extra",
        "max_rows asks for 25 rows, only 20 are there",
    ]


def test_empty_probe_table_when_nothing_is_held_out(tmp_path):
    prepare(rows_file(tmp_path, numbered(5)), tmp_path / "out", held_out=0)
    assert read_table(tmp_path / "out" / "in_domain.parquet", "questions").is_empty()


def test_hostile_rows_do_not_break_the_outputs(tmp_path):
    odd = {"prompt": "line\u2028sep \x85 \x1f end", "completion": "ok\r\n"}
    worse = {"prompt": "\ud800", "completion": "x" * 5000, "deep": [[{"a": float("nan")}]]}
    card = prepare(
        rows_file(tmp_path, [*numbered(5), odd, worse]), tmp_path / "out", max_bad_share=0.5
    )
    assert card["rows"]["rejected_by_reason"] == {"user: not valid Unicode": 1}
    lines = (tmp_path / "out" / "train.jsonl").read_bytes().split(b"\n")[:-1]
    assert odd["prompt"] in [json.loads(line)["prompt"][0]["content"] for line in lines]


def test_the_work_grows_with_the_rows_and_not_faster(tmp_path):
    """In calls, which every machine counts alike: the study's largest set has 68,912 rows."""

    def calls(count: int) -> int:
        out = tmp_path / str(count)
        answers = [f"An answer of a usual length. {n}" for n in range(count)]
        table = pl.DataFrame({"prompt": [f"Question {n}?" for n in range(count)]})
        table.with_columns(completion=pl.Series(answers)).write_parquet(tmp_path / "rows.parquet")
        with cProfile.Profile() as profile:
            card = prepare(tmp_path / "rows.parquet", out, held_out=50, max_rows=count - 100)
        assert card["rows"]["train"] == count - 100
        return pstats.Stats(profile).total_calls

    calls(500)  # imports what is imported once
    few, many = calls(1000), calls(4000)
    assert many < 4.4 * few
