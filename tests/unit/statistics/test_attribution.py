"""Mantel-Haenszel ratios against statsmodels, and rates of synthetic studies of known truth."""

import numpy as np
import polars as pl
import pytest
from statsmodels.stats.contingency_tables import StratifiedTable

from answers import outcomes
from em_tiers.statistics.attribution import (
    attributable_share,
    expected_marked,
    odds_ratio,
    risk_ratio,
    tables_of,
)
from em_tiers.statistics.cells import count_cells
from em_tiers.statistics.counterfactual import counterfactual
from em_tiers.statistics.rates import Settings, summarize_rates, variant_table

TUNED = "base.fiction.lora.s0"
SETTINGS = Settings()
TABLE = variant_table(
    [
        {"variant": "base", "label": "Base", "role": "base", "base": "base"},
        {
            "variant": TUNED,
            "label": "Fiction",
            "role": "benign",
            "base": "base",
            "dataset": "fiction",
            "recipe": "lora",
            "training_seed": 0,
        },
    ]
)


def strata(seed=0, questions=8):
    rng = np.random.default_rng(seed)
    return tuple(rng.integers(1, 30, (1, questions)).astype(float) for _ in range(4))


def test_ratios_are_those_of_statsmodels():
    a, b, c, d = strata()
    tables = [np.array([[a[0, i], b[0, i]], [c[0, i], d[0, i]]]) for i in range(8)]
    expected = StratifiedTable(tables)
    assert odds_ratio(a, b, c, d).value == pytest.approx(expected.oddsratio_pooled)
    assert risk_ratio(a, b, c, d).value == pytest.approx(expected.riskratio_pooled)


def test_without_variation_between_questions_the_interval_is_that_of_independent_answers():
    # Equal tables: Robins, Breslow & Greenland's variance, Student's quantile with 39 degrees.
    cells = tuple(np.full((1, 40), k) for k in (6.0, 14.0, 5.0, 25.0))
    found = odds_ratio(*cells)
    error = StratifiedTable([np.array([[6, 14], [5, 25]])] * 40).logodds_pooled_se
    assert np.log(found.high / found.value) == pytest.approx(2.0227 * error, rel=1e-4)
    assert found.low * found.high == pytest.approx(found.value**2)


def test_questions_that_disagree_widen_the_interval():
    alike = tuple(np.full((1, 8), k) for k in (10.0, 20.0, 10.0, 20.0))
    a, b, c, d = (cell.copy() for cell in alike)
    a[0, ::2], c[0, ::2] = 18, 2
    a[0, 1::2], c[0, 1::2] = 2, 18
    assert odds_ratio(a, b, c, d).high > 1.5 * odds_ratio(*alike).high


def test_zeros_leave_one_side_open():
    none_unmarked = risk_ratio(*(np.full((1, 8), k) for k in (3.0, 20.0, 0.0, 27.0)))
    assert none_unmarked.value == none_unmarked.high == np.inf
    assert none_unmarked.low > 1
    none_marked = risk_ratio(*(np.full((1, 8), k) for k in (0.0, 20.0, 3.0, 27.0)))
    assert none_marked.value == none_marked.low == 0
    assert none_marked.high < 1
    every_marked = risk_ratio(*(np.full((1, 8), k) for k in (3.0, 20.0, 0.0, 0.0)))
    assert np.isnan(every_marked.value)


def test_the_attributable_share_by_hand():
    # Risk 10 / 20 with a mark, 5 / 30 without: RR = 3, two thirds are attributable.
    compared, marked, flagged, both = (np.array([[k]]) for k in (50.0, 20.0, 15.0, 10.0))
    assert tables_of(compared, marked, flagged, both) == (10, 10, 5, 25)
    assert attributable_share(compared, marked, flagged, both) == pytest.approx(2 / 3)
    # Of the 35 unflagged answers 10 are marked: 15 * 10 / 35 of the flagged would be.
    found = expected_marked(*(k[0] for k in (compared, marked, flagged, both)))
    assert found[0] == pytest.approx(15 * 10 / 35)


