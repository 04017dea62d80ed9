"""The metric card's figure: equal rates stay visible, with 40 models too."""

import numpy as np
import polars as pl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

import figure_frames as frames
from em_tiers.report.figure_style import house_style
from em_tiers.report.forest import headline_rates
from plot_metric_card import METRICS, plot_metric_card


def with_equal_rates(case):
    """All three rates of each model are its standard rate."""
    standard = headline_rates(frames.rates(frames.CASES[case])).filter(metric="standard")
    return pl.concat(standard.with_columns(metric=pl.lit(name)) for name in METRICS)


@pytest.mark.parametrize("case", ["few", "long_labels", "forty"])
def test_markers_of_equal_rates_do_not_cover_each_other(case):
    with house_style():
        figure = plot_metric_card(with_equal_rates(case))
        FigureCanvasAgg(figure).draw()
    axis = figure.axes[0]
    drawn = [line for line in axis.lines if line.get_marker() not in ("", "None", None)]
    looks = {line.get_marker() for line in drawn}
    assert len(looks) == len(METRICS)
    points = np.concatenate([line.get_xydata() for line in drawn if line.get_mfc() != "white"])
    places = axis.transData.transform(points)
    size = max(line.get_markersize() for line in drawn) * figure.dpi / 72
    gaps = np.abs(places[:, None, :] - places[None, :, :]).max(axis=2)
    gaps[np.diag_indices(len(gaps))] = np.inf
    assert gaps.min() >= 0.9 * size
