"""Agreement statistics against hand counts and the published packages."""

import krippendorff
import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scipy import stats
from statsmodels.stats.inter_rater import cohens_kappa

from answers import outcomes
from em_tiers.statistics.agreement import (
    count_pairs,
    summarize_agreement,
    summarize_confusion,
    summarize_flips,
)
from em_tiers.statistics.agreement_measures import (
    cohen_kappa,
    coincidences_by_question,
    krippendorff_alpha,
    mean_absolute_difference,
    pearson,
    percent_agreement,
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


def alpha_of(ratings, counts, level, questions=3):
    question = np.arange(len(counts)) % questions
    values, matrices = coincidences_by_question(ratings, counts, question)
    return krippendorff_alpha(values, matrices.sum(axis=0), level)


@pytest.mark.parametrize("level", ["nominal", "interval"])
def test_alpha_is_that_of_the_package(level):
    rng = np.random.default_rng(0)
    ratings = rng.integers(0, 4, (200, 3)).astype(float)
    ratings[:, 1] = np.where(rng.random(200) < 0.7, ratings[:, 0], ratings[:, 1])
    ratings[rng.random((200, 3)) < 0.2] = np.nan
    expected = krippendorff.alpha(ratings.T, level_of_measurement=level)
    assert alpha_of(ratings, np.ones(200), level) == pytest.approx(expected)
    patterns, counts = np.unique(ratings, axis=0, return_counts=True)
    assert alpha_of(patterns, counts.astype(float), level) == pytest.approx(expected)


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
            | ({"outcome": "unscored"} if s is None else {})
            for i, s in enumerate(alignment_b)
        )
    )
    return pl.concat([a, b]).lazy()


def pooled(found):
    """Rows over all variants, by quantity and statistic."""
    rows = found.filter(variant="all").iter_rows(named=True)
    return {(row["quantity"], row["statistic"]): row for row in rows}


def pair(*cells):
    """Answers of two judges: each cell is a verdict of one, of the other, and how many.

    A verdict is "flagged", "not", or the outcome of an answer without a verdict.
    """
    looks = {"flagged": {"tier": "undecided"}, "not": {}}
    rows = {"judge": [], "other": []}
    for number, verdicts in enumerate(v for a, b, n in cells for v in [(a, b)] * n):
        for judge, said in zip(rows, verdicts, strict=True):
            nothing = {"outcome": said, "alignment": None, "coherence": None}
            named = {"judge": judge, "question_id": f"q{number % 8}"}
            rows[judge].append(named | looks.get(said, nothing))
    return pl.concat([outcomes(*own) for own in rows.values()]).lazy()


# The counts of a public pair of judge back-ends: 400 answers of which one back-end lost 60, 12 of
# them flagged by the other. Its published kappa is that of the 340 that both scored.
PUBLIC_PAIR = (
    ("flagged", "flagged", 124), ("flagged", "not", 6), ("not", "flagged", 5), ("not", "not", 205),
    ("flagged", "unscored", 12), ("not", "unscored", 48),
)  # fmt: skip


def test_an_answer_without_a_verdict_is_no_vote():
    found = pooled(summarize_agreement(pair(*PUBLIC_PAIR), resamples=50))
    kappa, percent = found["flagged", "cohen_kappa"], found["flagged", "percent_agreement"]
    assert kappa["value"] == pytest.approx(0.9314, abs=5e-5)  # .872 as "not flagged"
    assert (kappa["n"], kappa["missing"]) == (percent["n"], percent["missing"]) == (340, 60)
    assert percent["value"] == pytest.approx(329 / 340)
    alpha = found["flagged", "krippendorff_alpha"]
    assert alpha["value"] == pytest.approx(0.9314, abs=1e-3)
    assert (alpha["n"], alpha["missing"]) == (340, 60)
    (row,) = summarize_flips(count_pairs(pair(*PUBLIC_PAIR))).rows(named=True)
    assert [row[name] for name in ("n", "both", "only_a", "only_b", "neither")] == [
        340, 124, 6, 5, 205,
    ]  # fmt: skip
    assert [row[f"missing_{name}"] for name in ("a", "b", "both")] == [0, 60, 0]
    assert row["flipped"] == pytest.approx(11 / 340)


