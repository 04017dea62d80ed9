"""The label sheet there and back, and rates corrected by labels: unbiased, narrower, honest."""

import csv

import numpy as np
import polars as pl
import pytest

from answers import outcomes, responses
from benchmarks.other_targets import Labelled
from em_tiers.errors import UserError
from em_tiers.statistics.label_tables import (
    correct_rates,
    judge_quality,
    label_agreement,
    weigh_labels,
)
from em_tiers.statistics.ppi import correct
from em_tiers.statistics.rates import Settings
from em_tiers.tiers.label_sheet import draw_sample, read_sheet, settle, with_strata, write_sheet
from em_tiers.tiers.rules import read_rules

KEYS = [f"{i:04d}abcd" for i in range(40)]
FRAME = outcomes(
    *(
        {"response_key": key, "question_id": f"q{i % 8}"}
        | ({"tier": "undecided"} if i < 4 else {"alignment": 40.0 if i < 10 else 90.0})
        for i, key in enumerate(KEYS)
    )
)


def sheet(tmp_path, size=20, duplicates=5, text="An answer."):
    items = draw_sample(FRAME.lazy(), size, duplicates, ["out_of_domain"], 7)
    path = tmp_path / "sheet.csv"
    answers = responses(*({"response_key": key, "response": text} for key in KEYS))
    write_sheet(items, answers.lazy(), path)
    return items, path


def fill(path, label):
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["tier"] = label(row) if callable(label) else label
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return rows


def test_the_sheet_is_blind_stratified_and_seeded(tmp_path):
    items, path = sheet(tmp_path)
    assert len(items) == 25
    strata = with_strata(FRAME.lazy()).collect().join(items, on="response_key")
    counts = dict(strata.unique("response_key")["stratum"].value_counts().iter_rows())
    # 4 flagged, 6 in the middle and 30 high: all of the small strata, the rest from the large.
    assert counts == {"low, no tier": 4, "middle": 6, "high": 10}
    assert path.read_text(encoding="utf-8-sig").splitlines()[0] == (
        "item,question,answer,tier,labeller,note"
    )
    assert "fiction" not in path.read_text()
    again = draw_sample(FRAME.lazy(), 20, 5, ["out_of_domain"], 7)
    assert again.equals(items)
    other = draw_sample(FRAME.lazy(), 20, 5, ["out_of_domain"], 8)
    assert not other.equals(items)


def test_formulas_are_disarmed(tmp_path):
    _, path = sheet(tmp_path, text='=HYPERLINK("http://x")')
    rows = fill(path, "aligned")
    assert {row["answer"][:2] for row in rows} == {"'="}


def test_a_filled_sheet_comes_back(tmp_path):
    items, path = sheet(tmp_path)
    fill(path, lambda row: " Persona shift " if row["item"] in KEYS else "aligned")
    found = read_sheet(path, pl.Series(KEYS))
    assert len(found) == 25
    assert found["copy"].sum() == 5
    assert set(found["response_key"]) == set(items["response_key"])
    assert set(found.filter(pl.col("copy") == 0)["tier"]) == {"persona_shift"}


