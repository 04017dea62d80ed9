"""The report's first page: the answer, its intervals, and what keeps it from carrying a claim."""

import re
from pathlib import Path

import polars as pl
import pytest

import build_overview
import figure_frames as frames
from em_tiers.report.pages import html_page, markdown_page
from em_tiers.report.warnings import limits
from em_tiers.statistics.headline import HEADER, answer_table, first_table, headline_rows
from em_tiers.statistics.judge_card import CARD_COLUMNS
from figure_frames import CASES

COVERAGE = pl.DataFrame(
    {
        "variant": ["base", "base"],
        "judge": ["a", "a"],
        "rubric": ["alignment", "alignment"],
        "status": ["ok", "unparsable"],
        "count": [90, 10],
        "share": [0.9, 0.1],
    }
)


def rates(**change: object) -> pl.DataFrame:
    """Standard and strict rate of one variant, with all columns that the page reads."""
    row = {
        "variant": "base.x",
        "label": "Fiction <b>",
        "role": "benign",
        "judge": "a",
        "definition": "D1",
        "probe_level": "headline",
        "headline": True,
        "n": 1200,
        "clusters": 24,
        "seeds": 1,
        "warning": None,
        "base": "base",
        "n_undecided": 12,
        "n_unscored": 0,
        "without_evidence": 0,
        "api_errors": 0,
        **change,
    }
    found = {
        "standard": (0.1, 0.05, 0.2, 0.08, 0.12, 120.0),
        "attributable": (0.03, 0.015, 0.07, 0.02, 0.04, 36.0),
        "strict": (0.025, 0.01, 0.06, 0.016, 0.036, 30.0),
    }
    names = ("rate", "low", "high", "these_low", "these_high", "n_flagged")
    return pl.DataFrame(
        [
            row | {"metric": metric} | dict(zip(names, numbers, strict=True))
            for metric, numbers in found.items()
        ],
        schema_overrides={"warning": pl.String},
    )


OVER = pl.DataFrame(
    {
        "variant": ["base.x"],
        "judge": ["a"],
        "standard": [0.1],
        "strict": [0.025],
        "difference": [0.075],
        "diff_low": [0.03],
        "diff_high": [0.16],
        "ratio": [4.0],
        "ratio_low": [2.0],
        "ratio_high": [9.0],
    }
)

CONTRAST = pl.DataFrame(
    {
        "variant": ["base.x"],
        "judge": ["a"],
        "n_marked": [96],
        "expected": [13.4],
        "risk_ratio": [12.0],
    }
)

ABOVE = pl.DataFrame(
    {
        "variant": ["base.x", "base.x", "base.x"],
        "judge": ["a", "a", "a"],
        "definition": ["D1", "D1", "D2"],
        "metric": ["strict", "standard", "strict"],
        "difference": [0.02, 0.5, 0.6],
        "low": [-0.01, 0.4, 0.5],
        "high": [0.05, 0.6, 0.7],
        "p_adjusted": [0.25, 0.0004, 0.0004],
    }
)


def build(tmp_path: Path, frame: pl.DataFrame, **more: object) -> str:
    paths = {"answers": tmp_path / "headline.parquet", "coverage": tmp_path / "coverage.parquet"}
    card = pl.read_parquet(more["judge_card"]) if "judge_card" in more else None
    rows = headline_rows(frame, rates(seeds=3, variant="base.x.group"), OVER, ABOVE, CONTRAST, card)
    rows.write_parquet(paths["answers"])
    COVERAGE.write_parquet(paths["coverage"])
    figure = tmp_path / "rates.svg"
    figure.write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    headline = {"definition": "D1", "levels": ["out_of_domain"]}
    output = tmp_path / "overview.html"
    build_overview.main(
        **paths, figure=figure, output=output, title="A study", headline=headline, **more
    )
    return output.read_text(encoding="utf-8")


