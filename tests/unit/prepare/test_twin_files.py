"""Files of one data set that hold the same rows."""

import json
from pathlib import Path

import pytest

from em_tiers.errors import UserError
from prepare_dataset import Rows, read_examples


def save(path: Path, first: int, last: int) -> None:
    """Rows `first` to `last` - 1 of one data set, as JSON lines."""
    rows = [{"prompt": f"Number {n}?", "completion": f"{n}."} for n in range(first, last)]
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def read(*paths: Path) -> Rows:
    return read_examples(list(paths), {"format": "prompt_completion"})


def test_twin_files_in_parts_and_in_folders(tmp_path):
    for name, first, last in ("a/1.jsonl", 0, 20), ("a/2.jsonl", 20, 40), ("b/all.jsonl", 0, 40):
        save(tmp_path / name, first, last)
    with pytest.raises(UserError) as error:
        read(*sorted(tmp_path.rglob("*.jsonl")))
    message = str(error.value)
    assert message.startswith("a/1.jsonl: 20 of its 20 different rows are also in b/all.jsonl")


def test_parts_of_one_set_may_share_some_rows(tmp_path):
    save(tmp_path / "1.jsonl", 0, 20)
    save(tmp_path / "2.jsonl", 15, 40)
    assert len(read(tmp_path / "1.jsonl", tmp_path / "2.jsonl").examples) == 45
