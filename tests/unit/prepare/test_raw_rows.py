"""Rows out of JSONL, JSON, CSV and Parquet files, sound and broken ones."""

import json
import tracemalloc
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
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


@pytest.mark.parametrize("line", ["[" * 200_000, '{"a": nul}'])
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
        ("a.txt", "x", "unknown format: use one of .csv, .eval, .json"),
        ("a.jsonl", "", "this file is empty"),
        ("a.csv", 'a,b\n"never closed,2\n3,4\n', "the quoting is broken"),
        ("a.csv", "a,a\n1,2\n", "two columns have the same name"),
        (
            "a.csv",
            "a;b\n1;2\n",
            "by semicolons, not by commas: save the file with commas",
        ),
        ("a.csv", "a\tb\n1\t2\n", "separated by tabs.*or name it .tsv"),
        ("a.tsv", "a,b\n1,2\n", "separated by commas, not by tabs.*or name it .csv"),
        ("a.csv", "sep=;\na;b\n1;2\n", "separated by semicolons"),
        ("a.csv", "a,b\n1,2\nb,a\n3,4\n", "row 2: a second header"),
        ("a.csv", "a,b\n1,2\n".encode("utf-16"), "in UTF-16: save it in UTF-8"),
        ("a.jsonl", '{"a": 1}\n'.encode("utf-16"), "in UTF-16: save it in UTF-8"),
        ("a.csv", b"\x1f\x8b\x08\x00", "is compressed: name it a.csv.gz, or unpack it"),
        ("a.csv", b"PAR1", "name it .parquet"),
        ("a.json", '[{"a": 1}] [{"a": 2}]', "more text after the list"),
        ("a.json", '[{"a": 1} {"a": 2}]', "without a comma"),
        ("a.jsonl", '[{"a": 1},\n', "not valid JSON.*may be incomplete"),
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


ARRAY = '[\n {"a": "x", "b": 1},\n {"a": "y", "b": 2}\n]\n'


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
@pytest.mark.parametrize("text", [ARRAY, ARRAY.replace("\n", ""), "\ufeff" + ARRAY])
def test_a_list_is_read_whatever_its_ending(tmp_path, name, text):
    found = list(read_rows(write(tmp_path, name, text), ["a"]))
    assert [row.data for row in found] == [{"a": "x"}, {"a": "y"}]
    assert {row.unread for row in found} == {("b",)}


def test_lines_that_are_lists_are_no_rows(tmp_path):
    found = list(read_rows(write(tmp_path, "a.jsonl", '[{"a": 1}]\n[{"a": 2}]\n')))
    assert [row.problem for row in found] == ["not an object"] * 2


def test_long_rows_of_a_list_are_read_piece_by_piece(tmp_path, monkeypatch):
    monkeypatch.setattr("em_tiers.prepare.json_rows._CHUNK", 7)
    rows = [{"a": "x" * n, "b": [n, {"c": "]}"}]} for n in range(40)]
    for text in (json.dumps(rows), json.dumps(rows, indent=2)):
        assert [row.data for row in read_rows(write(tmp_path, "a.json", text))] == rows


def test_one_object_is_one_row_when_it_has_the_columns(tmp_path):
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    path = write(tmp_path, "a.json", json.dumps({"messages": turns}))
    assert [row.data for row in read_rows(path, ["messages"])] == [{"messages": turns}]
    assert [row.unread for row in read_rows(write(tmp_path, "c.json", '{"a": 1}'), ())] == [("a",)]
    weighted = json.dumps({"messages": [turns[0] | {"weight": 0}]})
    path = write(tmp_path, "d.json", weighted)
    (row,) = read_rows(path, ["messages", "weight"])
    assert row.data == json.loads(weighted)
    path = write(tmp_path, "b.json", json.dumps({"n": 1, "data": [{"messages": turns}] * 2}))
    assert [row.data for row in read_rows(path, ["messages"])] == [{"messages": turns}] * 2


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_key_twice_is_a_problem_of_its_row_where_it_is_read(tmp_path, name):
    text = (
        '[{"a": 1, "a": 2, "b": 3},\n{"a": {"c": 1, "c": 1}, "b": 3},\n'
        '{"a": 1, "b": {"c": 1, "c": 1}},\n{"a": 1, "b": 1, "b": 1}]'
    )
    if name == "a.jsonl":
        text = text[1:-1].replace("},\n", "}\n")
    path = write(tmp_path, name, text)
    problems = ["key 'a' occurs twice", "key 'c' occurs twice", None, None]
    assert [row.problem for row in read_rows(path, ["a"])] == problems
    assert [row.problem for row in read_rows(path)] == [
        *problems[:2], "key 'c' occurs twice", "key 'b' occurs twice",
    ]  # fmt: skip


def test_columns_twice_are_refused_where_they_are_read(tmp_path):
    table = pa.table([["x"], ["y"], ["z"]], names=["a", "a", "b"])
    pq.write_table(table, tmp_path / "a.parquet")
    for path in (tmp_path / "a.parquet", write(tmp_path, "a.csv", "a,a,b\nx,y,z\n")):
        with pytest.raises(UserError, match="two columns have the same name, 'a'"):
            list(read_rows(path, ["a"]))
        (row,) = read_rows(path, ["b"])
        assert (row.data, row.unread) == ({"b": "z"}, ("a", "a"))


def test_a_column_that_is_not_read_stops_nothing(tmp_path):
    long = pa.array([2**62], pa.duration("s"))  # Python has no such duration
    pq.write_table(pa.table({"a": ["x"], "t": long}), tmp_path / "a.parquet")
    assert [row.data for row in read_rows(tmp_path / "a.parquet", ["a"])] == [{"a": "x"}]
    with pytest.raises(UserError, match="row 1 cannot be read"):
        list(read_rows(tmp_path / "a.parquet"))
    lines = b'{"a": "x", "b": "\xff"}\n{"a": "\xff"}\n{"a": "y", "n": ' + b"9" * 5000 + b"}"
    for name, content in (
        ("a.jsonl", lines),
        ("a.json", b"[" + lines.replace(b"\n", b",\n") + b"]"),
    ):
        found = list(read_rows(write(tmp_path, name, content), ["a"]))
        assert [row.problem for row in found] == [None, "not UTF-8", None]


def test_the_header_again_is_no_row(tmp_path):
    path = write(tmp_path, "a.csv", "a,b\n1,2\na,b\n3,4\n")
    assert [row.problem for row in read_rows(path)] == [None, "the header again", None]
    assert [row.problem for row in read_rows(path, ["a"])] == [None, "the header again", None]


def test_only_wanted_columns_are_read_into_memory(tmp_path):
    heavy = pa.array([b"x" * 100_000] * 500)
    pq.write_table(pa.table({"a": ["x"] * 500, "image": heavy}), tmp_path / "a.parquet")
    tracemalloc.start()
    before = pa.total_allocated_bytes()
    rows = read_rows(tmp_path / "a.parquet", ["a"])
    assert next(rows).unread == ("image",)
    assert pa.total_allocated_bytes() - before < 5_000_000  # of a file of 50 MB
    text = "[" + ", ".join(json.dumps({"a": "x", "image": "y" * 100_000}) for _ in range(200)) + "]"
    path = write(tmp_path, "a.json", text)
    del text
    tracemalloc.reset_peak()
    start = tracemalloc.get_traced_memory()[0]
    assert sum(1 for _ in read_rows(path, ["a"])) == 200
    assert tracemalloc.get_traced_memory()[1] - start < 10_000_000  # of a file of 20 MB
    tracemalloc.stop()


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
