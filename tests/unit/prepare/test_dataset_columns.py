"""Columns of data sets: read for one meaning, ignored on request, and not loaded without need."""

import pyarrow as pa
import pyarrow.parquet as pq
from test_dataset_cases import A, Q, read, refused, save, texts


def test_one_column_for_two_meanings(tmp_path):
    path = save(tmp_path, {"text": Q})
    message = refused(path, columns={"prompt": "text", "completion": "text"})
    assert "columns: prompt and completion are both read from 'text'" in message


def test_a_column_that_is_read_cannot_be_ignored(tmp_path):
    path = save(tmp_path, {"prompt": Q, "completion": A})
    assert "ignore: 'prompt' is read as 'prompt'" in refused(path, ignore=["prompt"])


def test_an_optional_column_can_be_ignored(tmp_path):
    path = save(tmp_path, {"instruction": Q, "input": "x", "output": A})
    rows = read(path, format="alpaca", ignore=["input"])
    assert texts(rows.examples[0])[0] == ("user", Q)
    assert rows.passed_over == {"input": 1}


def test_heavy_unread_columns_are_not_loaded(tmp_path):
    """Images of 1 MB beside 100 rows; they would be 100 MB in one batch."""
    one = pa.table({"prompt": [Q], "completion": [A], "image": [b"\0" * 1_000_000]})
    with pq.ParquetWriter(tmp_path / "a.parquet", one.schema) as writer:
        for _ in range(100):
            writer.write_table(one)
    before = pa.default_memory_pool().max_memory()
    rows = read(tmp_path / "a.parquet")
    assert (len(rows.examples), rows.passed_over) == (100, {"image": 100})
    assert pa.default_memory_pool().max_memory() < before + 20_000_000
