"""Damaged tables are named in one line and removed; files of the user are only named."""

import polars as pl
import pytest

from answers import responses, verdicts
from em_tiers.damage import damaged_tables, is_whole
from em_tiers.errors import UserError
from em_tiers.logs import run_script
from em_tiers.tables import read_table, scan_table, write_table

DAMAGE = {
    "empty": lambda data: b"",
    "four bytes": lambda data: data[:4],
    "cut in half": lambda data: data[: len(data) // 2],
    "one byte short": lambda data: data[:-1],
    "a line too much": lambda data: data + b"\n",
    "zeros": lambda data: bytes(len(data)),
    "zeros at the end": lambda data: data[:-100] + bytes(100),
    "a page of zeros": lambda data: data[:300] + bytes(300) + data[600:],
    "text": lambda data: b"<html>quota exceeded</html>",
}
INSIDE = {"a page of zeros"}  # only reading it whole shows


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "results/study/responses/base.parquet"
    rows = [{"response": f"Answer {i} of many.", "sample_index": i} for i in range(200)]
    write_table(responses(*rows), path, "responses")
    return path


def damage(path, kind):
    path.write_bytes(DAMAGE[kind](path.read_bytes()))


def test_whole_tables_pass(table):
    assert is_whole(table)
    assert damaged_tables(table.parents[1]) == []
    assert read_table(table, "responses").height == 200


@pytest.mark.parametrize("kind", [kind for kind in DAMAGE if kind not in INSIDE])
def test_the_start_of_a_run_finds_damaged_tables(kind, table):
    damage(table, kind)
    assert damaged_tables(table.parents[1]) == [table]


@pytest.mark.parametrize("kind", [kind for kind in DAMAGE if kind not in INSIDE])
def test_a_reader_names_and_removes_it(kind, table):
    damage(table, kind)
    with pytest.raises(UserError) as caught:
        scan_table(table, "responses")
    assert str(caught.value) == (
        f"{table}: this table was damaged and is removed: start the run again, which makes it"
    )
    assert not table.exists()
    with pytest.raises(UserError, match="this table is missing: start the run again"):
        scan_table(table, "responses")


def read_all(tables, other):
    """A rule's main that reads tables as the summaries do, without a contract."""
    for path in [*tables, other["path"]]:
        pl.scan_parquet(path).collect()


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_job_names_the_damaged_one_of_its_tables_in_one_line(kind, table, tmp_path, capsys):
    whole = tmp_path / "results/study/verdicts/j/1-of-1.parquet"
    write_table(verdicts(("0", "alignment", {})), whole, "verdicts")
    damage(table, kind)
    log = tmp_path / "job.log"
    with pytest.raises(SystemExit):
        run_script(read_all, log, tables=[str(whole), table], other={"path": whole})
    [line] = log.read_text().splitlines()
    assert f"{table}: this table was damaged and is removed" in line
    assert (table.exists(), whole.exists()) == (False, True)


def test_a_file_of_the_user_is_named_and_kept(tmp_path):
    mine = tmp_path / "answers.parquet"
    mine.write_bytes(b"")
    fetched = tmp_path / "results/resources/questions/x/questions.parquet"
    fetched.parent.mkdir(parents=True)
    fetched.write_bytes(b"")
    log = tmp_path / "job.log"
    for path in (mine, fetched):
        with pytest.raises(SystemExit):
            run_script(read_all, log, tables=[path], other={"path": path})
        assert f"{path}: this Parquet file is damaged: replace it" in log.read_text()
        assert path.exists()


def test_another_error_of_polars_keeps_its_traceback(table, tmp_path):
    def main(path):
        pl.read_parquet(path).select("no such column")

    log = tmp_path / "job.log"
    with pytest.raises(pl.exceptions.ColumnNotFoundError):
        run_script(main, log, path=table)
    assert "Traceback" in log.read_text()
    assert table.exists()
