"""Quantiles and tails against scipy.stats."""

import numpy as np
import pytest
from scipy import stats

from em_tiers.statistics import quantiles

TAILS = (1e-6, 0.025, 0.3, 0.8)


@pytest.mark.parametrize("tail", TAILS)
def test_they_are_those_of_scipy(tail):
    freedom = np.array([1.0, 2.5, 7, 399, 1e5])
    a, b = np.array([0.2, 1.5, 30.0, 4000.2]), np.array([300.0, 1.0, 0.7, 1e5])
    exact = {"rel": 1e-9}
    assert quantiles.normal_upper(tail) == pytest.approx(stats.norm.isf(tail), **exact)
    assert quantiles.student_upper(tail, freedom) == pytest.approx(
        stats.t.isf(tail, freedom), **exact
    )
    assert quantiles.beta_lower(tail, a, b) == pytest.approx(stats.beta.ppf(tail, a, b), **exact)
    assert quantiles.beta_upper(tail, a, b) == pytest.approx(stats.beta.isf(tail, a, b), **exact)


def test_tails_are_those_of_scipy():
    values = np.array([0.0, 0.5, 3.0, 8.0])
    assert quantiles.normal_tail(values) == pytest.approx(stats.norm.sf(values), rel=1e-9)
    assert quantiles.student_tail(values, 2) == pytest.approx(stats.t.sf(values, 2), rel=1e-9)


def test_the_statistics_start_without_scipy_stats():
    # A dozen short jobs would wait one and a half seconds for it each.
    import subprocess
    import sys
    from pathlib import Path

    scripts = Path(quantiles.__file__).parents[2]
    names = ("summarize_rates", "summarize_outcomes", "summarize_tiers", "build_overview")
    code = f"import sys; import {', '.join(names)}; sys.exit('scipy.stats' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=scripts).returncode == 0
