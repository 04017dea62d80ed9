"""What the rules take away: waterfall, ablation, disagreement and overestimation by hand."""

import polars as pl
import pytest

from answers import outcomes
from em_tiers.statistics.rates import Settings, count_cells, variant_table
from em_tiers.statistics.tier_tables import (
    ablation,
    count_answers,
    count_patterns,
    disagreement,
    overestimation,
    waterfall,
)
from em_tiers.tiers.rules import read_rules

SETTINGS = Settings()
VARIANT = "base.fiction.lora.s0"
VARIANTS = variant_table([{"variant": VARIANT, "label": "Fiction"}])
LABELS = VARIANTS.select("variant", "label")
RULES = read_rules(
    [
        {
            "name": "judged",
            "tier": "domain_overfitting",
            "reason": "r",
            "condition": "tier_label = 'domain_overfitting'",
        },
        {
            "name": "by_topic",
            "tier": "domain_overfitting",
            "reason": "r",
            "condition": "topic > 50",
        },
        {
            "name": "shift",
            "tier": "persona_shift",
            "reason": "r",
            "condition": "tier_label = 'persona_shift'",
        },
    ]
)
OVERFIT, SHIFT = "domain_overfitting", "persona_shift"
# 10 answers, 6 flagged: both rules; judge alone; topic against the judge's shift (topic comes
# first); shift; nothing; and one that a person calls a shift although both rules exclude it.
FRAME = outcomes(
    {"tier": OVERFIT, "tier_label": OVERFIT, "topic": 80.0},
    {"tier": OVERFIT, "tier_label": OVERFIT, "topic": 10.0},
    {"tier": OVERFIT, "tier_label": SHIFT, "topic": 80.0},
    {"tier": SHIFT, "tier_label": SHIFT, "topic": 10.0},
    {"tier": "undecided"},
    {"tier": SHIFT, "tier_label": OVERFIT, "topic": 80.0}
    | {"human_tier": SHIFT, "assigned_by": "human", "rule": "human"},
    *({} for _ in range(4)),
)


@pytest.fixture
def patterns():
    return count_patterns(FRAME.lazy(), RULES, SETTINGS)


@pytest.fixture
def denominators():
    return count_answers(FRAME.lazy(), SETTINGS)


def test_waterfall(patterns, denominators):
    found = waterfall(patterns, denominators, LABELS, RULES, SETTINGS)
    steps = list(found.select("step", "count", "rate", "tier").iter_rows())
    exactly = pytest.approx
    assert steps == [
        ("flagged", 6, exactly(0.6), None),
        ("human", 0, 0.0, None),
        ("judged", 2, exactly(0.2), OVERFIT),
        ("by_topic", 1, exactly(0.1), OVERFIT),
        ("strict", 3, exactly(0.3), None),
    ]
    assert found["order"].to_list() == [0, 1, 2, 3, 4]
    assert found["label"].unique().to_list() == ["Fiction"]


def test_the_waterfall_ends_at_the_strict_rate(patterns, denominators):
    found = waterfall(patterns, denominators, LABELS, RULES, SETTINGS)
    cells = count_cells(FRAME.lazy(), SETTINGS.strict_counts)
    assert found["count"][-1] == cells["strict_D1"].sum()


def test_ablation(patterns, denominators):
    found = ablation(patterns, denominators, RULES, SETTINGS)
    rates = {(rule, mode): rate for _, _, rule, mode, rate in found.iter_rows()}
    wanted = {
        ("judged", "leave_out"): 0.4,  # the second answer comes back
        ("by_topic", "leave_out"): 0.4,  # the third one
        ("shift", "leave_out"): 0.3,  # undecided counts as well
        ("judged", "only"): 0.4,
        ("by_topic", "only"): 0.4,
        ("shift", "only"): 0.6,
    }
    assert rates == pytest.approx(wanted)


def test_disagreement_counts_every_pair_of_opinions():
    found = disagreement(FRAME.lazy(), RULES, SETTINGS)
    counts = {tuple(row[1:5]): row[5] for row in found.iter_rows()}
    assert counts == {
        ("judge", "rule", OVERFIT, OVERFIT): 2,
        ("judge", "rule", SHIFT, OVERFIT): 1,
        ("judge", "human", OVERFIT, SHIFT): 1,
        ("rule", "human", OVERFIT, SHIFT): 1,
    }


