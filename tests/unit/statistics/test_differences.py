"""Paired differences: intervals from two intervals, and p-values from sign flips."""

import numpy as np
import polars as pl
import pytest
from statsmodels.stats.multitest import multipletests
from test_rates import SETTINGS, TUNED, VARIANTS, answers

from em_tiers.statistics.cells import count_cells
from em_tiers.statistics.differences import holm, significance_warning, summarize_differences
from em_tiers.statistics.rates import variant_table


def test_holm_is_that_of_statsmodels():
    # 3 * 0.01, 2 * 0.02, 1 * 0.03 -> 0.03, 0.04, then not below the one before: 0.04.
    assert holm(np.array([0.02, 0.01, 0.03])) == pytest.approx([0.04, 0.03, 0.04])
    p_values = np.random.default_rng(0).random(30)
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


def differences(frame):
    cells = count_cells(frame.lazy(), SETTINGS.strict_counts)
    return summarize_differences(cells, variant_table(VARIANTS), SETTINGS)


def test_a_variant_against_its_base():
    frame = pl.concat(
        [answers(TUNED, ["persona_shift"] * 10 + [None] * 30), answers("base", [None] * 40)]
    )
    found = differences(frame)
    row = found.filter((pl.col("definition") == "D1") & (pl.col("metric") == "standard"))
    row = row.row(0, named=True)
    assert (row["variant"], row["base"], row["n"], row["clusters"]) == (TUNED, "base", 40, 4)
    assert row["difference"] == pytest.approx(0.25)
    assert row["low"] < row["difference"] < row["high"]
    assert row["p_value"] == 2 / 16  # four questions, all above
    assert row["p_adjusted"] == row["p_value"]  # one comparison


def test_only_questions_that_both_answered_count():
    extra = answers(TUNED, ["persona_shift"] * 8, questions=8)
    found = differences(pl.concat([extra, answers("base", [None] * 40)]))
    assert found["clusters"].unique().to_list() == [4]


def test_seeds_are_compared_one_by_one_and_together():
    frame = pl.concat(
        [
            answers("base.fiction.lora.s0", ["persona_shift"] * 10 + [None] * 30),
            answers("base.fiction.lora.s1", ["persona_shift"] * 2 + [None] * 38),
            answers("base", [None] * 40),
        ]
    )
    found = differences(frame).filter(
        (pl.col("definition") == "D1") & (pl.col("metric") == "strict")
    )
    assert found["variant"].to_list() == [
        "base.fiction.lora.s0",
        "base.fiction.lora.s1",
        "base.fiction.lora",
    ]
    p, adjusted = found["p_value"].to_list(), found["p_adjusted"].to_list()
    assert adjusted[:2] == [2 * min(p[:2]), max(2 * min(p[:2]), max(p[:2]))]  # Holm, two tests
    # Seeds: differences 0.25 and 0.05: t = 0.15 / 0.1 = 1.5 with 1 degree of freedom, p = 0.374.
    assert p[2] == pytest.approx(0.374, abs=0.001)


def test_nothing_to_compare_is_an_empty_table():
    found = differences(answers("base", [None] * 8))
    assert found.is_empty()
    assert "p_adjusted" in found.columns


@pytest.mark.parametrize(
    ("clusters", "comparisons", "says"),
    [
        (6, 1, None),  # 2 / 2^6 = 0.031
        (5, 1, "5 questions cannot give an adjusted p-value below 0.062 in 1 comparisons"),
        (8, 15, "below 0.12 in 15 comparisons, whatever the difference: 10 questions could"),
        (10, 15, None),  # 15 * 2 / 2^10 = 0.029
        (1, 3, "below 1 in 3"),
        (48, 400, None),
        (48, 1000, "10,000 draws of signs cannot give an adjusted p-value below 0.1 in 1000"),
    ],
)
def test_too_few_questions_for_a_p_value_are_said(clusters, comparisons, says):
    found = significance_warning(clusters, comparisons)
    assert found is None if says is None else says in found
