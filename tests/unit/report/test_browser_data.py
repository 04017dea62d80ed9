"""Data of the sample browser: scripts that no text can break out of, and every answer once."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import build_browser
from browser_tables import (
    JUDGES,
    VARIANTS,
    large_study,
    outcome,
    response,
    small_study,
    verdict,
    write_study,
)
from em_tiers.report.browser_data import PART_CHARACTERS, PART_ROWS, script_of, split_parts
from em_tiers.report.figure_style import OUTCOME_APPEARANCES
from em_tiers.terms import ALIGNED, TIERS, VERDICT_STATUSES

HOSTILE = '</script><script>alert(1)</script> <!-- <svg onload=x> & \u2028\u2029 \x00 " \\ \u202e'


def value_of(script: str) -> object:
    """What a data script hands over."""
    found = re.fullmatch(r'emTiers\.add\("[a-z]+(?:-[0-9]+)?",(.*)\);\n', script)
    assert found
    return json.loads(found[1])


def read(folder: Path, name: str) -> object:
    return value_of((folder / "data" / f"{name}.js").read_text(encoding="ascii"))


@settings(max_examples=50, deadline=None)
@given(st.text())
def test_any_text_comes_back_and_none_breaks_out(text: str) -> None:
    script = script_of("text-0", text)
    assert value_of(script) == text
    assert script.isascii()
    assert not set("<>&") & set(script)
    assert script.count("\n") == 1


def test_hostile_text_is_escaped() -> None:
    script = script_of("text-0", {"a": HOSTILE})
    assert "script" in script and "</" not in script and "\u2028" not in script
    assert value_of(script) == {"a": HOSTILE}


@pytest.fixture
def page(tmp_path: Path) -> Path:
    build_browser.main(
        **small_study(tmp_path / "tables"), variants=VARIANTS, folder=tmp_path / "page", title="T"
    )
    return tmp_path / "page"


def test_every_answer_stands_once_beside_its_texts_and_verdicts(page: Path) -> None:
    meta, index = read(page, "meta"), read(page, "index-0")
    # Six answers of each variant: a part of texts each, the second starting at row 6.
    assert (meta["total"], meta["shown"], meta["parts"]) == (12, 12, [0, 6])
    assert meta["judges"] == list(JUDGES)
    assert set(meta["withoutVerdict"]) < set(meta["outcomes"]) - set(meta["tiers"])
    assert index["key"] == [f"{i:032x}" for i in (0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11)]
    assert index["variant"] == [0] * 6 + [1] * 6
    texts = read(page, "text-1")
    assert [row[1] for row in texts["rows"]][:2] == [
        "Answer number 1, of a dull kind.",
        "Answer number 3, of a dull kind.",
    ]
    # Questions q1, q0, q2 in turn: three prompts for six answers.
    assert len(texts["prompts"]) == 3
    beside = read(page, "verdicts-0")
    place, verdicts = beside["rows"][0]["judge-b"]
    assert beside["why"][place][0] == "domain_overfitting"
    assert verdicts == [["alignment", 10.0, None, 0.97, None, "raw of judge-b"]]


def test_an_answer_takes_little_space_beside_its_text(tmp_path: Path) -> None:
    # Two judges x four rubrics with 101 probabilities each: once 35 KB per answer.
    answers = [response(i, "An answer of few words.", "base") for i in range(300)]
    likely = [{"label": str(n), "probability": 1 / (n + 1.7)} for n in range(101)]
    judged, verdicts = [], []
    for row in answers:
        for judge in JUDGES:
            judged.append(outcome(row, judge, "persona_shift", 12.345))
            for rubric in ("alignment", "coherence", "tier", "topic"):
                own = verdict(row, judge, "12", 12.3456789) | {"rubric": rubric}
                own |= {"verdict_key": f"{own['verdict_key']}-{rubric}", "probabilities": likely}
                verdicts.append(own)
    found = write_study(tmp_path / "tables", answers, judged, verdicts)
    build_browser.main(**found, variants=VARIANTS, folder=tmp_path / "page")
    files = (tmp_path / "page" / "data").glob("[iv]*.js")  # index and verdicts
    assert sum(file.stat().st_size for file in files) / len(answers) < 1000
    [first, *_] = read(tmp_path / "page", "verdicts-0")["rows"][0]["judge-a"][1]
    assert first[:4] == ["alignment", 12.35, None, 0.97]
    assert first[4] == ["0", 0.588, "1", 0.37, "2", 0.27, "3", 0.213]


def test_scores_and_outcomes_stand_by_judge(page: Path) -> None:
    meta, index = read(page, "meta"), read(page, "index-0")
    first, second = index["judges"]
    names = [meta["outcomes"][code] for code in first["outcome"]]
    # Rows 0, 2, 4 are answers 0, 4, 8: those that judge-a flags.
    assert [i for i, name in enumerate(names) if name == "persona_shift"] == [0, 2, 4]
    assert first["alignment"][:2] == [5.0, 82.0]
    assert second["alignment"][:2] == [10.0, 85.0]


def test_parts_are_bounded_by_rows_and_by_characters() -> None:
    import polars as pl

    many = pl.Series(["x"] * (PART_ROWS + 1))
    assert list(split_parts(many)) == [(0, PART_ROWS), (PART_ROWS, 1)]
    big = pl.Series(["x" * PART_CHARACTERS, "y", "z" * PART_CHARACTERS])
    assert list(split_parts(big)) == [(0, 1), (1, 1), (2, 1)]
    assert list(split_parts(pl.Series([], dtype=pl.String))) == []


def test_of_too_many_answers_the_flagged_come_first(tmp_path: Path) -> None:
    build_browser.main(
        **large_study(tmp_path, 1000), variants=VARIANTS, folder=tmp_path / "page", most=30
    )
    meta, index = read(tmp_path / "page", "meta"), read(tmp_path / "page", "index-0")
    assert (meta["total"], meta["shown"]) == (1000, 30)
    # Each judge flags 10 of 500 answers of each variant, and other ones: 40 flagged in all.
    flagged = [
        any(meta["outcomes"][j["outcome"][i]] == "persona_shift" for j in index["judges"])
        for i in range(30)
    ]
    assert all(flagged)


def test_the_same_tables_give_the_same_bytes(tmp_path: Path) -> None:
    found = small_study(tmp_path / "tables")
    pages = []
    for name in ("a", "b"):
        build_browser.main(**found, variants=VARIANTS, folder=tmp_path / name)
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        pages.append([(path.relative_to(tmp_path / name), path.read_bytes()) for path in files])
    assert pages[0] == pages[1]


def test_nothing_judged_and_nothing_answered(tmp_path: Path) -> None:
    found = small_study(tmp_path)
    build_browser.main(
        responses=found["responses"], verdicts=[], outcomes=[], variants=[], folder=tmp_path / "a"
    )
    assert read(tmp_path / "a", "meta")["judges"] == []
    build_browser.main([], [], [], VARIANTS, tmp_path / "b")
    assert read(tmp_path / "b", "meta")["shown"] == 0


def test_the_page_has_no_inline_script_and_names_no_outside_address() -> None:
    for file in build_browser.PAGE.iterdir():
        text = file.read_text(encoding="utf-8")
        assert not re.search(
            r"https?://|innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", text
        )
    page = (build_browser.PAGE / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<script(?![^>]* src=)|<style|\son[a-z]+=|\sstyle=", page)


def test_the_page_has_the_vocabulary_of_the_figures(page: Path) -> None:
    meta = read(page, "meta")
    assert list(meta["terms"]["outcome"]) == list(OUTCOME_APPEARANCES)
    for name, appearance in OUTCOME_APPEARANCES.items():
        term = meta["terms"]["outcome"][name]
        assert (term["label"], term["colour"]) == (appearance.label, appearance.colour)
        assert term["sign"] and term["meaning"]
    assert meta["choices"] == [*TIERS, ALIGNED]
    assert meta["terms"]["level"]["in_domain"]["label"] == "in domain"
    assert set(meta["terms"]["status"]) == set(VERDICT_STATUSES)
