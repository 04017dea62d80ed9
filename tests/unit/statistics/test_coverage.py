"""The coverage simulation at a small size: the default holds its level, pooling does not."""

import numpy as np
import polars as pl
import pytest

from benchmarks.coverage_simulation import (
    METHODS,
    Case,
    draw,
    latent_correlation,
    page,
    run,
    small_cases,
)


@pytest.fixture(scope="module")
def found():
    return run(small_cases(), METHODS, 150)


def test_the_default_covers_and_keeps_its_width(found):
    default = found.filter(pl.col("method") == "korn_graubard")
    # 150 draws at 95 %: 93 % less two standard errors of 2 points.
    assert default["coverage"].min() > 0.89
    assert default["zero_width"].max() == 0


def test_pooling_falls_short(found):
    assert found.filter(pl.col("method") == "wilson")["coverage"].min() < 0.7


def test_the_page_names_the_command_and_all_cases(found):
    text = page(found, "COMMAND")
    assert "`COMMAND`" in text
    assert text.count("| 48 | 20 |") >= 2


def test_drawn_answers_have_the_rate_and_the_correlation():
    case = Case(2, 1, 1, 0.2, 0.3, 0.0)
    hits = draw(case, 40_000, np.random.default_rng(0))
    assert hits.mean() == pytest.approx(0.2, abs=0.006)
    pairs = draw(Case(1, 2, 1, 0.2, 0.3, 0.0), 40_000, np.random.default_rng(0)).ravel()
    # The number of events among 2 answers has the variance 2 p q (1 + icc).
    assert pairs.var() == pytest.approx(2 * 0.2 * 0.8 * 1.3, rel=0.03)


def test_no_correlation_needs_no_shared_part():
    assert latent_correlation(0.2, 0.0) == 0
    assert 0.3 < latent_correlation(0.2, 0.3) < 1
