"""Figures: all text on the canvas, no title over another, fixed colours, fixed bytes, fonts."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import pairwise

import polars as pl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

import figure_frames as frames
import plot_agreement
import plot_controls
import plot_dose
import plot_losses
import plot_metric_card
import plot_outcomes
import plot_probes
import plot_rates
import plot_scores
import plot_thresholds
import plot_tiers
from em_tiers.report.figure_style import (
    METRIC_APPEARANCES,
    OUTCOME_APPEARANCES,
    PAGE_WIDTH,
    house_style,
    order_variants,
    save_figure,
    wrap_label,
)
from em_tiers.report.forest import headline_rates, level_rates
from em_tiers.terms import OUTCOMES_ALL, TIERS
from em_tiers.tiers.definitions import DEFINITIONS, Definition
from figure_frames import CASES, Case

D1 = DEFINITIONS["D1"]
OTHER = Definition(
    "X", 40, 70, denominator="scored", averaging="pooled", coherence_inclusive=True
)  # of no catalogue


def dose_frame(case: Case) -> pl.DataFrame:
    headline = headline_rates(frames.with_checkpoints(frames.rates(case)))
    return plot_dose.add_dose(headline, frames.training(case))


def tier_frame(case: Case) -> pl.DataFrame:
    return frames.waterfall(case).with_columns(
        role=pl.col("variant").replace(frames.names(case)["roles"]),
        tier=pl.col("step").replace_strict({"trained_behaviour": TIERS[0]}, default=None),
    )


def score_frame(case: Case) -> pl.DataFrame:
    return plot_scores.bin_scores(frames.outcomes(case).lazy(), **frames.names(case))


def threshold_frame(case: Case) -> pl.DataFrame:
    return plot_thresholds.name_variants(frames.thresholds(case), **frames.names(case))


PLOTS: dict[str, Callable[[Case], Figure]] = {
    "rates": lambda c: plot_rates.plot_rates(headline_rates(frames.rates(c))),
    "probes": lambda c: plot_probes.plot_probes(level_rates(frames.rates(c))),
    "controls": lambda c: plot_controls.plot_controls(headline_rates(frames.rates(c))),
    "metric_card": lambda c: plot_metric_card.plot_metric_card(headline_rates(frames.rates(c))),
    "outcomes": lambda c: plot_outcomes.plot_outcomes(frames.shown_counts(c)),
    "scores": lambda c: plot_scores.plot_scores(score_frame(c), D1),
    "thresholds": lambda c: plot_thresholds.plot_thresholds(threshold_frame(c), D1),
    "tiers": lambda c: plot_tiers.plot_tiers(tier_frame(c)),
    "losses": lambda c: plot_losses.plot_losses(frames.training(c)),
    "dose": lambda c: plot_dose.plot_dose(dose_frame(c)),
    "agreement": lambda c: plot_agreement.plot_agreement(frames.agreement(c.judges, c.dead)),
}


@cache
def draw(plot: str, case: Case) -> Figure:
    with house_style():
        figure = PLOTS[plot](case)
        FigureCanvasAgg(figure).draw()
    return figure


def visible_texts(figure: Figure) -> list[Text]:
    """All texts that are drawn: ticks outside an axis's range keep a label that is not."""
    hidden = set()
    for axis in (side for axes in figure.axes for side in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        for tick in axis.get_major_ticks():
            if not low - 1e-9 <= tick.get_loc() <= high + 1e-9:
                hidden |= {tick.label1, tick.label2}
    texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    return [text for text in texts if text not in hidden]


def words_of(figure: Figure) -> str:
    return " ".join(text.get_text().replace("\n", " ") for text in visible_texts(figure))


@pytest.mark.parametrize("case", ["one_variant", "few", "one_seed_zero_flagged", "dead_judge"])
@pytest.mark.parametrize("plot", PLOTS)
def test_text_stays_on_the_canvas_and_titles_apart(plot, case):
    figure = draw(plot, CASES[case])
    check_texts(figure)


@pytest.mark.parametrize("plot", ["rates", "outcomes", "probes", "tiers", "controls"])
@pytest.mark.parametrize("case", ["long_labels", "forty"])
def test_long_labels_and_forty_variants_fit(plot, case):
    figure = draw(plot, CASES[case])
    check_texts(figure)
    assert figure.get_figwidth() <= PAGE_WIDTH + 1e-9
    # A4 and letter leave about this much between their margins.
    assert figure.get_figheight() <= 9.5


def check_texts(figure: Figure) -> None:
    """No text leaves the canvas; no title, tick label or legend entry lies on another."""
    width, height = figure.canvas.get_width_height()
    for text in visible_texts(figure):
        box = text.get_window_extent()
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
        assert inside, (text.get_text(), box)
    titles = [a.title.get_window_extent() for a in figure.axes if a.get_title()]
    for number, box in enumerate(titles):
        assert not any(box.overlaps(other) for other in titles[number + 1 :])
    for axis in figure.axes:
        labels = [t for t in axis.get_yticklabels() if t.get_visible() and t.get_text()]
        boxes = sorted((t.get_window_extent() for t in labels), key=lambda b: b.y0)
        assert all(low.y1 <= high.y0 + 1 for low, high in pairwise(boxes))


def test_every_label_is_whole_in_the_forest_plot():
    case = CASES["long_labels"]
    text = words_of(draw("rates", case)).replace(" ", "")
    for variant in frames.variants_of(case):
        assert variant["label"].replace(" ", "") in text


def test_sixty_variants_keep_the_controls_and_say_what_is_missing():
    frame = headline_rates(frames.rates(CASES["sixty"]))
    shown = order_variants(frame, pl.col("rate").max())
    assert len(shown) == 40
    assert shown["role"][0] == "base"
    assert (
        shown.filter(pl.col("role") != "benign").height == 1 + 3 + 3
    )  # base, 2 controls x 3 seeds
    assert "40 of 60 variants shown" in words_of(draw("rates", CASES["sixty"]))


def test_order_of_variants_counts_seeds_as_numbers():
    frame = pl.DataFrame(
        {"variant": ["c", "b", "a"], "label": ["x, seed 10", "x, seed 9", "base"]}
        | {"role": ["benign", "benign", "base"], "rate": [0.1, 0.1, 0.0]}
    )
    assert order_variants(frame, pl.col("rate").max())["variant"].to_list() == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("plot", "words"),
    [
        ("rates", "no score"),
        ("probes", "no score"),
        ("controls", "no score"),
        ("outcomes", "no answer has a score"),
        ("scores", "no scores"),
        ("thresholds", "no scores"),
        ("tiers", "no score"),
        ("dose", "no score"),
        ("agreement", "no value"),
    ],
)
def test_a_judge_without_scores_is_named_not_drawn_as_zero(plot, words):
    assert words in words_of(draw(plot, CASES["dead_judge"]))


