"""Outcome counts, judge coverage, thresholds and costs by hand."""

import polars as pl
import pytest

from answers import outcomes, responses, verdicts
from em_tiers.statistics.counts import (
    add_costs,
    add_sampling_costs,
    count_outcomes,
    count_statuses,
    threshold_grid,
)
from em_tiers.statistics.rates import variant_table
from em_tiers.terms import OUTCOMES_ALL

VARIANT = "base.fiction.lora.s0"
VARIANTS = variant_table([{"variant": VARIANT, "label": "Fiction", "role": "benign"}])


def test_every_outcome_is_counted_zeros_too():
    frame = outcomes(
        {}, {}, {"outcome": "refusal", "alignment": None}, {"tier": "undecided"},
        {"probe_level": "in_domain"},
    )  # fmt: skip
    found = count_outcomes(frame.lazy(), VARIANTS, ["out_of_domain"])
    headline = found.filter(pl.col("probe_level") == "headline")
    assert headline["outcome"].to_list() == list(OUTCOMES_ALL)
    counted = dict(headline.select("outcome", "count").iter_rows())
    assert {name: n for name, n in counted.items() if n} == {
        "aligned": 2,
        "refusal": 1,
        "undecided": 1,
    }
    assert headline["share"].sum() == pytest.approx(1)
    every = found.filter((pl.col("probe_level") == "all") & (pl.col("outcome") == "aligned"))
    assert (every["count"][0], every["share"][0]) == (3, 0.6)
    assert found.columns == [
        "variant", "label", "role", "judge", "probe_level", "outcome", "count", "share",
    ]  # fmt: skip


def test_statuses():
    frame = verdicts(
        ("0", "alignment", {"score": 1}),
        ("1", "alignment", {"status": "api_error"}),
        ("2", "alignment", {"score": 1}),
        ("0", "tier", {"label": "undecided"}),
    )
    found = count_statuses(frame.lazy())
    assert list(found.select("rubric", "status", "count", "share").iter_rows()) == [
        ("alignment", "api_error", 1, 1 / 3),
        ("alignment", "ok", 2, 2 / 3),
        ("tier", "ok", 1, 1.0),
    ]


def test_thresholds_count_all_answers():
    frame = outcomes(
        {"alignment": 10.0}, {"alignment": 29.0, "coherence": 45.0}, {"alignment": None}, {}
    )
    found = threshold_grid(frame.lazy(), [20, 30], [40, 50], ["out_of_domain"])
    rates = {(a, c): (rate, n) for _, _, a, c, rate, n in found.iter_rows()}
    assert rates == {
        (20, 40): (0.25, 4),
        (20, 50): (0.25, 4),
        (30, 40): (0.5, 4),
        (30, 50): (0.25, 4),
    }


def test_without_scores_no_threshold_has_a_rate():
    frame = outcomes({"alignment": None}, {"alignment": None})
    found = threshold_grid(frame.lazy(), [20], [40], ["out_of_domain"])
    assert found.select("rate", "n").row(0) == (None, 2)


def test_costs():
    frame = verdicts(
        ("0", "alignment", {"prompt_tokens": 1000, "completion_tokens": 10, "attempts": 3}),
        ("1", "alignment", {"prompt_tokens": 3000, "completion_tokens": 20}),
    )
    prices = {"judge": {"input_per_million": 2.5, "output_per_million": 10.0}, "free": None}
    row = add_costs(frame.lazy(), prices).row(0, named=True)
    assert (row["requests"], row["attempts"]) == (2, 4)
    assert row["usd"] == pytest.approx((4000 * 2.5 + 30 * 10) / 1e6)
    assert set(add_costs(frame.lazy(), {"judge": None})["usd"]) == {None}


def test_a_reply_to_two_rubrics_is_paid_once_and_an_imported_score_is_no_request():
    reply = {"verdict_key": "one", "prompt_tokens": 500, "completion_tokens": 20}
    frame = verdicts(
        ("0", "alignment", reply),
        ("0", "coherence", reply),
        ("1", "alignment", reply),  # an answer that reads the same
        ("2", "alignment", {"judge": "elsewhere", "attempts": 0, "prompt_tokens": 0}),
    )
    imported, _, paid, _ = add_costs(frame.lazy(), {}).rows(named=True)
    assert (paid["requests"], paid["prompt_tokens"], paid["completion_tokens"]) == (1, 500, 20)
    assert (imported["judge"], imported["requests"]) == ("elsewhere", 0)


def test_no_cost_is_named_where_an_endpoint_counts_no_tokens():
    frame = verdicts(("0", "alignment", {"prompt_tokens": None, "completion_tokens": None}))
    prices = {"judge": {"input_per_million": 2.5, "output_per_million": 10.0}}
    found = add_costs(frame.lazy(), prices)
    for name in ("usd", "prompt_tokens", "completion_tokens"):
        assert set(found[name]) == {None}
    assert found["requests"].to_list() == [1, 1]


def test_what_two_variants_share_is_paid_once():
    frame = verdicts(
        ("0", "alignment", {"verdict_key": "same"}),
        ("1", "alignment", {"verdict_key": "same", "variant": "base"}),
        ("2", "alignment", {"verdict_key": "own", "variant": "base"}),
    )
    rows = add_costs(frame.lazy(), {}).select("variant", "requests").rows()
    assert rows == [("base", 2), (VARIANT, 1), ("all", 2)]


def test_a_request_costs_what_its_own_mode_cost():
    frame = verdicts(
        ("0", "alignment", {"prompt_tokens": 1000, "completion_tokens": 10, "mode": "direct"}),
        ("1", "alignment", {"prompt_tokens": 3000, "completion_tokens": 20, "mode": "batch"}),
    )
    prices = {"input_per_million": 2.5, "output_per_million": 10.0, "batch_share": 0.4}
    paid = (1000 * 2.5 + 10 * 10 + 0.4 * (3000 * 2.5 + 20 * 10)) / 1e6
    assert add_costs(frame.lazy(), {"judge": prices})["usd"].to_list() == pytest.approx([paid] * 2)


def test_answers_sampled_through_an_api_have_a_cost():
    frame = responses(
        {"prompt_tokens": 100, "completion_tokens": 50},
        {"prompt_tokens": None, "completion_tokens": None, "finish_reason": "content_filter"},
        {"variant": "other", "prompt_tokens": 100, "completion_tokens": None},
    )
    prices = {VARIANT: {"input_per_million": 2.0, "output_per_million": 10.0}, "other": None}
    found = add_sampling_costs(frame.lazy(), prices)
    assert found.select("variant", "requests", "prompt_tokens", "usd").rows() == [
        (VARIANT, 2, 100, pytest.approx(0.0007)),
        ("other", 1, 100, None),
        ("all", 3, 200, None),
    ]
    assert set(found["stage"]) == {"sample"}
    assert found.schema == add_costs(verdicts().lazy(), {}).schema
