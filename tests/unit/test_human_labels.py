"""The label sheet there and back, and rates corrected by labels: unbiased, narrower, honest."""

import csv

import numpy as np
import polars as pl
import pytest

from answers import outcomes, responses
from em_tiers.errors import UserError
from em_tiers.human_labels import correct, correct_rates, judge_quality, label_agreement, tune
from em_tiers.label_sheet import draw_sample, read_sheet, settle, with_strata, write_sheet
from em_tiers.summary import Settings

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
    assert counts == {"flagged|none|low": 4, "not|none|middle": 6, "not|none|high": 10}
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
        ("item;tier\n", "columns missing"),
        ("item,tier\n0000abcd,nice\n", "row 2: tier: 'nice': write one of in_distribution"),
        ("item,tier\n0000abcd,aligned\nxyz,aligned\n", "row 3: item: 'xyz': is no answer"),
        ("item,tier\n0000abcd,aligned\n0000abcd,aligned\n", "row 2: item: .* has two labels"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_row(tmp_path, text, message):
    path = tmp_path / "sheet.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_sheet(path, pl.Series(KEYS))


def test_the_majority_settles_and_a_tie_is_undecided():
    labels = pl.DataFrame(
        {
            "response_key": ["a", "a", "a", "b", "b"],
            "tier": ["aligned", "aligned", "persona_shift", "aligned", "persona_shift"],
        }
    )
    assert dict(settle(labels).iter_rows()) == {"a": "aligned", "b": "undecided"}


def test_without_clusters_it_is_the_published_estimate():
    # Imported here: it loads llvmlite, whose library object stops a vLLM engine that starts later
    # in the same process.
    from ppi_py import ppi_mean_ci, ppi_mean_pointestimate

    rng = np.random.default_rng(0)
    truth = rng.binomial(1, 0.3, 2000).astype(float)
    judged = np.where(rng.random(2000) < 0.8, truth, rng.binomial(1, 0.5, 2000)).astype(float)
    labelled = rng.permutation(2000) < 200
    human = np.where(labelled, truth, np.nan)
    weights = np.where(labelled, 10.0, 0.0)
    found = correct(judged, np.arange(2000), human, weights)
    arguments = (truth[labelled], judged[labelled], judged[~labelled])
    expected = ppi_mean_pointestimate(*arguments, lam=found.tuning)[0]
    low, high = (bound[0] for bound in ppi_mean_ci(*arguments, alpha=0.05, lam=found.tuning))
    # The package sets labelled answers apart from the rest; here the judge's mean is over all.
    assert found.rate == pytest.approx(expected, abs=0.01)
    assert found.high - found.low == pytest.approx(high - low, rel=0.1)


def simulate(rng, questions=40, samples=50, labels=300):
    """A judge that misses a third of the misaligned answers and flags 5 % of the others."""
    rates = rng.beta(1.5, 6, questions)
    question = np.repeat(np.arange(questions), samples)
    truth = rng.binomial(1, rates[question]).astype(float)
    judged = np.where(truth == 1, rng.random(len(truth)) < 0.65, rng.random(len(truth)) < 0.05)
    human, weights = np.full(len(truth), np.nan), np.zeros(len(truth))
    for value in (True, False):  # stratified by the judge: half of the labels in each stratum
        members = np.flatnonzero(judged == value)
        drawn = rng.choice(members, min(labels // 2, len(members)), replace=False)
        human[drawn], weights[drawn] = truth[drawn], len(members) / len(drawn)
    return correct(judged.astype(float), question, human, weights), judged.mean()


def test_a_biased_judge_is_corrected_and_the_interval_covers():
    rng = np.random.default_rng(1)
    runs = [simulate(rng) for _ in range(200)]
    rates = np.array([found.rate for found, _ in runs])
    assert rates.mean() == pytest.approx(0.2, abs=0.006)  # 1.5 / 7.5; standard error 0.002
    assert abs(np.mean([judged for _, judged in runs]) - 0.2) > 0.02  # the judge is biased
    covered = [found.low <= 0.2 <= found.high for found, _ in runs]
    assert np.mean(covered) > 0.91
    ratio = np.mean([(f.high - f.low) / (f.labels_high - f.labels_low) for f, _ in runs])
    assert ratio < 1


def test_a_useless_judge_gets_little_weight():
    rng = np.random.default_rng(0)
    truth, judged = rng.binomial(1, 0.3, (2, 5000)).astype(float)
    assert tune(judged, truth, np.ones(5000)) < 0.1
    assert tune(np.zeros(5), np.ones(5), np.ones(5)) == 0


def labels_of(truth):
    return pl.DataFrame(
        {"response_key": KEYS, "copy": [0] * 40, "labeller": ["ann"] * 40, "tier": truth}
    )


def test_with_every_answer_labelled_the_labels_rule():
    truth = ["persona_shift" if i % 4 == 0 else "aligned" for i in range(40)]
    row = correct_rates(FRAME.lazy(), labels_of(truth), Settings()).row(0, named=True)
    assert row["judge_rate"] == pytest.approx(0.1)
    assert row["corrected"] == pytest.approx(0.25)
    assert row["n_labelled"] == 40
    assert row["low"] < 0.25 < row["high"]


def test_agreement_everywhere_still_has_a_width():
    truth = ["aligned"] * 40
    frame = outcomes(*({"response_key": k, "question_id": f"q{i}"} for i, k in enumerate(KEYS)))
    row = correct_rates(frame.lazy(), labels_of(truth), Settings()).row(0, named=True)
    assert (row["corrected"], row["low"]) == (0.0, 0.0)
    assert 0.05 < row["high"] < 0.2


def test_judge_quality_by_hand():
    # 4 flagged; people call answers 0, 1 and 10 to 13 misaligned: 2 of 6 found, 2 of 34 wrong.
    bad = {0, 1, 10, 11, 12, 13}
    truth = ["persona_shift" if i in bad else "aligned" for i in range(40)]
    found = judge_quality(FRAME.lazy(), labels_of(truth), Settings())
    values = {row["statistic"]: row for row in found.iter_rows(named=True)}
    assert values["true_positive_rate"]["value"] == pytest.approx(2 / 6)
    assert values["true_positive_rate"]["n"] == 6
    assert values["false_positive_rate"]["value"] == pytest.approx(2 / 34)


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
