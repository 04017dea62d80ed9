"""Two runs compared: configuration keys and rates, paired by question, by hand."""

import json

import polars as pl
import pytest

import compare_results
from answers import outcomes
from em_tiers.errors import UserError
from em_tiers.report.comparison import (
    Run,
    compare_configurations,
    compare_rates,
    flatten,
    opened,
    pair_judges,
)
from em_tiers.tables import write_table

BASE = "base"
TUNED = "base.fiction.lora.s0"


def write_run(folder, flagged: dict[tuple[str, str], int], judge="judge", config=None):
    """A results folder: of four answers to each (variant, question), so many are misaligned."""
    rows = []
    for (variant, question), bad in flagged.items():
        for index in range(4):
            is_bad = index < bad
            rows.append(
                {
                    "response_key": f"{variant}-{question}-{index}",
                    "variant": variant,
                    "question_id": question,
                    "sample_index": index,
                    "judge": judge,
                    "alignment": 10.0 if is_bad else 90.0,
                    "coherence": 90.0,
                    "flagged": is_bad,
                    "outcome": "persona_shift" if is_bad else "aligned",
                    "tier": "persona_shift" if is_bad else None,
                }
            )
    write_table(outcomes(*rows), folder / "outcomes" / f"{judge}.parquet", "outcomes")
    if config:
        (folder / "provenance").mkdir()
        (folder / "provenance/config.json").write_text(json.dumps(config))
        (folder / "provenance/catalogues.json").write_text("{}")
    return folder


def chosen(rates: pl.DataFrame, variant=TUNED, metric="standard") -> dict:
    return rates.filter(
        (pl.col("variant") == variant)
        & (pl.col("metric") == metric)
        & (pl.col("definition") == "D1")
        & (pl.col("probe_level") == "headline")
    ).row(0, named=True)


def compare(before, after, **named) -> pl.DataFrame:
    with opened(before) as first, opened(after) as second:
        return compare_rates(first, second, **named)


def test_a_difference_is_over_the_questions_in_common(tmp_path):
    before = write_run(
        tmp_path / "a", {(TUNED, "wish"): 2, (TUNED, "bored"): 1, (TUNED, "only-a"): 4}
    )
    after = write_run(
        tmp_path / "b", {(TUNED, "wish"): 4, (TUNED, "bored"): 3, (TUNED, "only-b"): 0}
    )
    row = chosen(compare(before, after))
    # in common: wish and bored. Before (2 + 1) / 8, after (4 + 3) / 8.
    assert row["before"] == 0.375
    assert row["after"] == 0.875
    assert row["difference"] == 0.5
    assert row["low"] < 0.5 < row["high"]
    # both questions rise by 0.5: of the four sign patterns two are as extreme
    assert row["p_value"] == 0.5
    assert (row["questions"], row["questions_before"], row["questions_after"]) == (2, 3, 3)
    assert (row["n_before"], row["n_after"]) == (8, 8)


def test_the_same_run_twice_differs_by_nothing(tmp_path):
    run = write_run(tmp_path / "a", {(TUNED, "wish"): 2, (BASE, "wish"): 0})
    rates = compare(run, run)
    assert set(rates["difference"].drop_nulls()) == {0.0}
    assert set(rates["p_value"].drop_nulls()) == {1.0}
    row = chosen(rates, BASE)
    assert row["low"] < 0 < row["high"]


def test_without_a_question_in_common_there_is_no_difference(tmp_path):
    before = write_run(tmp_path / "a", {(TUNED, "wish"): 2})
    after = write_run(tmp_path / "b", {(TUNED, "bored"): 1})
    row = chosen(compare(before, after))
    assert (row["before"], row["after"], row["questions"]) == (0.5, 0.25, 0)
    assert row["difference"] is row["low"] is row["p_value"] is row["p_adjusted"] is None


def test_the_same_answers_under_another_judge_are_paired_by_answer(tmp_path):
    eight = [f"q{i}" for i in range(8)]
    before = write_run(tmp_path / "a", {(TUNED, q): i % 4 for i, q in enumerate(eight)})

    def after(name: str, rises: list[int]) -> dict:
        flagged = {(TUNED, q): i % 4 + rises[i] for i, q in enumerate(eight)}
        return chosen(compare(before, write_run(tmp_path / name, flagged)))

    row = after("b", [2, 1, 1, 0, 1, 1, 1, 1])
    # Rises of 4 answers each: mean 1, sd sqrt(2 / 7); t = 2.3646 with 7 degrees of freedom.
    half = 2.364624 * (2 / 7) ** 0.5 / 4 / 8**0.5
    assert (row["method"], row["difference"]) == ("paired_t", 0.25)
    assert (row["low"], row["high"]) == pytest.approx((0.25 - half, 0.25 + half), abs=1e-6)
    # Too few changed, or all alike: an interval keeps its width.
    for name, rises in (("c", [1, 1, 1, 0, 1, 1, 0, 0]), ("d", [1] * 8)):
        row = after(name, rises)
        assert row["method"] == "paired"
        assert row["low"] < row["difference"] < row["high"]


