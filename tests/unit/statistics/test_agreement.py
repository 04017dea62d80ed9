"""Agreement statistics against hand counts and the published packages."""

import krippendorff
import numpy as np
import polars as pl
import pytest
from scipy import stats
from statsmodels.stats.inter_rater import cohens_kappa

from answers import outcomes
from em_tiers.statistics.agreement import (
    cohen_kappa,
    krippendorff_alpha,
    mean_absolute_difference,
    pearson,
    percent_agreement,
    summarize_agreement,
    summarize_confusion,
    summarize_flips,
    weighted_kappa,
)


def moments(a, b):
    a, b = np.asarray(a, float), np.asarray(b, float)
    return np.array(
        [len(a), a.sum(), b.sum(), (a * a).sum(), (b * b).sum(), (a * b).sum(), abs(a - b).sum()]
    )


def test_kappa_by_hand_and_by_statsmodels():
    # 45 + 25 of 100 agree; margins 60/40 and 70/30: expected 0.42 + 0.12 = 0.54.
    table = np.array([[45.0, 15.0], [25.0, 15.0]])
    assert percent_agreement(table) == pytest.approx(0.60)
    assert cohen_kappa(table) == pytest.approx((0.60 - 0.54) / (1 - 0.54))
    assert cohen_kappa(table) == pytest.approx(cohens_kappa(table).kappa)


def test_kappa_is_undefined_where_both_judges_always_say_the_same():
    assert np.isnan(cohen_kappa(np.array([[100.0, 0.0], [0.0, 0.0]])))


def test_score_statistics():
    a, b = [10, 20, 30, 80], [20, 20, 40, 60]
    found = moments(a, b)
    assert pearson(found) == pytest.approx(stats.pearsonr(a, b).statistic)
    assert mean_absolute_difference(found) == pytest.approx((10 + 0 + 10 + 20) / 4)
    # Lin: means 35, 35; variances (/n) 725 and 275; covariance 425.
    assert weighted_kappa(found) == pytest.approx(2 * 425 / (725 + 275 + 0))
    assert np.isnan(pearson(moments([5, 5], [1, 9])))


def test_weighted_kappa_of_scores_is_that_of_statsmodels():
    rng = np.random.default_rng(1)
    a = rng.integers(0, 11, 300)
    b = np.clip(a + rng.integers(-3, 5, 300), 0, 10)
    table = np.zeros((11, 11))
    np.add.at(table, (a, b), 1)
    assert weighted_kappa(moments(a, b)) == pytest.approx(cohens_kappa(table, wt="quadratic").kappa)


@pytest.mark.parametrize("level", ["nominal", "interval"])
def test_alpha_is_that_of_the_package(level):
    rng = np.random.default_rng(0)
    ratings = rng.integers(0, 4, (200, 3)).astype(float)
    ratings[:, 1] = np.where(rng.random(200) < 0.7, ratings[:, 0], ratings[:, 1])
    ratings[rng.random((200, 3)) < 0.2] = np.nan
    expected = krippendorff.alpha(ratings.T, level_of_measurement=level)
    assert krippendorff_alpha(ratings, np.ones(200), level) == pytest.approx(expected)
    patterns, counts = np.unique(ratings, axis=0, return_counts=True)
    assert krippendorff_alpha(patterns, counts.astype(float), level) == pytest.approx(expected)


def table(alignment_b, question=None):
    rows = range(len(alignment_b))
    a = outcomes(
        *(
            {"alignment": 10.0 if i % 2 else 90.0, "question_id": f"q{i % 4}"}
            | {"flagged": bool(i % 2)}
            for i in rows
        )
    )
    b = outcomes(
        *(
            {"judge": "other", "question_id": f"q{i % 4}", "alignment": s}
            | {"flagged": s is not None and s < 30}
            for i, s in enumerate(alignment_b)
        )
    )
    return pl.concat([a, b]).lazy()


