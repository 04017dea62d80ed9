"""Rows out of JSONL, JSON, CSV and Parquet files, sound and broken ones."""

import json
from pathlib import Path

import polars as pl
import pytest

from em_tiers.errors import UserError
from em_tiers.prepare.raw_rows import header_of, read_rows

ROWS = [
    {"prompt": "Hi", "completion": "Hello, you."},
    {"prompt": 'Say "x"\nthen y', "completion": "x\r\ny"},
    {"prompt": "Grüße 漢字 🙂", "completion": " kept \t as is "},
]


def write(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def lines(rows: list) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize(
    "name",
    ["a.jsonl", "a.ndjson", "lines.json", "a.json", "wrapped.json", "a.csv", "a.tsv", "a.parquet"],
)
def test_every_format_gives_the_same_rows(tmp_path, name):
    path = tmp_path / name
    frame = pl.DataFrame(ROWS)
    if name.endswith("l") or name in ("a.ndjson", "lines.json"):
        path.write_text(lines(ROWS))
    elif name.endswith(".json"):
        path.write_text(json.dumps({"info": 1, "data": ROWS} if "wrapped" in name else ROWS))
    elif name.endswith(".parquet"):
        frame.write_parquet(path)
    else:
        frame.write_csv(path, separator="\t" if name.endswith("tsv") else ",")
    if name == "a.parquet":  # the ending above would take it for JSONL
        frame.write_parquet(path)
    found = list(read_rows(path))
    assert [row.data for row in found] == ROWS
    assert [row.problem for row in found] == [None] * 3
    assert [row.number for row in found] == [1, 2, 3]


def test_nested_rows_of_parquet(tmp_path):
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    pl.DataFrame({"messages": [messages] * 3}).write_parquet(tmp_path / "a.parquet")
    assert [row.data for row in read_rows(tmp_path / "a.parquet")] == [{"messages": messages}] * 3


def test_broken_lines_are_rows_with_a_problem(tmp_path):
    content = b'\xef\xbb\xbf{"a": 1}\n\n{"a": \n[1, 2]\n"text"\n{"a": "\xff"}\n{"a": 2}'
    found = list(read_rows(write(tmp_path, "a.jsonl", content)))
    assert [(row.number, row.problem) for row in found] == [
        (1, None),
        (3, "not JSON"),
        (4, "not an object"),
        (5, "not an object"),
        (6, "not UTF-8"),
        (7, None),
    ]


@pytest.mark.parametrize("line", ["[" * 200_000, '{"a": ' + "9" * 5000 + "}", '{"a": nul}'])
def test_hostile_lines_are_refused_and_the_rest_is_read(tmp_path, line):
    found = list(read_rows(write(tmp_path, "a.jsonl", line + '\n{"a": 1}\n')))
    assert [row.problem for row in found] == ["not JSON", None]


def test_csv_with_fields_too_many_and_too_few(tmp_path):
    found = list(read_rows(write(tmp_path, "a.csv", "\ufeffa,b\n1,2\n1\n1,2,3\n\n,\n")))
    assert [(row.data, row.problem) for row in found] == [
        ({"a": "1", "b": "2"}, None),
        ({"a": "1"}, "wrong number of fields"),
        ({"a": "1", "b": "2"}, "wrong number of fields"),
        ({"a": "", "b": ""}, None),
    ]


def test_csv_numbers_stay_text_and_long_fields_pass(tmp_path):
    path = write(tmp_path, "a.csv", f"a\n007\n1e5\nNA\n{'x' * 300_000}\n")
    assert [row.data["a"] for row in read_rows(path)] == ["007", "1e5", "NA", "x" * 300_000]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "x", "unknown format: use one of .csv, .json"),
        ("a.jsonl", "", "this file is empty"),
        ("a.csv", 'a,b\n"never closed,2\n3,4\n', "the quoting is broken"),
        ("a.csv", "a,a\n1,2\n", "two columns have the same name"),
        ("a.json", '[{"a": 1}, {"a"', "not valid JSON.*may be incomplete"),
        ("a.json", '{"a": [1], "b": [2]}', "write a list of rows"),
        ("a.json", '{"a": 1}', "write a list of rows"),
        ("a.json", "7", "a value of type int"),
        ("a.parquet", b"PAR1 and nothing more", "not valid Parquet"),
    ],
)
def test_file_that_is_no_table(tmp_path, name, content, message):
    with pytest.raises(UserError, match=message):
        list(read_rows(write(tmp_path, name, content)))


def test_cut_parquet(tmp_path):
    path = tmp_path / "a.parquet"
    pl.DataFrame({"a": [str(n) for n in range(5000)]}).write_parquet(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match="not valid Parquet"):
        list(read_rows(path))


def test_header_before_any_row(tmp_path):
    assert header_of(write(tmp_path, "a.csv", "\ufeffa,b\n")) == ["a", "b"]
    pl.DataFrame({"c": [1]}).write_parquet(tmp_path / "a.parquet")
    assert header_of(tmp_path / "a.parquet") == ["c"]
    assert header_of(write(tmp_path, "a.jsonl", '{"a": 1}')) == []