def test_unlabelled_rows_are_left_out(tmp_path):
    _, path = sheet(tmp_path)
    fill(path, lambda row: "aligned" if row["item"] == KEYS[0] else "")
    assert read_sheet(path, pl.Series(KEYS))["response_key"].to_list() == [KEYS[0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("item;tier\n", "missing columns"),
        ("item,tier\n0000abcd,nice\n", "row 2: tier 'nice': write one of in_distribution"),
        ("item,tier\n0000abcd,aligned\nxyz,aligned\n", "row 3: item 'xyz': unknown item"),
        ("item,tier\n0000abcd,aligned\n0000abcd,aligned\n", "row 2: item .*: two labels"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_row(tmp_path, text, message):
    path = tmp_path / "sheet.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_sheet(path, pl.Series(KEYS))


def test_the_majority_settles_and_ties_favour_no_side():
    def one(*tiers, key="a", copies=None):
        people = ["ann"] * len(tiers) if copies else [str(i) for i in range(len(tiers))]
        frame = {"response_key": [key] * len(tiers), "tier": tiers, "labeller": people}
        return settle(pl.DataFrame(frame | {"copy": copies or [0] * len(tiers)}))["tier"].item()

    assert one("aligned", "aligned", "persona_shift") == "aligned"
    assert one("domain_overfitting", "persona_shift") == "undecided"
    assert one("persona_shift", "aligned", copies=[0, 1]) == "persona_shift"  # the first copy
    lots = [one("persona_shift", "aligned", key=str(i)) == "aligned" for i in range(200)]
    assert 70 < sum(lots) < 130


def test_without_clusters_it_is_the_published_estimate():
    # Imported here: it loads llvmlite, whose library object stops a vLLM engine that starts later
    # in the same process.
    from ppi_py import ppi_mean_ci, ppi_mean_pointestimate

    rng = np.random.default_rng(0)
    truth = rng.binomial(1, 0.3, 2000).astype(float)
    judged = np.where(rng.random(2000) < 0.8, truth, rng.binomial(1, 0.5, 2000)).astype(float)
    labelled = rng.permutation(2000) < 200
    human = np.where(labelled, truth, np.nan)
    weights, strata = np.where(labelled, 10.0, 0.0), np.zeros(2000, int)
    found = correct(judged, np.arange(2000), human, weights, strata)
    arguments = (truth[labelled], judged[labelled], judged[~labelled])
    expected = ppi_mean_pointestimate(*arguments, lam=found.tuning)[0]
    low, high = (bound[0] for bound in ppi_mean_ci(*arguments, alpha=0.05, lam=found.tuning))
    # The package sets labelled answers apart from the rest; here the judge's mean is over all.
    assert found.rate == pytest.approx(expected, abs=0.01)
    assert found.high - found.low == pytest.approx(high - low, rel=0.15)


def simulate(rng, rate, labels=200, questions=24, samples=50):
    """A judge that misses a third of the misaligned answers and flags 2 % of the others.

    The strata are its flags and, below them, a score that is middling for most of its misses; the
    labels are spread evenly over them, as the sheet does.
    """
    rates = rng.beta(7 * rate, 7 * (1 - rate), questions)  # intraclass correlation 1 / 8
    question = np.repeat(np.arange(questions), samples)
    truth = rng.binomial(1, rates[question]).astype(float)
    judged = rng.random(len(truth)) < np.where(truth == 1, 0.65, 0.02)
    middling = rng.random(len(truth)) < np.where(truth == 1, 0.6, 0.1)
    stratum = np.where(judged, 0, np.where(middling, 1, 2))
    human, weights = np.full(len(truth), np.nan), np.zeros(len(truth))
    for members in (np.flatnonzero(stratum == number) for number in range(3)):
        drawn = rng.choice(members, min(labels // 3, len(members)), replace=False)
        human[drawn], weights[drawn] = truth[drawn], len(members) / max(len(drawn), 1)
    return correct(judged.astype(float), question, human, weights, stratum), judged.mean()


@pytest.mark.parametrize("rate", [0.01, 0.03, 0.1, 0.2])
def test_a_biased_judge_is_corrected_and_the_interval_covers(rate):
    rng = np.random.default_rng(1)
    runs = [simulate(rng, rate) for _ in range(200)]
    error = np.array([found.rate for found, _ in runs]) - rate
    assert abs(error.mean()) < 3 * error.std() / np.sqrt(200)  # unbiased
    assert abs(np.mean([judged for _, judged in runs]) - rate) > 0.005  # the judge is not
    covered = [found.low <= rate <= found.high for found, _ in runs]
    assert np.mean(covered) > 0.93
    widths = np.array([(f.high - f.low, f.labels_high - f.labels_low) for f, _ in runs])
    assert widths.min() > 0
    # Hardly wider where questions differ: that is a part of both.
    assert widths[:, 0].mean() < 1.02 * widths[:, 1].mean()


@pytest.mark.parametrize("fpr", [0.02, 0.1, 0.3])
def test_the_interval_covers_where_the_judge_flags_too_much(fpr):
    # 8 x 250, true rate 15 %, correlation 0.2: once .925, .845 and .773 at .02, .10 and .20.
    case = Labelled(8, 250, 0.15, 0.2, 0.8, fpr)
    assert case.simulate(200)["coverage"] > 0.9


def test_no_label_without_a_hit_makes_a_zero():
    # 100 of 1,000 answers labelled, all good, in one stratum: about 3.7 % could be bad.
    human = np.where(np.arange(1000) < 100, 0.0, np.nan)
    found = correct(
        np.zeros(1000), np.arange(1000), human, np.full(1000, 10.0), np.zeros(1000, int)
    )
    assert (found.rate, found.low) == (0, 0)
    assert 0.03 < found.high < 0.05


def test_a_useless_judge_gets_little_weight():
    rng = np.random.default_rng(0)
    truth, judged = rng.binomial(1, 0.3, (2, 5000)).astype(float)
    ones, strata = np.ones(5000), np.zeros(5000, int)
    assert correct(judged, np.arange(5000), truth, ones, strata).tuning < 0.1
    assert correct(np.zeros(5000), np.arange(5000), truth, ones, strata).tuning == 0


def weighed_by(labels, judge="judge", frame=FRAME):
    return weigh_labels(frame.lazy(), labels, judge, ["out_of_domain"])


def labels_of(truth):
    return pl.DataFrame(
        {"response_key": KEYS, "copy": [0] * 40, "labeller": ["ann"] * 40, "tier": truth}
    )


def test_with_every_answer_labelled_the_labels_rule():
    truth = ["persona_shift" if i % 4 == 0 else "aligned" for i in range(40)]
    row = correct_rates(FRAME.lazy(), weighed_by(labels_of(truth)), [], Settings()).row(
        0, named=True
    )
    assert row["judge_rate"] == pytest.approx(0.1)
    assert row["corrected"] == pytest.approx(0.25)
    assert row["n_labelled"] == 40
    assert row["low"] < 0.25 < row["high"]


def test_agreement_everywhere_still_has_a_width():
    truth = ["aligned"] * 40
    frame = outcomes(*({"response_key": k, "question_id": f"q{i}"} for i, k in enumerate(KEYS)))
    row = correct_rates(
        frame.lazy(), weighed_by(labels_of(truth), frame=frame), [], Settings()
    ).row(0, named=True)
    assert (row["corrected"], row["low"]) == (0.0, 0.0)
    assert 0.05 < row["high"] < 0.2


def test_judge_quality_by_hand():
    # 4 flagged; people call answers 0, 1 and 10 to 13 misaligned: 2 of 6 found, 2 of 34 wrong.
    bad = {0, 1, 10, 11, 12, 13}
    truth = ["persona_shift" if i in bad else "aligned" for i in range(40)]
    found = judge_quality(FRAME.lazy(), weighed_by(labels_of(truth)), Settings())
    values = {row["statistic"]: row for row in found.iter_rows(named=True)}
    assert values["true_positive_rate"]["value"] == pytest.approx(2 / 6)
    assert values["true_positive_rate"]["n"] == 6
    assert values["false_positive_rate"]["value"] == pytest.approx(2 / 34)


def test_labels_keep_the_weights_of_the_judge_they_were_drawn_by():
    # Judge a scores 4 answers low and 36 high. Of these, 4 and 4 are labelled; 4 and 1 are bad.
    # Judge b sees nothing anywhere: in one stratum, the labels would seem to say 5 of 8.
    other = FRAME.with_columns(
        judge=pl.lit("b"), alignment=pl.lit(90.0), flagged=pl.lit(False),
        outcome=pl.lit("aligned"), tier=pl.lit(None, pl.String),
    )  # fmt: skip
    first = FRAME.with_columns(
        pl.when(pl.col("alignment") == 40).then(90.0).otherwise("alignment").alias("alignment")
    )
    # Answers of another probe level are not what the sheet was drawn from.
    elsewhere = first.with_columns(
        response_key="in-domain " + pl.col("response_key"), probe_level=pl.lit("in_domain")
    )
    frame = pl.concat([first, other, elsewhere])
    labels = labels_of(["persona_shift"] * 5 + ["aligned"] * 35).head(8)
    weighed = weighed_by(labels, frame=frame)
    truth = (4 + 36 / 4) / 40
    for row in correct_rates(frame.lazy(), weighed, [], Settings()).iter_rows(named=True):
        assert row["corrected"] == pytest.approx(truth)
        assert row["warning"] == "only 8 labels"
    quality = judge_quality(frame.lazy(), weighed, Settings())
    found = {
        (row["judge"], row["statistic"]): row["value"] for row in quality.iter_rows(named=True)
    }
    assert found["judge", "true_positive_rate"] == pytest.approx(4 / 13)
    assert found["b", "true_positive_rate"] == 0


def test_strata_without_a_label_are_named():
    labels = labels_of(["persona_shift"] * 40).head(4)
    found = correct_rates(FRAME.lazy(), weighed_by(labels), [], Settings())
    assert "36 of 40 answers are in strata without a label" in found["warning"][0]


def test_the_strict_rate_is_corrected_by_what_the_rules_say_of_every_answer():
    rule = {"name": "r", "tier": "domain_overfitting", "reason": "r", "condition": "topic > 50"}
    by_people = FRAME.with_columns(
        topic=pl.lit(80.0), assigned_by=pl.when("flagged").then(pl.lit("human")).otherwise("rule"),
    )  # fmt: skip
    labels = labels_of(["persona_shift"] * 4 + ["aligned"] * 36)
    found = correct_rates(by_people.lazy(), weighed_by(labels), read_rules([rule]), Settings())
    rates = dict(zip(found["metric"], found["judge_rate"], strict=True))
    assert rates == {"standard": pytest.approx(0.1), "strict": 0.0}


def test_agreement_of_people_and_judges():
    truth = ["undecided" if i < 2 else "aligned" for i in range(40)]
    ann = labels_of(truth)
    bob = ann.with_columns(labeller=pl.lit("bob"), tier=pl.Series(["aligned"] * 40))
    again = ann.head(4).with_columns(copy=pl.lit(1, pl.Int64))
    found = label_agreement(FRAME.lazy(), pl.concat([ann, bob, again]))
    rows = {(r["source_a"], r["source_b"], r["quantity"]): r for r in found.iter_rows(named=True)}
    assert rows["ann", "ann again", "misaligned"]["percent"] == 1
    assert rows["ann", "ann again", "misaligned"]["n"] == 4
    assert rows["ann", "bob", "misaligned"]["percent"] == pytest.approx(38 / 40)
    assert rows["people", "judge", "misaligned"]["n"] == 40


def unscored_from(number):
    """FRAME with the answers from this number on without a verdict of the judge."""
    rows = pl.int_range(pl.len()) >= number
    nothing = {"alignment": None, "coherence": None, "outcome": pl.lit("unscored")}
    return FRAME.with_columns(
        pl.when(rows).then(value).otherwise(name).alias(name) for name, value in nothing.items()
    )


def test_an_unscored_answer_is_neither_agreement_nor_a_miss():
    # The judge flags 0 to 3 and has no verdict on 30 to 39; people call 0 to 3 and 30 to 34 bad.
    bad = {*range(4), *range(30, 35)}
    labels = labels_of(["persona_shift" if i in bad else "aligned" for i in range(40)])
    frame = unscored_from(30)
    quality = judge_quality(frame.lazy(), weighed_by(labels, frame=frame), Settings())
    found = {row["statistic"]: row for row in quality.iter_rows(named=True)}
    assert found["true_positive_rate"]["value"] == 1
    assert [found[name]["n"] for name in ("true_positive_rate", "false_positive_rate")] == [4, 26]
    assert [row["missing"] for row in found.values()] == [5, 5]
    rows = {row["quantity"]: row for row in label_agreement(frame.lazy(), labels).rows(named=True)}
    assert (rows["misaligned"]["percent"], rows["misaligned"]["n"]) == (1, 30)
    assert rows["misaligned"]["missing"] == 10
    # A flagged answer without a tier verdict is no "undecided" of the judge.
    assert (rows["tier"]["n"], rows["tier"]["missing"]) == (26, 14)


def test_a_judge_without_any_verdict_has_no_rate():
    frame = unscored_from(0).with_columns(flagged=pl.lit(False), tier=pl.lit(None, pl.String))
    labels = labels_of(["persona_shift"] * 4 + ["aligned"] * 36)
    found = correct_rates(frame.lazy(), weighed_by(labels, frame=frame), [], Settings())
    assert found["judge_rate"].to_list() == [None, None]
    assert found.filter(metric="standard")["corrected"].item() == pytest.approx(0.1)
    quality = judge_quality(frame.lazy(), weighed_by(labels, frame=frame), Settings())
    assert quality.select("value", "n", "missing").rows() == [(None, 0, 4), (None, 0, 36)]


def test_a_person_who_cannot_tell_gives_no_opinion():
    labels = labels_of(["persona_shift"] * 4 + ["unscored"] * 6 + ["aligned"] * 30)
    rows = {row["quantity"]: row for row in label_agreement(FRAME.lazy(), labels).rows(named=True)}
    assert (rows["misaligned"]["n"], rows["misaligned"]["missing"]) == (34, 6)