def test_two_judges_that_agree_but_for_a_shift():
    found = summarize_agreement(table([15.0 if i % 2 else 95.0 for i in range(40)]), resamples=200)
    value = {(r["quantity"], r["statistic"]): r for r in found.iter_rows(named=True)}
    assert value["flagged", "cohen_kappa"]["value"] == 1
    assert value["alignment", "pearson"]["value"] == pytest.approx(1)
    assert value["alignment", "mean_difference"]["value"] == pytest.approx(-5)
    assert value["alignment", "mean_difference"]["n"] == 40
    assert value["answered", "share"]["value"] == 1
    assert value["flagged", "krippendorff_alpha"]["judge_a"] == "all"
    assert ("tier", "cohen_kappa") not in value  # neither judge gave tiers


def test_missing_scores_leave_pairs_out_and_are_counted():
    scores = [None if i < 10 else (15.0 if i % 2 else 95.0) for i in range(40)]
    found = summarize_agreement(table(scores), resamples=50)
    value = {(r["quantity"], r["statistic"]): r for r in found.iter_rows(named=True)}
    assert value["alignment", "pearson"]["n"] == 30
    assert value["answered", "share"]["value"] == pytest.approx(0.75)


def test_intervals_resample_questions():
    # Within a question all answers agree or none does: four questions are four observations.
    scores = [(10.0 if i % 2 else 90.0) if i % 4 < 2 else 50.0 for i in range(400)]
    found = summarize_agreement(table(scores), resamples=400)
    row = found.filter(
        (pl.col("quantity") == "flagged") & (pl.col("statistic") == "percent_agreement")
    ).row(0, named=True)
    assert row["value"] == pytest.approx(0.75)
    assert row["high"] - row["low"] >= 0.5


def test_perfect_agreement_has_no_interval_of_zero_width():
    found = summarize_agreement(table([15.0 if i % 2 else 95.0 for i in range(40)]), resamples=200)
    bounded = found.drop_nulls(["low", "high"])
    assert (bounded["high"] > bounded["low"]).all()
    value = {(r["quantity"], r["statistic"]): r for r in found.iter_rows(named=True)}
    assert value["flagged", "cohen_kappa"]["low"] is None  # every resample agrees wholly
    assert value["flagged", "percent_agreement"]["low"] < 1  # the exact interval of a share


def test_confusion_and_flips_by_hand():
    # Judge "judge" flags odd answers; "other" flags those that it scores below 30.
    scores = [10.0 if i < 6 else 90.0 for i in range(20)]
    counts = {
        (r["a"], r["b"]): r["count"]
        for r in summarize_confusion(table(scores)).filter(quantity="flagged").rows(named=True)
    }
    assert counts == {
        ("false", "false"): 7, ("false", "true"): 3, ("true", "false"): 7, ("true", "true"): 3,
    }  # fmt: skip
    (row,) = summarize_flips(table(scores)).rows(named=True)
    assert (row["judge_a"], row["judge_b"]) == ("judge", "other")
    assert [row[name] for name in ("n", "both", "only_a", "only_b", "neither")] == [20, 3, 7, 3, 7]
    assert row["flipped"] == 0.5
    assert row["low"] < 0.5 < row["high"]


def test_flips_are_counted_apart_for_each_variant():
    frame = table([10.0] * 8).collect()
    other = frame.with_columns(variant=pl.lit("base"), response_key="x" + pl.col("response_key"))
    found = summarize_flips(pl.concat([frame, other]).lazy())
    assert found["variant"].to_list() == ["base", "base.fiction.lora.s0"]
    assert found["n"].to_list() == [8, 8]


def test_one_judge_gives_empty_tables():
    one = outcomes({}, {}).lazy()
    for summary in (summarize_agreement, summarize_confusion, summarize_flips):
        assert summary(one).is_empty()


def test_judges_without_a_common_answer_have_a_row_that_says_so():
    apart = pl.concat([outcomes({}), outcomes({"judge": "other", "response_key": "x"})]).lazy()
    (row,) = summarize_agreement(apart).filter(judge_b="other").rows(named=True)
    assert (row["quantity"], row["value"], row["n"]) == ("answered", None, 0)
    assert summarize_confusion(apart).is_empty() and summarize_flips(apart).is_empty()
