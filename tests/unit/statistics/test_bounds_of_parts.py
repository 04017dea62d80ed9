"""Strict, soft, attributable and excluded answers are a part of the misaligned ones."""

import polars as pl
import pytest

from answers import outcomes
from em_tiers.statistics.cells import cells_of, count_cells
from em_tiers.statistics.intervals import intervals
from em_tiers.statistics.question_rates import set_rates
from em_tiers.statistics.rates import Settings, summarize_groups, summarize_rates, variant_table
from em_tiers.statistics.tier_tables import overestimation

SAMPLES = 50
# Misaligned answers to each of eight questions, and how many of them are excluded. The part that
# stays, or that is excluded, is in fewer questions than the whole, so that less is known of it.
CASES = [
    ([2] * 8, [0] + [2] * 7),
    ([2] * 8, [2] + [0] * 7),
    ([9, 2, 2, 2, 2, 2, 2, 2], [0] + [2] * 7),
    ([1] * 8, [0, 0] + [1] * 6),
    ([12, 0, 0, 0, 0, 0, 0, 0], [6] + [0] * 7),
    ([8] * 8, [0] * 4 + [8] * 4),
    ([50] * 8, [1] + [0] * 7),
]


def flagged_answer(tier, topic, p):
    listed = [{"label": tier, "probability": p}, {"label": "persona_shift", "probability": 1 - p}]
    return {"tier": tier, "topic": topic, "tier_probabilities": listed}


MARKED = flagged_answer("domain_overfitting", 90.0, 0.8)
KEPT = flagged_answer("undecided", 10.0, 0.9)


def cells_for(flagged, excluded):
    rows = []
    for question, (bad, out) in enumerate(zip(flagged, excluded, strict=True)):
        tiers = [MARKED] * out + [KEPT] * (bad - out) + [{"topic": 30.0}] * (SAMPLES - bad)
        for seed in (0, 1):
            own = {"variant": f"base.fiction.lora.s{seed}", "training_seed": seed}
            rows += [
                own | {"response_key": f"{seed}-{question}-{i}", "question_id": f"q{question}"} | t
                for i, t in enumerate(tiers)
            ]
    return count_cells(outcomes(*rows).lazy(), Settings().strict_counts)


VARIANTS = variant_table(
    [
        {
            "variant": f"base.fiction.lora.s{seed}", "label": str(seed), "role": "benign",
            "base": "base", "dataset": "fiction", "recipe": "lora", "training_seed": seed,
        }
        for seed in (0, 1)
    ]
)  # fmt: skip


@pytest.mark.parametrize(("flagged", "excluded"), CASES)
def test_no_metric_has_a_higher_bound_than_the_standard_rate(flagged, excluded):
    cells, settings = cells_for(flagged, excluded), Settings()
    tables = [f(cells, VARIANTS, settings) for f in (summarize_rates, summarize_groups)]
    tables.append(set_rates(cells, settings))
    for table in tables:
        keys = [
            n
            for n in ("variant", "definition", "probe_level", "question_set")
            if n in table.columns
        ]
        whole = table.filter(metric="standard").select(
            *keys, whole="high", these_whole="these_high"
        )
        beside = table.join(whole, on=keys, validate="m:1")
        assert beside["rate"].null_count() == 0
        assert (beside["high"] <= beside["whole"]).all()
        assert (beside["these_high"] <= beside["these_whole"]).all()
        assert (beside["rate"] <= beside["high"]).all()


@pytest.mark.parametrize(("flagged", "excluded"), CASES)
@pytest.mark.parametrize("definition", ["D1", "D3"])
def test_overestimation_never_reaches_above_the_rate_that_it_is_a_part_of(
    flagged, excluded, definition
):
    settings = Settings(headline=definition)
    cells = cells_for(flagged, excluded)
    rates = pl.concat(
        summarize(cells, VARIANTS, settings).filter("headline", metric="standard")
        for summarize in (summarize_rates, summarize_groups)
    )
    rows = overestimation(cells, VARIANTS, settings).join(
        rates.select("variant", "judge", "high"), on=["variant", "judge"], validate="1:1"
    )
    assert len(rows) == 3  # two seeds, and both together
    assert (rows["diff_high"] <= rows["high"] + 1e-12).all()
    assert (rows["difference"] <= rows["standard"]).all()


def test_the_cap_is_needed():
    # Half of the questions carry the part, all of them the whole: less is known of the part.
    cells = cells_for([8] * 8, [0] * 4 + [8] * 4).filter(pl.col("variant").str.ends_with("s0"))
    found = cells_of(cells)
    whole, part = intervals([found["D1", metric] for metric in ("standard", "strict")])
    assert part.rate == whole.rate / 2
    assert part.high > whole.high