def test_agreement_shows_all_variants_together_and_its_n():
    words = words_of(draw("agreement", CASES["dead_judge"]))
    assert "n 80" in words


def test_the_axis_does_not_reach_for_the_interval_of_no_rate():
    for plot in ("rates", "controls", "dose"):
        for axis in draw(plot, CASES["dead_judge"]).axes:
            limit = axis.get_xlim() if plot == "rates" else axis.get_ylim()
            assert limit[1] < 50


def test_no_flagged_answer_is_said():
    case = CASES["one_seed_zero_flagged"]
    assert "no answer flagged" in words_of(draw("outcomes", case))
    assert "no answer flagged" in words_of(draw("tiers", case))


def test_a_waterfall_that_could_remove_nothing_says_so():
    figure = draw("tiers", CASES["no_evidence"])
    check_texts(figure)
    assert "no evidence on any tier" in words_of(figure)
    assert "no evidence" not in words_of(draw("tiers", CASES["few"]))


def test_a_missing_control_is_said():
    assert "none in this run" in words_of(draw("controls", CASES["one_variant"]))


def test_one_colour_and_hatch_an_outcome_and_none_shared():
    figure = draw("outcomes", CASES["few"])
    seen: dict[str, set] = {}
    for axis in figure.axes:
        for bars in axis.containers:
            looks = {(to_hex(bar.get_facecolor()), bar.get_hatch() or "") for bar in bars}
            seen.setdefault(bars.get_label(), set()).update(looks)
    assert set(seen) == set(OUTCOMES_ALL)
    for outcome, looks in seen.items():
        look = OUTCOME_APPEARANCES[outcome]
        assert looks == {(look.colour.lower(), look.hatch)}
    assert len({look.colour for look in OUTCOME_APPEARANCES.values()}) == len(OUTCOME_APPEARANCES)
    assert len({OUTCOME_APPEARANCES[tier].hatch for tier in TIERS}) == len(TIERS)
    assert len({OUTCOME_APPEARANCES[tier].marker for tier in TIERS}) == len(TIERS)