def test_missing_verdicts_are_reported_apart():
    answers = pair(
        ("not", "not", 10), ("flagged", "unscored", 3), ("truncated", "not", 2),
        ("unscored", "truncated", 1),
    )  # fmt: skip
    found = pooled(summarize_agreement(answers, resamples=20))
    shares = {name: found["answered", name] for name in ("share", "only_a", "only_b", "neither")}
    assert [row["value"] for row in shares.values()] == [10 / 16, 3 / 16, 2 / 16, 1 / 16]
    assert {(row["n"], row["missing"]) for row in shares.values()} == {(16, 0)}
    assert found["flagged", "percent_agreement"]["n"] == 10
    assert found["flagged", "cohen_kappa"]["value"] is None  # neither flags any of these
    counts = summarize_confusion(count_pairs(answers))
    assert dict(counts.group_by("quantity").agg(pl.col("count").sum()).iter_rows()) == {
        "flagged": 10, "outcome": 10,
    }  # fmt: skip
    assert not {"unscored", "truncated"} & set(counts["a"])


def test_judges_without_a_verdict_in_common_have_no_agreement():
    answers = pair(("flagged", "unscored", 3), ("unscored", "not", 5))
    found = pooled(summarize_agreement(answers, resamples=20))
    assert {quantity for quantity, _ in found} == {"answered"}
    (row,) = summarize_flips(count_pairs(answers)).rows(named=True)
    assert (row["n"], row["missing_a"], row["missing_b"]) == (0, 5, 3)
    assert (row["flipped"], row["low"], row["high"]) == (None, None, None)
    assert summarize_confusion(count_pairs(answers)).is_empty()


def test_a_refusal_is_a_verdict():
    found = pooled(summarize_agreement(pair(("refusal", "not", 4), ("flagged", "not", 1))))
    assert found["flagged", "percent_agreement"]["n"] == 5
    assert found["answered", "share"]["value"] == 1


def test_each_variant_has_its_own_rows():
    first = pair(("flagged", "flagged", 10), ("not", "not", 10)).collect()
    second = pair(("flagged", "not", 5), ("not", "flagged", 5), ("not", "unscored", 2)).collect()
    second = second.with_columns(variant=pl.lit("b"), response_key="b" + pl.col("response_key"))
    found = summarize_agreement(pl.concat([first, second]).lazy(), resamples=20)
    kappas = found.filter(quantity="flagged", statistic="cohen_kappa")
    rows = {row["variant"]: row for row in kappas.rows(named=True)}
    assert list(rows) == ["all", "b", "base.fiction.lora.s0"]
    assert rows["base.fiction.lora.s0"]["value"] == 1
    assert (rows["b"]["value"], rows["b"]["n"], rows["b"]["missing"]) == (-1, 10, 2)
    assert (rows["all"]["n"], rows["all"]["missing"]) == (30, 2)
    assert rows["all"]["value"] == pytest.approx(2 / 3 - 1 / 3)
    pooled_first = found["variant"].to_list()
    assert pooled_first == sorted(pooled_first, key=lambda name: name != "all")


def test_a_persons_outcome_is_no_agreement_of_judges():
    label = {"tier": "persona_shift", "human_tier": "persona_shift", "assigned_by": "human"}
    answers = pl.concat(
        [outcomes(*({"judge": judge, **label} for _ in range(4)), {}) for judge in "ab"]
    ).with_columns(judge=pl.Series(["a"] * 5 + ["b"] * 5))
    found = pooled(summarize_agreement(answers.lazy(), resamples=20))
    assert found["outcome", "percent_agreement"]["n"] == 1
    assert found["flagged", "percent_agreement"]["n"] == 5


def test_answers_of_one_judge_are_not_in_the_n_of_all_judges():
    both = pair(*PUBLIC_PAIR).collect()
    alone = outcomes(*({"response_key": f"x{i}", "question_id": "other"} for i in range(50)))
    found = pooled(summarize_agreement(pl.concat([both, alone]).lazy(), resamples=20))
    alpha = found["flagged", "krippendorff_alpha"]
    assert (alpha["n"], alpha["missing"]) == (340, 60)