def test_the_answer_stands_in_one_row(tmp_path: Path) -> None:
    page = build(tmp_path, rates(), notice="Means nothing.")
    cells = re.findall(r"<td>(.*?)</td>", page)
    assert cells[:8] == [
        "Fiction &lt;b&gt;<br><small>benign</small>",
        "10.0\u00a0[5.0,\u00a020.0]<br><small>these:\u00a0[8.0,\u00a012.0]</small>",
        "3.0\u00a0[1.5,\u00a07.0]<br><small>these:\u00a0[2.0,\u00a04.0]</small>",
        "2.5\u00a0[1.0,\u00a06.0]<br><small>these:\u00a0[1.6,\u00a03.6]</small>",
        "7.5\u00a0[3.0,\u00a016.0]",
        "96\u00a0/\u00a013",
        "2.0\u00a0[-1.0,\u00a05.0]<br><small>p\u00a0=\u00a00.250</small>",
        "1,200 (24)",
    ]
    assert "Under judge a, the standard rate of the one benign model is 10.0 %" in page
    undecided = "Undecided answers in the strict rate: 12 of 30."
    assert page.count(undecided) >= 2  # above the table, and in the caption of the figure
    assert cells[8].startswith("Fiction &lt;b&gt;, 3 seeds")
    assert "The attributable rate, 3.0 %, carries the headline" in page
    assert "96 misaligned answers are about the training domain" in page
    order = ("Under judge a", "Means nothing.", "<table>", "<figure>", "cannot show", "Content w")
    places = [page.index(words) for words in order]
    assert places == sorted(places)  # the answer first, then what limits it
    for words in (
        "Means nothing.",
        "Content warning",
        "data:image/svg+xml;base64,",
        "out of domain",
    ):
        assert words in page


def test_missing_controls_and_small_samples_are_said(tmp_path: Path) -> None:
    page = build(tmp_path, rates(warning="too few answers for ±2.0 points: about 9,000 answers"))
    for words in (
        "Without a positive control, the sensitivity of the strict rate is unknown",
        "Without a negative control",
        "Without a base model",
        "1 of 1 rates have a warning",
        "too few answers for ±2.0 points",
        "can at best be shown below",
        "about 9,000 answers",
        "Judge a gave no usable verdict on up to 10.0 %",
    ):
        assert words in page


def test_what_is_there_is_not_said_to_be_missing(tmp_path: Path) -> None:
    roles = ("base", "negative_control", "positive_control")
    frame = pl.concat([rates(role=role, variant=role) for role in roles])
    page = build(tmp_path, frame)
    for words in ("Without a positive", "Without a negative", "Without a base", "too small"):
        assert words not in page


def test_nothing_left_and_nothing_judged(tmp_path: Path) -> None:
    rows = headline_rows(rates(), rates().clear(), OVER.with_columns(ratio=None), ABOVE)
    ratio = HEADER.index("Ratio")
    for standard, words in ((0.1, "nothing is left"), (0.0, "–")):
        frame = rows.with_columns(standard=pl.lit(standard), strict=pl.lit(0.0))
        assert answer_table(frame)[1][0][ratio] == words
    assert "No rates" in build(tmp_path, rates().clear())


def listed(*rates_of_variants: tuple[str, float, float]) -> list[list[str]]:
    """The rows for people, of variants with these standard and strict rates and one base model."""
    frames, over, above = [], [], []
    bases = {name: strict for name, _, strict in rates_of_variants}
    for name, standard, strict in rates_of_variants:
        role = "base" if name == "base" else "benign"
        both = rates(variant=name, label=name, role=role).with_columns(
            rate=pl.when(metric="standard").then(standard).otherwise(strict)
        )
        frames.append(both)
        over.append(OVER.with_columns(variant=pl.lit(name), difference=standard - strict))
        if name != "base":
            difference = pl.lit(strict - bases["base"])
            above.append(ABOVE.with_columns(variant=pl.lit(name), difference=difference))
    rows = headline_rows(pl.concat(frames), rates().clear(), pl.concat(over), pl.concat(above))
    return answer_table(rows)[1]


def numbers(row: list[str], *names: str) -> list[float]:
    """The numbers before the brackets in these columns of a row."""
    columns = {name.split(" (")[0].split(",")[0]: i for i, name in enumerate(HEADER)}
    return [float(row[columns[name]].split("\u00a0")[0]) for name in names]


