"""What the rules take away: waterfall, ablation, disagreement and overestimation by hand."""

from pathlib import Path

import polars as pl
import pytest
import yaml

from answers import outcomes
from em_tiers.statistics.cells import count_cells
from em_tiers.statistics.rates import Settings, variant_table
from em_tiers.statistics.tier_tables import (
    OF_WHICH_UNDECIDED,
    ablation,
    count_answers,
    count_patterns,
    disagreement,
    overestimation,
    printed_overestimation,
    printed_waterfall,
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


def counted(frame, settings):
    """The patterns of the flagged answers, and the denominators."""
    cells = count_cells(frame.lazy(), settings.strict_counts)
    return count_patterns(frame.lazy(), cells, RULES, settings), count_answers(cells, settings)


@pytest.fixture
def patterns():
    return counted(FRAME, SETTINGS)[0]


@pytest.fixture
def denominators():
    return counted(FRAME, SETTINGS)[1]


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
        ("of which undecided", 1, exactly(0.1), "undecided"),
    ]
    assert found["order"].to_list() == [0, 1, 2, 3, 4, 5]
    assert found["label"].unique().to_list() == ["Fiction"]


def test_the_waterfall_ends_at_the_strict_rate(patterns, denominators):
    found = waterfall(patterns, denominators, LABELS, RULES, SETTINGS)
    cells = count_cells(FRAME.lazy(), SETTINGS.strict_counts)
    assert found.filter(step="strict")["count"].item() == cells["strict_D1"].sum()
    undecided = found.filter(step="of which undecided")["count"].item()
    assert undecided == cells["strict_undecided_D1"].sum()


def test_the_waterfall_names_every_answer_that_it_removes(patterns, denominators):
    # Undecided answers are left out too: a step of their own, or the steps would not add up.
    settings = Settings(strict_counts=(SHIFT,))
    found = waterfall(patterns, denominators, LABELS, RULES, settings)
    assert list(found.select("step", "count").iter_rows()) == [
        ("flagged", 6), ("human", 0), ("judged", 2), ("by_topic", 1), ("no_rule", 1), ("strict", 2),
    ]  # fmt: skip


@pytest.mark.parametrize("definition", ["D1", "D2", "D3", "D4"])
def test_without_any_verdict_there_is_no_rate_to_break_down(definition):
    nothing = {"alignment": None, "coherence": None, "outcome": "unscored"}
    frame, settings = outcomes(*[nothing] * 8).lazy(), Settings(headline=definition)
    patterns, answers = counted(frame, settings)
    assert set(waterfall(patterns, answers, LABELS, RULES, settings)["rate"]) == {None}
    assert set(ablation(patterns, answers, RULES, settings)["rate"]) == {None}
    row = overestimation(count_cells(frame, settings.strict_counts), VARIANTS, settings)
    assert row.select("standard", "strict", "difference", "ratio").row(0) == (None,) * 4


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


def test_the_shipped_rules_are_compared_with_the_judge():
    # Every rule of the standard set mentions the judge's tier: without it, the topic still speaks.
    path = Path(__file__).parents[3] / "config" / "tier_rules.yaml"
    rules = read_rules(yaml.safe_load(path.read_text())["standard"]["rules"])
    found = disagreement(FRAME.lazy(), rules, SETTINGS).filter(source_a="judge", source_b="rule")
    assert found.select("tier_a", "tier_b", "count").rows() == [
        (OVERFIT, OVERFIT, 2), (SHIFT, OVERFIT, 1),
    ]  # fmt: skip


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
    ("tiers", "ratio"),
    [([OVERFIT] * 4, None), ([SHIFT] * 4, 1.0), ([SHIFT, None, None, None], 1.0)],
)
def test_overestimation_at_the_ends(tiers, ratio):
    frame = outcomes(*({"tier": tier} if tier else {} for tier in tiers))
    row = overestimation(count_cells(frame.lazy(), SETTINGS.strict_counts), VARIANTS, SETTINGS)
    row = row.row(0, named=True)
    assert row["ratio"] == ratio
    assert row["diff_low"] <= row["difference"] <= row["diff_high"]
    assert row["diff_high"] > row["diff_low"]


