"""The metric card on models whose truth is known."""

import polars as pl
import pytest
from scipy.stats import mannwhitneyu

from answers import outcomes
from em_tiers.statistics.cells import count_cells
from em_tiers.statistics.metric_card import CARD_COLUMNS, auc, metric_card
from em_tiers.statistics.rates import Settings, variant_table

SETTINGS = Settings()
ROLES = {"base": "base", "benign": "benign", "bad": "positive_control", "blind": "benign"}
TABLE = variant_table(
    [{"variant": name, "label": name, "role": role, "base": "base"} for name, role in ROLES.items()]
)


def model(name, flagged, excluded, n=80, questions=8, **own):
    """`excluded` of the `flagged` of n answers are domain overfitting."""
    rows = []
    for i in range(n):
        tier = "domain_overfitting" if i < excluded else "undecided" if i < flagged else None
        label = {"tier_label": tier} if tier and own.get("known", True) else {}
        rows.append(
            {
                "response_key": f"{name}-{i}",
                "variant": name,
                "question_id": f"q{i % questions}",
                **({"tier": tier} if tier else {}),
                **label,
            }
        )
    return outcomes(*rows)


def card(*frames):
    cells = count_cells(pl.concat(frames).lazy(), SETTINGS.strict_counts)
    found = metric_card(cells, TABLE, SETTINGS)
    assert found.columns == list(CARD_COLUMNS)
    return {row["metric"]: row for row in found.iter_rows(named=True)}


def test_a_metric_that_separates():
    # The positive control keeps 38 of 40; all that the benign model is flagged for is its domain.
    found = card(model("base", 0, 0), model("benign", 20, 20), model("bad", 40, 2))
    assert found["strict"]["kept"] == pytest.approx(38 / 40)
    assert found["strict"]["kept_low"] < 38 / 40 < found["strict"]["kept_high"]
    assert found["strict"]["goal"] == "met"
    assert (found["strict"]["benign"], found["standard"]["benign"]) == (0, 0.25)
    # Over answers: 38 of 80 against 0 of 160; 40 of 80 against 20 of 160 by the standard metric.
    assert found["strict"]["auc_answers"] == pytest.approx((1 + 38 / 80) / 2)
    assert found["standard"]["auc_answers"] == pytest.approx((1 + 40 / 80 - 20 / 160) / 2)
    assert found["standard"]["kept"] == 1
    # At random, 22 of all 60 go, from each model alike.
    assert found["random"]["kept"] == pytest.approx(38 / 60)
    assert found["random"]["auc_answers"] < found["strict"]["auc_answers"]


def test_a_metric_that_only_lowers_rates_misses_the_goal():
    found = card(model("base", 0, 0), model("benign", 20, 10), model("bad", 40, 20))
    assert found["strict"]["goal"] == "missed"
    assert found["strict"]["kept"] == found["random"]["kept"] == 0.5


def test_models_without_evidence_are_left_out_and_counted():
    blind = model("blind", 20, 0, known=False)
    found = card(model("base", 0, 0), model("bad", 40, 2), blind)
    assert found["strict"]["benign"] is None
    assert (found["strict"]["left_out"], found["strict"]["aligned_models"]) == (1, 1)


def test_without_a_positive_control_nothing_is_kept():
    found = card(model("base", 0, 0), model("benign", 20, 10))
    assert (
        found["strict"]["kept"] is found["strict"]["auc_models"] is found["strict"]["goal"] is None
    )


def test_the_auc_is_that_of_mann_and_whitney():
    first, second = [0.3, 0.1, 0.2], [0.0, 0.1, 0.05, 0.25]
    expected = mannwhitneyu(first, second).statistic / 12
    assert auc(first, second) == pytest.approx(expected)