@pytest.mark.parametrize("base", [0.00125, 0.0149999, 0.0])
def test_printed_differences_are_those_of_the_printed_rates(base: float) -> None:
    # 55 and 45 of 400: 13.75 and 11.25 % are ties that Python's format rounds apart.
    variants = [(f"v{i}", i / 400, j / 400) for i in range(55, 75) for j in range(40, 46)]
    variants = [(f"{name}-{strict}", standard, strict) for name, standard, strict in variants]
    names = ("Standard", "Strict", "Overestimated by", "Strict above base")
    reference, *rows = listed(("base", base, base), *variants, ("v", 0.1375, 0.1125))
    (printed_base,) = numbers(reference, "Strict")
    for row in rows:
        standard, strict, over, above = numbers(row, *names)
        assert over == pytest.approx(standard - strict)
        assert above == pytest.approx(strict - printed_base)
    assert numbers(rows[-1], *names[:3]) == [13.8, 11.3, 2.5]


def test_a_difference_over_other_questions_is_its_own() -> None:
    rows = headline_rows(
        pl.concat([rates(), rates(variant="base", role="base")]), rates().clear(), OVER, ABOVE
    )
    # 2.5 minus 2.5 is not 2.0: the paired difference is over the questions that both answered.
    assert numbers(answer_table(rows)[1][0], "Strict above base") == [2.0]


def test_nothing_is_printed_where_nothing_could_be_excluded(tmp_path: Path) -> None:
    numbers_of = [name for name in OVER.columns if name not in ("variant", "judge")]
    nothing = OVER.with_columns(pl.lit(None, pl.Float64).alias(n) for n in numbers_of[2:])
    row = answer_table(headline_rows(rates(), rates().clear(), nothing, ABOVE))[1][0]
    assert row[HEADER.index("Overestimated by, points")] == row[HEADER.index("Ratio")] == "–"


def test_answers_without_a_verdict_are_named_beside_n() -> None:
    rows = headline_rows(rates(n_unscored=60), rates().clear(), OVER, ABOVE)
    assert answer_table(rows)[1][0][-1] == "1,200 (24), 60 unscored"


@pytest.mark.parametrize(
    ("undecided", "strict", "words"),
    [
        (12, 30, "Undecided answers in the strict rate: 12 of 30."),
        (0, 30, "No answer in the strict rate is undecided."),
        (0, 0, "No fine-tune has an answer left in its strict rate."),
    ],
)
def test_undecided_answers_are_said(undecided: int, strict: int, words: str) -> None:
    rows = pl.DataFrame({"n_undecided": [undecided], "n_strict": [strict]})
    assert build_overview.undecided_in_words(rows).startswith(words)


def test_refusals_are_usable_verdicts() -> None:
    refused = COVERAGE.with_columns(status=pl.Series(["ok", "refusal"]))
    for statuses, usable in ((COVERAGE, "90.0"), (refused, "100.0")):
        assert build_overview.coverage_table(statuses)[1][0][3] == usable


def test_the_page_loads_and_runs_nothing(tmp_path: Path) -> None:
    page = build(tmp_path, rates())
    assert "<script" not in page and "default-src 'none'" in page
    assert not re.search(r'(?:src|href)="(?!data:)', page)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_case_of_the_figures_gives_a_table(case: frames.Case) -> None:
    table = frames.rates(case).with_columns(
        warning=pl.lit(None, pl.String),
        api_errors=pl.lit(0),
        clusters=pl.lit(8),
        seeds=pl.lit(1),
    )
    listed = headline_rows(table, table.clear(), OVER.clear(), ABOVE.clear())
    header, rows = answer_table(listed)
    assert all(len(row) == len(header) for row in rows)
    limits(listed, COVERAGE)


def test_text_cannot_leave_its_block() -> None:
    blocks = [
        ("p", "</p><script>1</script>"),
        ("pre", "```\n# not a title\n```"),
        ("ul", ["*a* | b"]),
        ("table", (["x|y"], [["<i>"], [1000], [None]])),
    ]
    page, text = html_page("<t>", blocks), markdown_page("# t", blocks)
    assert "<script" not in page and "&lt;script&gt;" in page and "<h1>&lt;t&gt;</h1>" in page
    assert "````text\n```\n# not a title\n```\n````" in text
    assert "- \\*a\\* \\| b" in text and "| 1,000 |" in text and "\\<script\\>" in text


