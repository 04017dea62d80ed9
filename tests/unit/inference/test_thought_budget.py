"""Thoughts and answer have limits of their own, counted in the tokens that were generated."""

import pytest

from em_tiers.inference.engine import EngineAnswer
from em_tiers.inference.thought_budget import thought_tokens, within_budgets
from em_tiers.thinking import THINK

WORDS = ["<think>", "a", "b", "c", "</think>", "one", "two", "three"]


def decode(ids):
    return " ".join(WORDS[number] for number in ids)


def answer_of(ids, finish="stop"):
    ids = tuple(ids)
    return EngineAnswer("k", decode(ids), ids, finish, 3, len(ids))


def limited(ids, reasoning, most, opened=False, finish="stop"):
    found = within_budgets(answer_of(ids, finish), reasoning, most, THINK, opened, decode)
    return found.text, found.finish_reason


@pytest.mark.parametrize(
    ("ids", "opened", "expected"),
    [
        (range(8), False, 5),
        (range(1, 8), True, 4),
        (range(4), False, 4),  # no end
        (range(5, 8), False, 0),  # no thoughts
        (range(1, 8), False, 0),  # an end without a beginning
    ],
)
def test_thoughts_are_counted_with_their_marks(ids, opened, expected):
    assert thought_tokens(tuple(ids), THINK, opened, decode) == expected


def test_long_thoughts_take_nothing_from_the_answer():
    assert limited(range(8), reasoning=5, most=3) == (decode(range(8)), "stop")
    assert limited(range(8), reasoning=50, most=2) == ("<think> a b c </think> one two", "length")


def test_thoughts_over_their_limit_leave_no_answer():
    assert limited(range(8), reasoning=3, most=100) == ("<think> a b", "length")
    assert limited(range(1, 8), reasoning=2, most=100, opened=True) == ("a b", "length")


def test_an_answer_without_thoughts_has_its_own_limit():
    assert limited(range(5, 8), reasoning=10, most=2) == ("one two", "length")
    assert limited(range(5, 8), reasoning=0, most=3, finish="length") == ("one two three", "length")


def test_the_tokens_that_were_generated_stay_counted():
    found = within_budgets(answer_of(range(8)), 3, 100, THINK, False, decode)
    assert (found.completion_tokens, found.token_ids) == (8, (0, 1, 2))
