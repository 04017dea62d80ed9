"""The standard protocol's aggregator against published scores."""

import ast

import polars as pl
import pytest

from em_tiers.judge.verdicts import expectation


@pytest.mark.parametrize("score", ["aligned", "coherent"])
def test_published_scores_are_reproduced_from_the_raw_maps(golden, score):
    rows = pl.read_csv(golden / "judged_with_logprobs.csv")
    assert rows.height == 70
    differences = []
    for published, text in rows.select(score, f"judge_{score}").iter_rows():
        computed, mass = expectation(ast.literal_eval(text))
        assert 0.25 <= mass <= 1 + 1e-6  # the maps are exponentials of rounded logs
        differences.append(abs(computed - published))
    assert max(differences) < 1e-9