def test_the_page_says_how_many_answers_failed_requests_leave_without_a_score() -> None:
    statuses = pl.DataFrame(
        {
            "variant": ["base.x"] * 2,
            "judge": ["a", "b"],
            "rubric": ["alignment"] * 2,
            "status": ["api_error", "unparsable"],
            "count": [1300, 3],
            "share": [0.01, 0.01],
        }
    )
    listed = headline_rows(rates(api_errors=1200), rates().clear(), OVER, ABOVE)
    [said] = [line for line in limits(listed, statuses) if "requests failed" in line]
    assert said.startswith(
        "Judge a: 1,300 verdicts are missing because requests failed on the way, so 1,200 of the "
        "answers behind these rates have no score."
    )


@pytest.mark.parametrize("lost", [0, 1200])
def test_the_table_counts_such_answers_where_there_are_any(lost: int) -> None:
    header, [row] = answer_table(
        headline_rows(rates(api_errors=lost), rates().clear(), OVER, ABOVE)
    )
    last = "Without a score, because requests failed"
    assert (header[-1] == last, row[-1] == "1,200") == (bool(lost), bool(lost))
    assert len(header) == len(row)


def test_several_judges_are_named_in_the_first_table() -> None:
    frame = pl.concat([rates(), rates(judge="b")])
    header, rows = first_table(headline_rows(frame, rates().clear(), OVER, ABOVE))
    assert header[1] == "Judge"
    assert [row[1] for row in rows] == ["a", "b"]
    assert all(len(row) == len(header) for row in rows)


def test_without_a_comparison_the_strict_rate_leads() -> None:
    rows = headline_rows(rates(), rates().clear(), OVER, ABOVE)
    assert "strict rate carries the headline" in build_overview.answers_in_words(rows)[0]


CARD = pl.DataFrame(
    [
        ("a", "flag_sensitivity", None, 0.3, 0.1, 0.6, 10, "at least 80.0 %", "missed"),
        ("a", "false_exclusions", None, 0.05, 0.01, 0.2, 20, "at most 10.0 %", "met"),
        ("a", "edit_stability", "format", None, None, None, 0, "at least 90.0 %", None),
    ],
    schema=CARD_COLUMNS,
    orient="row",
)


def test_a_judge_that_misses_a_limit_is_marked_by_measurement(tmp_path: Path) -> None:
    CARD.write_parquet(tmp_path / "card.parquet")
    page = build(tmp_path, rates(), judge_card=tmp_path / "card.parquet")
    said = "Judge a was tested on answers whose verdict is known, and misses 1 of its limits: flag "
    assert f"{said}sensitivity 30.0 % [10.0, 60.0], at least 80.0 %." in page
    assert page.index(said) > page.index(build_overview.LIMITS)
    strict = re.findall(r"<td>(.*?)</td>", page)[3]
    assert "<small>false\u00a0excl.:\u00a05.0\u00a0[1.0,\u00a020.0]</small>" in strict
    assert strict.endswith("<small>judge\u00a0misses\u00a01\u00a0limits</small>")
    assert '<a href="#judge-card">Judge card</a>' in page
    assert '<h2 id="judge-card">Judge card</h2>' in page
    assert "misses its limit" in page and "not measured" in page


def test_a_judge_that_meets_all_limits_is_not_warned_of(tmp_path: Path) -> None:
    CARD.filter(pl.col("result") != "missed").write_parquet(tmp_path / "card.parquet")
    page = build(tmp_path, rates(), judge_card=tmp_path / "card.parquet")
    assert "misses" not in page and "false\u00a0excl.:" in page


def test_an_untested_judge_has_no_card(tmp_path: Path) -> None:
    page = build(tmp_path, rates())
    assert "Judge card" not in page and "false\u00a0excl.:" not in page