def test_two_judges_that_agree_but_for_a_shift():
    found = summarize_agreement(table([15.0 if i % 2 else 95.0 for i in range(40)]), resamples=200)
    value = pooled(found)
    assert value["flagged", "cohen_kappa"]["value"] == 1
    assert value["alignment", "pearson"]["value"] == pytest.approx(1)
    assert value["alignment", "mean_difference"]["value"] == pytest.approx(-5)
    assert value["alignment", "mean_difference"]["n"] == 40
    assert value["answered", "share"]["value"] == 1
    assert value["flagged", "krippendorff_alpha"]["judge_a"] == "all"
    assert ("tier", "cohen_kappa") not in value  # neither judge gave tiers


def test_missing_scores_leave_pairs_out_and_are_counted():
    scores = [None if i < 10 else (15.0 if i % 2 else 95.0) for i in range(40)]
    value = pooled(summarize_agreement(table(scores), resamples=50))
    assert value["alignment", "pearson"]["n"] == 30
    assert value["answered", "share"]["value"] == pytest.approx(0.75)


def test_intervals_resample_questions():
    # Within a question all answers agree or none does: four questions are four observations.
    scores = [(10.0 if i % 2 else 90.0) if i % 4 < 2 else 50.0 for i in range(400)]
    found = summarize_agreement(table(scores), resamples=400)
    row = pooled(found)["flagged", "percent_agreement"]
    assert row["value"] == pytest.approx(0.75)
    assert row["high"] - row["low"] >= 0.5


def test_perfect_agreement_has_no_interval_of_zero_width():
    found = summarize_agreement(table([15.0 if i % 2 else 95.0 for i in range(40)]), resamples=200)
    bounded = found.drop_nulls(["low", "high"])
    assert (bounded["high"] > bounded["low"]).all()
    value = pooled(found)
    assert value["flagged", "cohen_kappa"]["low"] is None  # every resample agrees wholly
    assert value["flagged", "percent_agreement"]["low"] < 1  # the exact interval of a share


def test_confusion_and_flips_by_hand():
    # Judge "judge" flags odd answers; "other" flags those that it scores below 30.
    scores = [10.0 if i < 6 else 90.0 for i in range(20)]
    counts = {
        (r["a"], r["b"]): r["count"]
        for r in summarize_confusion(count_pairs(table(scores)))
        .filter(quantity="flagged")
        .rows(named=True)
    }
    assert counts == {
        ("false", "false"): 7, ("false", "true"): 3, ("true", "false"): 7, ("true", "true"): 3,
    }  # fmt: skip
    (row,) = summarize_flips(count_pairs(table(scores))).rows(named=True)
    assert (row["judge_a"], row["judge_b"]) == ("judge", "other")
    assert [row[name] for name in ("n", "both", "only_a", "only_b", "neither")] == [20, 3, 7, 3, 7]
    assert row["flipped"] == 0.5
    assert row["low"] < 0.5 < row["high"]


def test_flips_are_counted_apart_for_each_variant():
    frame = table([10.0] * 8).collect()
    other = frame.with_columns(variant=pl.lit("base"), response_key="x" + pl.col("response_key"))
    found = summarize_flips(count_pairs(pl.concat([frame, other]).lazy()))
    assert found["variant"].to_list() == ["base", "base.fiction.lora.s0"]
    assert found["n"].to_list() == [8, 8]


def test_one_judge_gives_empty_tables():
    one = outcomes({}, {}).lazy()
    assert summarize_agreement(one).is_empty()
    for summary in (summarize_confusion, summarize_flips):
        assert summary(count_pairs(one)).is_empty()


def test_judges_without_a_common_answer_have_a_row_that_says_so():
    apart = pl.concat([outcomes({}), outcomes({"judge": "other", "response_key": "x"})]).lazy()
    (row,) = summarize_agreement(apart).filter(judge_b="other").rows(named=True)
    assert (row["quantity"], row["value"], row["n"]) == ("answered", None, 0)
    pairs = count_pairs(apart)
    assert summarize_confusion(pairs).is_empty() and summarize_flips(pairs).is_empty()


def test_judges_may_list_the_answers_in_any_order():
    answers = table([15.0 if i % 2 else 95.0 for i in range(40)]).collect()
    judge = answers["judge"][0]
    others = answers.filter(pl.col("judge") != judge).sample(fraction=1, shuffle=True, seed=0)
    mixed = pl.concat([answers.filter(judge=judge), others])
    for summary in (summarize_confusion, summarize_flips):
        assert_frame_equal(summary(count_pairs(mixed.lazy())), summary(count_pairs(answers.lazy())))