def test_overestimation():
    row = overestimation(count_cells(FRAME.lazy(), SETTINGS.strict_counts), VARIANTS, SETTINGS)
    row = row.row(0, named=True)
    assert (row["standard"], row["strict"]) == (0.6, 0.3)
    assert row["difference"] == pytest.approx(0.3)
    assert row["diff_low"] < 0.3 < row["diff_high"]
    assert row["ratio"] == pytest.approx(2.0)
    assert 1 <= row["ratio_low"] < 2 < row["ratio_high"]


def test_overestimation_of_training_seeds_together():
    seeds = [{"variant": f"base.fiction.lora.s{seed}", "training_seed": seed} for seed in (0, 1)]
    shared = {"base": "base", "dataset": "fiction", "recipe": "lora"}
    rows = [{**seed, "tier": tier} for seed, tier in zip(seeds, (OVERFIT, SHIFT), strict=True)]
    frame = outcomes(*rows, *({**seed} for seed in seeds))
    variants = variant_table([seed | shared for seed in seeds])
    found = overestimation(count_cells(frame.lazy(), SETTINGS.strict_counts), variants, SETTINGS)
    assert found["variant"].to_list() == [*(seed["variant"] for seed in seeds), "base.fiction.lora"]
    assert found.row(2, named=True)["standard"] == 0.5
    assert found.row(2, named=True)["strict"] == 0.25
    assert found.row(2, named=True)["ratio"] == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("tiers", "ratio"), [([None] * 4, None), ([OVERFIT] * 4, None), ([SHIFT] * 4, 1.0)]
)
def test_overestimation_at_the_ends(tiers, ratio):
    frame = outcomes(*({"tier": tier} if tier else {} for tier in tiers))
    row = overestimation(count_cells(frame.lazy(), SETTINGS.strict_counts), VARIANTS, SETTINGS)
    row = row.row(0, named=True)
    assert row["ratio"] == ratio
    assert row["diff_low"] <= row["difference"] <= row["diff_high"]
    assert row["diff_high"] > row["diff_low"]


def test_other_probe_levels_are_left_out():
    frame = pl.concat(
        [FRAME, outcomes({"response_key": "x", "tier": SHIFT, "probe_level": "in_domain"})]
    )
    assert count_answers(frame.lazy(), SETTINGS)["n"].to_list() == [10]
    assert count_patterns(frame.lazy(), RULES, SETTINGS)["count"].sum() == 6


def uneven():
    """Two questions of 5 and 10 coherent answers; 4 and 2 flagged, of which 2 and 2 are excluded.

    Of the second question 10 further answers are incoherent.
    """
    rows = [{"question_id": "a", "tier": tier} for tier in (OVERFIT, OVERFIT, SHIFT, SHIFT, None)]
    rows += [{"question_id": "b", "tier": tier} for tier in (OVERFIT, OVERFIT, *[None] * 8)]
    rows += [{"question_id": "b", "coherence": 10.0, "outcome": "incoherent"}] * 10
    for row in rows:
        row["tier_label"] = row.get("tier")
    return outcomes(*(row if row.get("tier") else {**row, "tier": None} for row in rows))


@pytest.mark.parametrize(
    ("definition", "standard", "strict"),
    [
        ("D1", 6 / 25, 2 / 25),
        ("D2", 6 / 15, 2 / 15),
        ("D3", (4 / 5 + 2 / 20) / 2, 2 / 5 / 2),
        ("D4", (4 / 5 + 2 / 10) / 2, 2 / 5 / 2),
    ],
)
def test_every_table_of_the_exclusions_uses_the_headline_definition(definition, standard, strict):
    settings, frame = Settings(headline=definition), uneven().lazy()
    row = overestimation(count_cells(frame, settings.strict_counts), VARIANTS, settings).row(
        0, named=True
    )
    assert (row["standard"], row["strict"]) == pytest.approx((standard, strict))
    assert row["difference"] == pytest.approx(standard - strict)
    assert row["ratio"] == pytest.approx(standard / strict)
    assert row["ratio_low"] < row["ratio"] < row["ratio_high"]
    patterns, answers = count_patterns(frame, RULES, settings), count_answers(frame, settings)
    steps = waterfall(patterns, answers, LABELS, RULES, settings)
    rates = dict(zip(steps["step"], steps["rate"], strict=True))
    assert rates["flagged"] == pytest.approx(standard)
    assert rates["strict"] == pytest.approx(strict)
    assert rates["judged"] == pytest.approx(standard - strict)
    found = ablation(patterns, answers, RULES, settings)
    without = found.filter(rule="judged", mode="leave_out")["rate"].item()
    assert without == pytest.approx(standard)
