"""Paired differences: intervals from two intervals, and p-values from sign flips."""

import numpy as np
import polars as pl
import pytest
from statsmodels.stats.multitest import multipletests
from test_rates import SETTINGS, TUNED, VARIANTS, answers

from em_tiers.statistics.differences import (
    correlation_of,
    holm,
    mover,
    sign_flip,
    significance_warning,
    summarize_differences,
)
from em_tiers.statistics.intervals import Interval, wilson
from em_tiers.statistics.rates import count_cells, variant_table


def proportion(hits, n):
    low, high = wilson(hits / n, n)
    return Interval(hits / n, low, high, "wilson", n, 1, 1.0, n)


def test_mover_is_newcombes_score_interval():
    # Newcombe 1998, table II, method 10: 56/70 - 48/80 = 0.2 has the interval 0.0524 to 0.3339.
    low, high = mover(proportion(56, 70), proportion(48, 80), 0.0)
    assert (round(low, 4), round(high, 4)) == (0.0524, 0.3339)


def test_correlation_narrows_and_never_closes_the_interval():
    pair = proportion(56, 70), proportion(48, 80)
    widths = [np.diff(mover(*pair, r))[0] for r in (0.0, 0.4, 0.8)]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] > 0.1


def test_correlation_bounds():
    assert correlation_of([0.1, 0.2, 0.3], [0.1, 0.2, 0.3]) == 0.8
    assert correlation_of([0.1, 0.2, 0.3], [0.3, 0.2, 0.1]) == 0
    assert correlation_of([0.0, 0.0, 0.0], [0.3, 0.2, 0.1]) == 0


def test_sign_flips_by_hand():
    # 3 questions: 8 sign patterns; only +++ and --- reach the sum 6: p = 2 / 8.
    assert sign_flip(np.array([1.0, 2.0, 3.0])) == 0.25
    # Sums that reach |1 + 2 - 1| = 2: of (+-1, +-2, +-1) 4, 2, 2, 0, 0, -2, -2, -4: p = 6 / 8.
    assert sign_flip(np.array([1.0, 2.0, -1.0])) == 0.75
    assert sign_flip(np.zeros(5)) == 1.0


def test_many_questions_are_drawn_with_a_seed():
    differences = np.random.default_rng(0).normal(0.3, 1, 40)
    first = sign_flip(differences, seed=1)
    assert first == sign_flip(differences, seed=1)
    assert 0 < first < 0.3


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
