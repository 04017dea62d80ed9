"""Tables in five formats; text from outside can break none of them."""

import polars as pl
import pytest

from em_tiers.report.table_files import latex, markdown, table_page, write_all, write_tables

FRAME = pl.DataFrame(
    {
        "label": ["a|b <script> *x*", "=SUM(A1)", None],
        "rate": [0.123456, 1e-7, None],
        "n": [1200, 0, None],
        "headline": [True, False, None],
    }
)


def test_four_formats_hold_the_same_rows(tmp_path):
    outputs = {kind: tmp_path / f"t.{kind}" for kind in ("parquet", "csv", "md", "tex")}
    write_all(FRAME, outputs)
    assert pl.read_parquet(outputs["parquet"]).equals(FRAME)
    assert pl.read_csv(outputs["csv"])["rate"].to_list() == FRAME["rate"].to_list()
    assert outputs["csv"].read_text().splitlines()[2].startswith("'=SUM(A1)")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t.csv", "t.md", "t.parquet", "t.tex"]


def test_markdown_escapes_and_rounds():
    lines = markdown(FRAME).splitlines()
    assert lines[0] == "| label | rate | n | headline |"
    assert lines[1] == "| --- | ---: | ---: | --- |"
    assert lines[2] == r"| a\|b \<script\> \*x\* | 0.1235 | 1200 | yes |"
    assert lines[4] == "|  |  |  |  |"


def test_latex_escapes_and_is_a_booktabs_tabular():
    text = latex(pl.DataFrame({"a_b": ["50 % & $5 {x} \\y #1 ~^"], "n": [1]}))
    assert text.splitlines()[:2] == [r"\begin{tabular}{lr}", r"\toprule"]
    assert r"a\_b & n \\" in text
    assert r"50 \% \& \$5 \{x\} \textbackslash{}y \#1 \textasciitilde{}\textasciicircum{}" in text


def test_no_row_of_latex_is_taken_for_an_argument_of_the_line_end_before_it():
    lines = latex(pl.DataFrame({"a": ["[x]", "[y]", "*z"]})).splitlines()
    assert lines[4:7] == [r"{[}x] \\", r"{[}y] \\", r"{*}z \\"]


def test_the_page_escapes_and_says_where_the_rest_is(tmp_path):
    write_all(FRAME, {"html": tmp_path / "tier_rates.html"})
    text = (tmp_path / "tier_rates.html").read_text()
    assert "<h1>tier rates</h1>" in text
    assert "a|b &lt;script&gt; *x*" in text and "0.1235" in text
    assert "The first 200 of 1,000 rows" in table_page("n", pl.DataFrame({"n": range(1000)}))


def test_no_file_for_people_steers_a_terminal_or_turns_the_order_of_reading(tmp_path):
    hostile = "id\x00\x1b[31m \x9b \u202egnp.exe\u2066"
    family = "a\u200db"  # joins letters and emoji
    frame = pl.DataFrame({"question": [hostile, family]})
    paths = {kind: tmp_path / f"t.{kind}" for kind in ("parquet", "csv", "md", "tex", "html")}
    write_all(frame, paths)
    for kind in ("csv", "md", "tex", "html"):
        text = paths[kind].read_text(encoding="utf-8")
        assert not {*"\x00\x1b\x9b\u202e\u2066"} & {*text}, kind
        assert "\N{REPLACEMENT CHARACTER}" in text
        assert family in text
    assert pl.read_parquet(paths["parquet"]).equals(frame)


def test_long_tables_are_cut_for_people_and_say_so():
    long = pl.DataFrame({"n": range(1000)})
    assert markdown(long).rstrip().endswith("The first 200 of 1,000 rows; the CSV file holds all.")
    assert latex(long).rstrip().splitlines()[-1].startswith("% The first 200")


def test_several_tables_go_by_their_names(tmp_path):
    other = pl.DataFrame({"x": [1]})
    outputs = {f"{t}_csv": tmp_path / f"{t}.csv" for t in ("tier_rates", "rates")}
    write_tables({"rates": FRAME, "tier_rates": other}, outputs)
    assert (tmp_path / "tier_rates.csv").read_text() == "x\n1\n"
    write_tables({"only": other}, {"csv": tmp_path / "only.csv"})
    assert (tmp_path / "only.csv").is_file()


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(ValueError, match="write parquet, csv, md, tex or html"):
        write_all(FRAME, {"xlsx": tmp_path / "t.xlsx"})