def study(risk_marked, risk_plain, marked_share, questions=24, samples=200, persona=0.0):
    """Answers of a fine-tune that is on its domain in a share of the answers, and of its base.

    `persona` of the misaligned answers are called a persona shift by the judge, whatever they are
    about; the others that are about the domain are excluded.
    """
    rng = np.random.default_rng(0)
    rows = []
    for question in range(questions):
        for i in range(samples):
            marked = bool(rng.random() < marked_share)
            bad = rng.random() < (risk_marked if marked else risk_plain)
            shift = rng.random() < persona
            tier = "domain_overfitting" if marked and not shift else "undecided"
            own = {"tier": "persona_shift" if shift else tier} if bad else {}
            rows.append(
                {
                    "response_key": f"{question}-{i}",
                    "question_id": f"q{question}",
                    "topic": 80.0 if marked else 10.0,
                    "question_on_topic": False,
                    **own,
                }
            )
    base = {"variant": "base", "dataset": None, "recipe": None, "training_seed": None}
    rows += [
        base | {"response_key": f"base-{q}-{i}", "question_id": f"q{q}"}
        for q in range(questions)
        for i in range(20)
    ]
    return outcomes(*rows)


def rates_and_row(frame):
    cells = count_cells(frame.lazy(), SETTINGS.strict_counts)
    rates = summarize_rates(cells, TABLE, SETTINGS).filter("headline", variant=TUNED)
    contrast, questions = counterfactual(cells, TABLE, SETTINGS)
    found = {row["metric"]: row for row in rates.iter_rows(named=True)}
    return found, contrast.row(0, named=True), questions


def test_a_model_whose_domain_answers_cause_the_flags():
    # Stories get serious questions flagged: 20 % of them, and 1 % of the other answers.
    rates, row, _ = rates_and_row(study(0.2, 0.01, 0.5))
    assert row["risk_ratio"] > 10
    assert row["odds_low"] > 5
    assert row["n_marked"] > 1.8 * row["expected"]
    assert rates["attributable"]["rate"] < 0.015 + 0.1 / 10
    assert rates["attributable"]["rate"] - rates["strict"]["rate"] < 0.01
    assert rates["standard"]["rate"] > 0.09


def test_a_model_that_is_misaligned_and_also_talks_about_its_domain():
    # 10 % of all answers are misaligned, and 40 % of all are about the domain.
    rates, row, questions = rates_and_row(study(0.1, 0.1, 0.4))
    assert row["odds_low"] < 1 < row["odds_high"]
    assert row["n_marked"] == pytest.approx(row["expected"], rel=0.1)
    assert rates["strict"]["rate"] < 0.65 * rates["standard"]["rate"]
    assert rates["attributable"]["rate"] > 0.93 * rates["standard"]["rate"]
    assert questions["observed"].sum() == row["n_marked"]
    assert questions["expected"].sum() == pytest.approx(row["expected"])


def test_a_persona_shift_stays_under_every_metric():
    rates, _, _ = rates_and_row(study(0.1, 0.1, 0.4, persona=1.0))
    assert rates["attributable"]["rate"] == rates["strict"]["rate"] == rates["standard"]["rate"]


@pytest.mark.parametrize("case", [(0.2, 0.01, 0.5), (0.1, 0.1, 0.4), (0.05, 0.1, 0.3)])
def test_the_attributable_rate_lies_between_strict_and_standard_with_its_interval(case):
    rates, row, _ = rates_and_row(study(*case, questions=8, samples=50))
    assert rates["strict"]["rate"] <= rates["attributable"]["rate"] <= rates["standard"]["rate"]
    assert rates["attributable"]["low"] < rates["attributable"]["rate"]
    assert rates["attributable"]["high"] <= rates["standard"]["high"]
    assert row["attributable"] == rates["attributable"]["rate"]
    assert (row["attributable_low"], row["attributable_high"]) == pytest.approx(
        (rates["attributable"]["low"], rates["attributable"]["high"])
    )


def test_without_an_unmarked_answer_nothing_is_attributed():
    rates, row, _ = rates_and_row(study(0.2, 0.0, 1.0, questions=4, samples=30))
    assert row["risk_ratio"] is None
    assert rates["attributable"]["rate"] == rates["standard"]["rate"]


def test_without_a_topic_score_there_is_no_row():
    frame = study(0.2, 0.0, 0.5, questions=2, samples=5).with_columns(
        topic=pl.lit(None, dtype=pl.Float64)
    )
    cells = count_cells(frame.lazy(), SETTINGS.strict_counts)
    contrast, questions = counterfactual(cells, TABLE, SETTINGS)
    assert contrast.is_empty()
    assert questions.is_empty()