def test_p_values_are_adjusted_over_the_variants(tmp_path):
    six = [f"q{i}" for i in range(6)]
    before = write_run(tmp_path / "a", {(v, q): 0 for v in (BASE, TUNED) for q in six})
    after = write_run(
        tmp_path / "b", {(v, q): 4 * (v == TUNED) for v in (BASE, TUNED) for q in six}
    )
    rates = compare(before, after)
    # all six differences positive: 2 of 2^6 sign patterns; Holm over two variants doubles it
    assert chosen(rates)["p_value"] == 2 / 64
    assert chosen(rates)["p_adjusted"] == 4 / 64
    assert chosen(rates, BASE)["p_adjusted"] == 1


def test_judges_are_paired_by_name_else_the_only_ones_else_as_told():
    assert pair_judges(["a", "b"], ["b", "c"]) == [("b", "b")]
    assert pair_judges(["a"], ["b"]) == [("a", "b")]
    assert pair_judges(["a", "b"], ["c", "d"], [("b", "c")]) == [("b", "c")]
    with pytest.raises(UserError, match="--judges BEFORE=AFTER"):
        pair_judges(["a", "b"], ["c", "d"])
    with pytest.raises(UserError, match="not in these runs"):
        pair_judges(["a"], ["b"], [("x", "b")])


def test_answers_without_a_verdict_and_variants_of_one_run_are_named(tmp_path, capsys):
    before = write_run(tmp_path / "a", {(TUNED, "wish"): 2, (BASE, "wish"): 1})
    after = write_run(tmp_path / "b", {(TUNED, "wish"): 2})
    path = after / "outcomes" / "judge.parquet"
    lost = pl.col("sample_index") == 3
    nothing = {"alignment": None, "coherence": None, "outcome": pl.lit("unscored")}
    frame = pl.read_parquet(path).with_columns(
        pl.when(lost).then(value).otherwise(name).alias(name) for name, value in nothing.items()
    )
    write_table(frame, path, "outcomes")
    row = chosen(compare(before, after))
    assert (row["unscored_before"], row["unscored_after"]) == (0, 1)
    compare_results.main(before, after, tmp_path / "out", [])
    assert "only one run has them: base." in capsys.readouterr().out


def test_printed_differences_of_a_comparison_add_up(tmp_path, capsys):
    names = ["wish", "bored", "ruler"]  # 7 and 5 of 12: 0.5833, 0.4167, and not 0.1667 between
    before, after = (
        write_run(tmp_path / name, {(TUNED, q): n for q, n in zip(names, bad, strict=True)})
        for name, bad in (("a", (3, 2, 2)), ("b", (2, 2, 1)))
    )
    compare_results.main(before, after, tmp_path / "out", [])
    assert "| standard | 0.5833 | 0.4167 | -0.1666 |" in capsys.readouterr().out


def test_settings_are_compared_by_dotted_key():
    before = Run("a", [], {"judges": ["x"], "sampling": {"seed": 0}}, {"judges": {"x": {"n": 1}}})
    after = Run("b", [], {"judges": ["y"], "sampling": {"seed": 0}}, {"judges": {}})
    rows = compare_configurations(before, after).rows()
    assert rows == [
        ("config.judges", '["x"]', '["y"]'),
        ("judges", None, "{}"),
        ("judges.x.n", "1", None),
    ]
    assert flatten({"a": [{"b": 1}, {"b": 2}]}) == {"a.0.b": "1", "a.1.b": "2"}


def test_the_command_writes_page_and_tables(tmp_path, capsys):
    config = {"judges": ["first"], "tiers": {"strict_counts": ["persona_shift"]}}
    before = write_run(tmp_path / "a", {(TUNED, "wish"): 2}, "first", config)
    after = write_run(
        tmp_path / "b", {(TUNED, "wish"): 3}, "second", config | {"judges": ["second"]}
    )
    assert compare_results.main(before, after, tmp_path / "out", []) == 0
    page = (tmp_path / "out/comparison.md").read_text()
    assert "| config.judges |" in page
    assert "| first | second | standard | 0.5 | 0.75 | 0.25 |" in page
    assert len(pl.read_csv(tmp_path / "out/rates.csv")) > 2
    assert compare_results.main(before, tmp_path / "none", tmp_path / "out", []) == 1
    assert "no such file" in capsys.readouterr().err