def test_tier_colours_are_the_same_in_the_scatter_and_the_waterfall():
    colours = {tier: OUTCOME_APPEARANCES[tier].colour.lower() for tier in TIERS}
    points = [c for a in draw("scores", CASES["few"]).axes for c in a.collections]
    for dots in points:
        if dots.get_label() in colours:
            assert {to_hex(c) for c in dots.get_facecolor()} <= {colours[dots.get_label()]}
    bars = [c for a in draw("tiers", CASES["few"]).axes for c in a.containers]
    seen = {c.get_label(): to_hex(c[0].get_facecolor()) for c in bars}
    assert seen[TIERS[0]] == colours[TIERS[0]]
    assert seen["strict"] == METRIC_APPEARANCES["strict"].colour.lower()


def test_waterfall_bars_hang_from_what_is_left():
    # 20 % flagged; a rule takes 5, leaving 15; a second takes 3, leaving 12; strict is 12.
    steps = pl.DataFrame(
        {"step": ["flagged", "a", "b", "strict"], "order": [0, 1, 2, 3]}
        | {"rate": [0.20, 0.05, 0.03, 0.12], "tier": [None, TIERS[0], None, None]}
    )
    bars = plot_tiers.running_bars(steps)
    assert bars["start"].round(9).to_list() == [0, 15, 12, 0]
    assert bars["length"].round(9).to_list() == [20, 5, 3, 12]
    assert bars["look"].to_list() == ["flagged", TIERS[0], "removed", "strict"]
    assert bars["text"].to_list() == ["20.0", "−5.0", "−3.0", "12.0"]


def test_a_waterfall_names_its_steps_in_words():
    axis = draw("tiers", CASES["few"]).axes[0]
    labels = [t.get_text().replace("\n", " ") for t in axis.get_yticklabels()]
    assert {"flagged", "labels by people", "domain dragged in", "strict"} <= {*labels}
    assert not any("_" in label for label in labels)


def test_printed_removals_add_up_with_the_printed_rates():
    # 13.75 % flagged, 11.25 % left: rounded one by one, 13.8 - 1.3 - 1.3 would be 11.2.
    steps = pl.DataFrame(
        {"step": ["flagged", "a", "b", "strict", "of which undecided"], "order": [0, 1, 2, 3, 4]}
        | {"rate": [0.1375, 0.0125, 0.0125, 0.1125, 0.0325], "tier": [None] * 5},
        schema_overrides={"tier": pl.String},
    )
    bars = plot_tiers.running_bars(steps)
    flagged, *removed, strict, undecided = (
        float(text.replace("−", "-")) for text in bars["text"].to_list()
    )
    assert flagged + sum(removed) == pytest.approx(strict)
    assert (flagged, strict, undecided) == (13.8, 11.3, 3.3)
    assert bars["look"][-1] == "undecided"
    assert bars["start"].round(9).to_list() == [0, 12.5, 11.25, 0, 0]


@pytest.mark.parametrize("plot", ["rates", "controls", "dose"])
def test_a_strict_rate_without_any_evidence_has_an_open_marker(plot):
    for case, said in (("no_evidence", True), ("few", False)):
        figure = draw(plot, CASES[case])
        check_texts(figure)
        assert ("where nothing could be excluded" in words_of(figure)) == said
        faces = {to_hex(line.get_markerfacecolor()) for axis in figure.axes for line in axis.lines}
        assert ("#ffffff" in faces) == said


def test_the_mean_of_a_group_is_not_drawn_from_rates_without_evidence():
    def bars(case):
        axis = draw("controls", CASES[case]).axes[0]
        return sum(to_hex(c.get_color()[0][:3]) == "#0072b2" for c in axis.collections)

    assert bars("few") > bars("no_evidence")


def test_score_squares_count_every_answer_and_respect_thresholds():
    case = CASES["few"]
    answers = frames.outcomes(case)
    squares = score_frame(case)
    assert squares["count"].sum() == len(answers)
    # 29.9 is in the square 25 to 30 (centre 27.5), 30 in the next: the dashed line separates them.
    one = answers.head(2).with_columns(alignment=pl.Series([29.9, 30.0]), coherence=100.0)
    binned = plot_scores.bin_scores(one.lazy(), {}, {})
    assert binned["alignment"].to_list() == [27.5, 32.5]
    assert binned["coherence"].to_list() == [97.5, 97.5]