@pytest.mark.parametrize(
    ("answers", "counts"),
    [
        ([{}] * 4, (4, 0, 0, 0, 0)),  # nothing is flagged
        ([{"tier": "undecided"}, {}], (2, 1, 1, 0, 1)),  # no evidence, as of a base model
        (  # a topic score, but no enabled rule uses it
            [{"tier": "undecided", "topic": 80.0, "assigned_by": "no_evidence"}, {}],
            (2, 1, 1, 0, 1),
        ),
    ],
)
def test_nothing_is_overestimated_where_nothing_could_be_excluded(answers, counts):
    cells = count_cells(outcomes(*answers).lazy(), SETTINGS.strict_counts)
    row = overestimation(cells, VARIANTS, SETTINGS).row(0, named=True)
    assert row["standard"] == row["strict"] == counts[1] / counts[0]
    for name in ("difference", "diff_low", "diff_high", "ratio", "ratio_low", "ratio_high"):
        assert row[name] is None
    names = ("n", "n_flagged", "n_undecided", "n_evidence", "without_evidence")
    assert tuple(row[name] for name in names) == counts


def test_with_evidence_nothing_excluded_is_a_finding():
    known = {"tier": "undecided", "topic": 10.0}
    cells = count_cells(outcomes(known, {}, {}).lazy(), SETTINGS.strict_counts)
    row = overestimation(cells, VARIANTS, SETTINGS).row(0, named=True)
    assert (row["difference"], row["ratio"], row["without_evidence"]) == (0, 1, 0)
    assert row["diff_high"] > 0


def test_other_probe_levels_are_left_out():
    frame = pl.concat(
        [FRAME, outcomes({"response_key": "x", "tier": SHIFT, "probe_level": "in_domain"})]
    )
    patterns, answers = counted(frame, SETTINGS)
    assert answers["n"].to_list() == [10]
    assert patterns["count"].sum() == 6


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
    patterns, answers = counted(frame, settings)
    steps = waterfall(patterns, answers, LABELS, RULES, settings)
    rates = dict(zip(steps["step"], steps["rate"], strict=True))
    assert rates["flagged"] == pytest.approx(standard)
    assert rates["strict"] == pytest.approx(strict)
    assert rates["judged"] == pytest.approx(standard - strict)
    found = ablation(patterns, answers, RULES, settings)
    without = found.filter(rule="judged", mode="leave_out")["rate"].item()
    assert without == pytest.approx(standard)


def test_steps_that_could_remove_nothing_have_no_rate():
    frame = outcomes({"tier": "undecided"}, {"tier": "undecided"}, {}, {}).lazy()
    patterns, answers = counted(frame, SETTINGS)
    found = waterfall(patterns, answers, LABELS, RULES, SETTINGS)
    assert dict(zip(found["step"], found["rate"], strict=True)) == {
        "flagged": 0.5, "human": None, "judged": None, "by_topic": None, "strict": 0.5,
        OF_WHICH_UNDECIDED: 0.5,
    }  # fmt: skip
    assert printed_waterfall(found)["rate"].to_list() == found["rate"].to_list()
    assert set(ablation(patterns, answers, RULES, SETTINGS)["rate"]) == {None}
    # Nothing flagged is a finding: every step removes nothing.
    frame = outcomes({}, {}).lazy()
    patterns, answers = counted(frame, SETTINGS)
    assert set(waterfall(patterns, answers, LABELS, RULES, SETTINGS)["rate"]) == {0}


def thirds():
    """Seven answers: three flagged, each excluded by another source, and one left."""
    rows = [{"tier": OVERFIT, "tier_label": OVERFIT}, {"tier": OVERFIT, "topic": 80.0}]
    return outcomes(*rows, {"tier": "undecided"}, *({} for _ in range(4)))


def test_printed_rates_add_up_in_tables_for_people():
    frame = thirds().lazy()
    patterns, answers = counted(frame, SETTINGS)
    exact = waterfall(patterns, answers, LABELS, RULES, SETTINGS)
    shown = printed_waterfall(exact)
    rates = dict(zip(shown["step"], shown["rate"].round(9), strict=True))
    # Three sevenths, less one and one, is one: rounded alone, 0.4286 - 0.1429 - 0.1429 is 0.1428.
    assert rates["flagged"] == 0.4286
    assert rates["strict"] == rates[OF_WHICH_UNDECIDED] == 0.1429
    removed = sum(rates[step] for step in ("human", "judged", "by_topic"))
    assert rates["flagged"] - removed == pytest.approx(rates["strict"], abs=1e-9)
    assert shown.drop("rate").equals(exact.drop("rate"))
    row = overestimation(count_cells(frame, SETTINGS.strict_counts), VARIANTS, SETTINGS)
    row = printed_overestimation(row).row(0, named=True)
    assert (row["standard"], row["strict"]) == (0.4286, 0.1429)
    assert row["difference"] == pytest.approx(0.2857, abs=1e-9)
