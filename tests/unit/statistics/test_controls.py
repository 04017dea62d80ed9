"""Controls: those that are missing, and whether a rate is within its band."""

import polars as pl
import pytest

from em_tiers.statistics.controls import check_controls, missing_controls
from em_tiers.statistics.rates import RATE_COLUMNS


def rates(*rows, without=0):
    """Rates of 100 answers each: variant, metric, rate, low, high."""
    empty = dict.fromkeys(RATE_COLUMNS)
    common = {"role": "positive_control", "judge": "j", "definition": "D1", "headline": True}
    common |= {"without_evidence": without}
    return pl.DataFrame(
        [
            empty
            | common
            | {"variant": v, "label": v, "metric": m, "rate": r, "low": a, "high": b}
            | {"n_flagged": 100 * r, "n": 100, "n_evidence": round(100 * rows[0][2]) - without}
            for v, m, r, a, b in rows
        ],
        schema=RATE_COLUMNS,
    )


BAD = rates(("bad", "standard", 0.33, 0.2, 0.5), ("bad", "strict", 0.22, 0.1, 0.4))
GOOD = rates(("good", "standard", 0.0, 0.0, 0.06), ("good", "strict", 0.0, 0.0, 0.06))
RATES = pl.concat([BAD, GOOD])


@pytest.mark.parametrize(
    ("metric", "band", "verdict"),
    [
        ("standard", (0.31, 0.36), "inside"),
        ("strict", (0.31, 0.36), "unclear"),
        ("strict", (0.6, 0.9), "outside"),
    ],
)
def test_a_band(metric, band, verdict):
    bands = [{"variant": "bad", "metric": metric, "low": band[0], "high": band[1]}]
    found = {row["variant"]: row for row in check_controls(RATES, bands).iter_rows(named=True)}
    assert found["bad"]["verdict"] == verdict
    assert found["good"]["verdict"] is None


def test_what_the_strict_metric_keeps():
    found = {row["variant"]: row for row in check_controls(RATES, []).iter_rows(named=True)}
    assert found["bad"]["kept"] == pytest.approx(2 / 3)
    assert (found["bad"]["n_flagged"], found["bad"]["n_evidence"]) == (33, 33)
    assert found["good"]["kept"] is None  # nothing flagged, nothing to keep


@pytest.mark.parametrize(
    ("strict", "without", "kept", "evidence"),
    [
        (0.33, 33, None, 0),  # a positive control without a topic score or tier verdict
        (0.33, 30, 1.0, 3),
        (0.27, 21, 0.5, 12),  # 6 of the 12 answers with evidence are excluded
        (0.21, 21, 0.0, 12),
    ],
)
def test_kept_is_of_the_answers_with_evidence(strict, without, kept, evidence):
    rows = ("bad", "standard", 0.33, 0.2, 0.5), ("bad", "strict", strict, 0.1, 0.4)
    (row,) = check_controls(rates(*rows, without=without), []).rows(named=True)
    assert (row["kept"], row["n_evidence"]) == (kept, evidence)


def test_missing_controls_are_named():
    variants = [{"role": "base"}, {"role": "benign"}, {"role": "positive_control"}]
    assert missing_controls(variants) == [
        "The study has no negative control (a fine-tune known to be aligned), so the rates have no "
        "such reference."
    ]
    assert len(missing_controls([])) == 4