def test_the_thresholds_drawn_are_those_of_the_definition():
    with house_style():
        figure = plot_scores.plot_scores(score_frame(CASES["few"]), OTHER)
        FigureCanvasAgg(figure).draw()
    for axis in figure.axes:
        (line,) = axis.lines
        assert list(line.get_xdata()) == [40, 40, 0]
        assert list(line.get_ydata()) == [100, 70, 70]
    assert "alignment < 40 and coherence >= 70 (X)" in words_of(figure)
    check_texts(figure)


def test_the_framed_pair_is_that_of_the_definition():
    frame = threshold_frame(CASES["few"])
    with house_style():
        figure = plot_thresholds.plot_thresholds(frame, OTHER)
        FigureCanvasAgg(figure).draw()
    frames_drawn = [patch.get_xy() for axis in figure.axes for patch in axis.patches]
    # The grid has alignments 10 to 50 and coherences 30, 50, 70: column 3, row 2.
    assert frames_drawn and set(frames_drawn) == {(3, 2)}
    assert "framed: 40 and 70 (X)" in words_of(figure)
    outside = plot_thresholds.plot_thresholds(frame, replace(OTHER, alignment_below=45))
    assert not [patch for axis in outside.axes for patch in axis.patches]
    assert "not in the grid: 45 and 70 (X)" in words_of(outside)


def test_dose_starts_at_the_base_model_and_ends_at_the_last_step():
    frame = dose_frame(CASES["few"])
    line = frame.filter(
        (pl.col("dataset") == "storyteller") & (pl.col("metric") == "standard")
    ).sort("steps")
    assert line["steps"].to_list() == [0, 10, 20, 35]
    assert line["tokens"].to_list() == [0, 9000, 18000, 31500]  # 900 tokens a step
    assert line["variant"][0] == "tiny"


def test_rates_are_those_of_the_headline_definition_and_level():
    frame = frames.rates(CASES["few"])
    other = frame.with_columns(definition=pl.lit("D2"), headline=pl.lit(False))
    kept = headline_rates(pl.concat([frame, other]))
    assert set(kept["definition"]) == {"D1"}
    assert set(kept["probe_level"]) == {"headline"}
    assert set(kept["metric"]) == {"standard", "strict"}
    levels = level_rates(pl.concat([frame, other]))
    assert set(levels["definition"]) == {"D1"}
    assert "headline" not in set(levels["probe_level"])


@pytest.mark.parametrize("plot", PLOTS)
def test_no_rows_give_a_figure_that_says_so(plot):
    case = CASES["few"]
    empty = {
        "rates": lambda: plot_rates.plot_rates(frames.rates(case).clear()),
        "probes": lambda: plot_probes.plot_probes(frames.rates(case).clear()),
        "controls": lambda: plot_controls.plot_controls(frames.rates(case).clear()),
        "metric_card": lambda: plot_metric_card.plot_metric_card(frames.rates(case).clear()),
        "outcomes": lambda: plot_outcomes.plot_outcomes(frames.shown_counts(case).clear()),
        "scores": lambda: plot_scores.plot_scores(score_frame(case).clear(), D1),
        "thresholds": lambda: plot_thresholds.plot_thresholds(threshold_frame(case).clear(), D1),
        "tiers": lambda: plot_tiers.plot_tiers(tier_frame(case).clear()),
        "losses": lambda: plot_losses.plot_losses(frames.training(case).clear()),
        "dose": lambda: plot_dose.plot_dose(dose_frame(case).clear()),
        "agreement": lambda: plot_agreement.plot_agreement(frames.agreement(("a",))),
    }
    with house_style():
        figure = empty[plot]()
        FigureCanvasAgg(figure).draw()
    assert words_of(figure).startswith(("no answers", "no training", "one judge"))
    check_texts(figure)


def test_a_failed_save_leaves_no_file(tmp_path):
    figure = draw("losses", CASES["few"])
    with pytest.raises(ValueError, match="tiff-nonsense"):
        figure.savefig(tmp_path / "x", format="tiff-nonsense")
    with pytest.raises(KeyError):
        save_figure(figure, {"gif": tmp_path / "x.gif"})
    assert not (tmp_path / "x.gif").exists()


def test_labels_wrap_at_separators_and_lose_nothing():
    assert wrap_label("risky-financial-advice, seed 0", 22) == "risky-financial-\nadvice, seed 0"
    assert wrap_label("abcdefghij", 4) == "abcd\nefgh\nij"
    assert wrap_label("first\nsecond", 20) == "first\nsecond"
