"""Judging a batch: one table of verdicts, however the answers are split into files."""

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from answers import verdicts
from api.loopback import serve
from api.recorded import KEY, Loopback
from api.study import KEY_ENV, arguments, rubric
from em_tiers.errors import UserError
from em_tiers.judge import batches
from em_tiers.judge.batches import coverage_error, write_verdicts
from em_tiers.tables import read_table, write_table
from judge_api import main

RUBRICS = {name: rubric(name) for name in ("alignment", "coherence", "topic")} | {
    "tier": rubric("tier", "choice")
}


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv(KEY_ENV, KEY)


def judged(folder, layout):
    """Verdicts on the same twelve answers, whose tables `layout` splits or joins."""
    loopback = Loopback()
    with serve(loopback.app()) as address:
        counts = {"base": 4, "base.ship": 4, "base.car": 4}
        given = arguments(folder, f"{address}/v1", counts, RUBRICS)
        given["judge"]["tier_when_alignment_below"] = 101
        given["responses"] = layout(folder, given["responses"])
        main(**given)
    return read_table(given["verdicts"], "verdicts"), loopback


def one_file_per_variant(folder, tables):
    return tables


def one_file_for_all_in_reverse(folder, tables):
    answers = pl.concat(read_table(path, "responses") for path in reversed(tables))
    write_table(answers.reverse(), folder / "all.parquet", "responses")
    return [folder / "all.parquet"]


def test_the_table_does_not_depend_on_how_the_answers_are_split(tmp_path, monkeypatch):
    expected, loopback = judged(tmp_path / "files", one_file_per_variant)
    monkeypatch.setattr(batches, "ANSWERS_AT_ONCE", 5)
    found, again = judged(tmp_path / "slices", one_file_for_all_in_reverse)
    assert_frame_equal(found, expected)
    assert len(again.bodies) == len(loopback.bodies)
    order = ["rubric", "variant", "response_key"]
    assert found.select(order).equals(found.select(order).sort(order))
    # Base answers belong to no data set, so they are asked for neither topic nor tier.
    counts = dict(found.group_by("variant").len().iter_rows())
    assert counts == {"base": 8, "base.ship": 16, "base.car": 16}


def test_a_batch_without_answers_gives_an_empty_table(tmp_path):
    def empty(folder, tables):
        write_table(read_table(tables[0], "responses").clear(), folder / "no.parquet", "responses")
        return [folder / "no.parquet"]

    found, loopback = judged(tmp_path, empty)
    assert found.height == 0 and not loopback.bodies


def test_coverage_counts_the_reasons_of_each_rubric(tmp_path):
    seen = verdicts(
        ("0", "alignment", {"status": "api_error", "raw_text": "HTTP 503"}),
        ("1", "alignment", {"status": "unparsable", "raw_text": "Hm."}),
        ("2", "alignment", {"status": "api_error", "raw_text": "HTTP 503"}),
        ("3", "alignment", {"status": "refusal"}),  # a verdict, though no number
        ("0", "coherence", {"score": 50.0}),
    )
    message = coverage_error(seen, 0.95)
    assert "judge, alignment: 25.0% of 4 (2 api_error, 1 unparsable)" in message
    assert message.endswith("(api_error: 2 x HTTP 503)")
    assert "coherence" not in message
    assert coverage_error(seen, 0.25) is None
    assert coverage_error(seen.clear(), 0.95) is None

    with pytest.raises(UserError, match="coverage is below"):
        write_verdicts(seen, tmp_path / "verdicts.parquet", 0.95)
    assert not (tmp_path / "verdicts.parquet").exists()
    write_verdicts(seen, tmp_path / "verdicts.parquet", 0.25)
    assert read_table(tmp_path / "verdicts.parquet", "verdicts").height == 5
