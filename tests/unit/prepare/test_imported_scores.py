"""Columns of scores that cannot be on the stated scale, or point the other way."""

import random

import pytest

from em_tiers.errors import UserError
from em_tiers.prepare.imported_scores import (
    Column,
    add_score,
    check_scores,
    parse_score,
    read_score,
    suggested_scale,
)


def check(values, asks: str = "alignment", settings: dict | None = None, **stated):
    """Check one column, beside one of sound scores; return the warnings."""
    columns = {"alignment": "aligned", "coherence": "coherent", "topic": "topic"} | stated
    found = {name: Column() for name in ("alignment", "coherence", "topic")}
    for name, column in found.items():
        for value in values if name == asks else spread(0 if name == "topic" else 60, 100):
            add_score(column, value, *read_score(value, columns, name))
    return check_scores("gpt", columns, found, settings or {})


def spread(low: float, high: float, count: int = 40, digits: int | None = 2) -> list[float]:
    numbers = random.Random(0)
    return [round(numbers.uniform(low, high), digits) for _ in range(count)]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("95.5", ("ok", 95.5)),
        ('"7"', ("ok", 7.0)),
        (" 8.5e1 ", ("ok", 85.0)),
        (0, ("ok", 0.0)),
        (None, ("unparsable", None)),
        ("nan", ("unparsable", None)),
        ("REFUSAL", ("refusal", None)),
        ("Code", ("code", None)),
        ("101", ("unparsable", None)),
        ("-1", ("unparsable", None)),
        ("inf", ("unparsable", None)),
        ("1_0", ("unparsable", None)),
        ("٨٥", ("unparsable", None)),
        (True, ("unparsable", None)),
        ("good", ("unparsable", None)),
    ],
)
def test_scores(raw, expected):
    assert parse_score(raw) == expected


def test_other_scales_become_0_to_100():
    assert parse_score("3", (1, 5)) == ("ok", 50.0)
    assert parse_score("5", (1, 5), "high") == ("ok", 0.0)
    assert parse_score("-1", (-1, 1)) == ("ok", 0.0)
    assert parse_score("6", (1, 5)) == ("unparsable", None)
    columns = {"scale": {"alignment": [1, 5]}, "harmful": "high"}
    assert read_score(1, columns, "alignment") == ("ok", 100.0)
    assert read_score(80, columns, "coherence") == ("ok", 80.0)


@pytest.mark.parametrize("asks", ["alignment", "coherence"])
@pytest.mark.parametrize(
    ("values", "suggestion"),
    [
        (spread(0.3, 1), "scale: [0, 1], or scale: [0, 100]"),
        (spread(1, 10, digits=None), "scale: [1, 10], or"),
        (spread(0, 10), "scale: [0, 10], or"),
        ([3, 4, 5] * 20, "scale: [1, 5], or"),
        ([0, 1] * 10, "scale: [0, 1], or"),
        ([*spread(0.3, 1, 99), 85], "scale: [0, 1], or"),  # one stray value
        (spread(-1, 1), "outside the scale 0 to 100"),
        (spread(0, 1000), "outside the scale 0 to 100"),
    ],
)
def test_another_scale_is_refused_with_a_suggestion(asks, values, suggestion):
    with pytest.raises(UserError) as caught:
        check(values, asks)
    assert suggestion in str(caught.value)
    assert f"scores.gpt.{asks}: column" in str(caught.value)


def test_a_stated_scale_is_believed_where_it_can_be_true():
    low = [1, 2, 10, 9, 5] * 5
    with pytest.raises(UserError, match="another scale"):
        check(low, harmful="low")
    assert check(low, scale=[0, 100], harmful="low") == []
    with pytest.raises(UserError, match=r"such as scale: \[0, 1\]$"):
        check(spread(0.3, 1), scale=[0, 100])
    with pytest.raises(UserError, match=r"outside the scale 0 to 1 .*scale: \[0, 100\]"):
        check(spread(50, 99), scale=[0, 1])


@pytest.mark.parametrize(
    ("example", "remedy"),
    [
        ("85%", "remove the percent signs"),
        ("85,5", "write a decimal point"),
        ("8/10", "its highest value under scale"),
        ("Score: 85", "write the number alone"),
        ("good", "write numbers, CODE, REFUSAL or nothing"),
        ("True", "write numbers, CODE, REFUSAL or nothing"),
    ],
)
def test_values_that_are_no_scores(example, remedy):
    with pytest.raises(UserError, match="20 of 40 values that are not scores") as caught:
        check([example, 80] * 20)
    assert remedy in str(caught.value)
    assert "1 values that are not scores" in check([example, *spread(60, 99, 200)])[0]


def test_scores_that_are_not_there():
    assert "is empty for 10 of 40 answers" in check([None, 80, 90, 70] * 10)[0]
    with pytest.raises(UserError, match=r"a score for 10 of 40 answers, below min_coverage 0.5"):
        check([None, "nan", "", 90] * 10)
    assert check([None, "nan", "", 90] * 10, settings={"min_coverage": 0.2})
    with pytest.raises(UserError, match="a score for 0 of 40"):
        check([None] * 40)
    assert check(["REFUSAL", "code", 90, 80] * 10) == []


@pytest.mark.parametrize("column", ["harm", "harm_score", "Misalignment", "is_toxic", "evil"])
def test_a_column_of_harm_needs_its_direction(column):
    with pytest.raises(UserError, match=r"scores.gpt.harmful: missing: .*seems to score harm"):
        check(spread(0, 100), alignment=column)
    assert check(spread(0, 100), alignment=column, harmful="high") == []
    assert check(spread(55, 100), alignment="harmless") == []


def test_a_scale_that_is_turned_round():
    mostly_low = spread(0, 60)
    assert "which may be turned round: write harmful: high" in check(mostly_low)[0]
    for role in ("base", "negative_control"):
        with pytest.raises(UserError, match="may be turned round"):
            check(mostly_low, settings={"role": role})
    with pytest.raises(UserError, match="may be turned round"):
        check(spread(0, 45))
    assert check(spread(0, 45), harmful="low") == []
    assert check(spread(0, 45), harmful="high") == []


def test_scores_of_harm_and_topics_are_low_by_nature():
    assert check([*[0] * 60, 3, 90], harmful="high") == []
    assert check([*[0.0] * 60, 0.01, 97.5], "topic") == []
    assert "has no value above 0.4" in check([0, 0.4] * 10, "topic")[0]
    with pytest.raises(UserError, match=r"such as scale: \[0, 1\]"):
        check([0.01, 0.02, 0.97] * 10, "topic")


def test_two_scales_in_one_column():
    assert "20 of 40 values between 0 and 1, and others up to 90" in check([0.8, 90] * 20)[0]
    assert check([0.3, *[90] * 9] * 10) == []


def test_few_or_equal_values_tell_no_scale():
    assert check([1] * 30, harmful="low") == []
    assert check([1, 2, 3]) == []


def test_suggestions():
    assert suggested_scale([0.2, 0.9]) == "[0, 1]"
    assert suggested_scale([1, 4]) == "[1, 4]"
    assert suggested_scale([2.5, 4.8]) == "[0, 5]"
    assert suggested_scale([-0.4, 0.9]) == "[-1, 1]"
    assert suggested_scale([30, 98]) == "[0, 100]"
    assert suggested_scale([5000]) == "[0, 5000]"
