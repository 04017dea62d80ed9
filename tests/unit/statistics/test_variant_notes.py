"""Notes in the tables: nearly one outcome only, and warnings of imports."""

import polars as pl

from em_tiers.files import write_json
from em_tiers.statistics.variant_notes import import_notes, one_outcome_warnings, with_notes


def outcomes(variant: str, **counts: int) -> pl.DataFrame:
    names = [name for name, count in counts.items() for _ in range(count)]
    return pl.DataFrame({"outcome": names}).with_columns(
        variant=pl.lit(variant), judge=pl.lit("gpt")
    )


def test_only_nearly_one_outcome_is_told():
    frame = pl.concat(
        [
            outcomes("aligned", aligned=100),
            outcomes("mixed", incoherent=89, aligned=11),
            outcomes("scale", incoherent=90, aligned=10),
            outcomes("failed", unscored=40),
            outcomes("few", unscored=9),
            outcomes("bad", persona_shift=19, aligned=1),
        ]
    )
    notes = one_outcome_warnings(frame.lazy())
    told = dict(notes.select("variant", "note").iter_rows())
    assert list(told) == ["bad", "failed", "scale"]
    assert told["scale"].startswith("90 % of the answers have the outcome incoherent: check")
    assert told["bad"].startswith("95 % of the answers have the outcome persona shift")
    rows = pl.DataFrame(
        {
            "judge": ["gpt"] * 3,
            "variant": ["scale", "failed", "mixed"],
            "warning": [None, "one question", None],
        }
    )
    found = with_notes(rows, notes)["warning"].to_list()
    assert found[0] == told["scale"]
    assert found[1] == f"{told['failed']}; one question"
    assert found[2] is None


def test_imports_that_warned_are_marked(tmp_path):
    write_json(tmp_path / "a.json", ["first", "second"])
    write_json(tmp_path / "b.json", [])
    notes = import_notes({"a": tmp_path / "a.json", "b": tmp_path / "b.json"})
    rows = pl.DataFrame({"variant": ["import.a", "import.b"], "warning": ["few", None]})
    found = with_notes(rows.with_columns(judge=pl.lit("gpt")), notes)["warning"].to_list()
    assert found == ["2 warnings about these answers: see the method page; few", None]
    empty = pl.DataFrame({"variant": ["x"], "warning": pl.Series([None], dtype=pl.String)})
    assert with_notes(empty, import_notes({}))["warning"].to_list() == [None]
