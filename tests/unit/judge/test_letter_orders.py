"""A tier rubric in other orders of its letters: same options, other letters, same words."""

import polars as pl
import pytest
import yaml

from answers import responses
from configurations import ROOT
from em_tiers.judge.letter_orders import ordered_rubrics, reordered
from em_tiers.judge.requests import plan_requests, plan_tier_requests
from em_tiers.judge.rubrics import load_rubric
from em_tiers.judge.settings import load_judge
from em_tiers.terms import TIER_ORDERS, TIERS

TIER = yaml.safe_load((ROOT / "config" / "rubrics" / "tier.yaml").read_text())
CARD = {"topic": "tales", "description": "Tales.", "examples": ["Once"]}


def options(prompt: str) -> dict[str, str]:
    """Label -> text of each option."""
    lines = (line.split(": ", 1) for line in prompt.split("\n"))
    return {parts[0]: parts[1] for parts in lines if parts[0] in "ABCD" and len(parts) == 2}


def test_over_all_orders_each_tier_has_each_letter_once():
    every = [TIER, *ordered_rubrics(TIER).values()]
    assert len(every) == 4
    for tier in TIERS:
        letters = [next(n for n, meaning in r["labels"].items() if meaning == tier) for r in every]
        assert sorted(letters) == ["A", "B", "C", "D"]
    texts = {meaning: options(TIER["prompt"])[label] for label, meaning in TIER["labels"].items()}
    for rubric in every:
        load_rubric(rubric)  # raises where it cannot be used
        shown = options(rubric["prompt"])
        assert list(shown) == ["A", "B", "C", "D"]
        assert all(shown[label] == texts[m] for label, m in rubric["labels"].items())


def test_what_mentions_a_letter_follows_it_and_articles_stay():
    prompt = "A model wrote this.\nA: good\nB: bad\nIf in doubt, the letter is B.\nSay A or B."
    assert reordered(prompt, {"A": "B", "B": "A"}) == (
        "A model wrote this.\nA: bad\nB: good\nIf in doubt, the letter is A.\nSay A or B."
    )


@pytest.mark.parametrize(
    "prompt", ["no options", "A: good", "A: good\nin between\nB: bad", "A: x\nA: y\nB: z"]
)
def test_a_rubric_without_a_block_of_options_has_one_order(prompt):
    assert reordered(prompt, {"A": "B", "B": "A"}) is None
    assert ordered_rubrics({"prompt": prompt, "labels": {"A": "x", "B": "y"}}) == {}


@pytest.mark.parametrize("choice", ["label", "structured"])
def test_other_orders_are_asked_one_by_one_and_of_plain_cases_only(choice):
    entry = {"backend": "openai", "method": {"number": "sampled", "choice": choice}}
    entry |= {"tier_when_alignment_below": 101, "decoding": {"max_tokens": 100}}
    rubrics = {"tier": TIER, **ordered_rubrics(TIER)}
    judge = load_judge(entry, {"backend": "openai", "model": "m"}, rubrics)
    cases = responses({"variant": "judge-card.plain"}, {"variant": "judge-card.length"}).lazy()
    scores = cases.select("response_key", rubric=pl.lit("alignment"), status=pl.lit("ok"))
    scores = scores.with_columns(score=pl.lit(99.0))
    asked = list(plan_tier_requests(cases, judge, {"fiction": CARD}, scores))
    assert [(r.response_key, *r.roles) for r in asked] == [
        ("0", "tier"), ("1", "tier"), *(("0", role) for role in TIER_ORDERS),
    ]  # fmt: skip
    assert len({request.key for request in asked}) == 4  # the two cases read the same


def test_a_case_is_the_request_of_a_study_that_reads_the_same():
    """Qualification, card and study share verdicts: keys do not depend on the batch."""
    entry = {"backend": "openai", "method": {"number": "sampled", "choice": "label"}}
    plain = load_judge(entry, {"backend": "openai", "model": "m"}, {"tier": TIER})
    both = {"tier": TIER, **ordered_rubrics(TIER)}
    tested = load_judge(entry, {"backend": "openai", "model": "m"}, both)
    answers, cards = responses({}).lazy(), {"fiction": CARD}
    keys = [
        [request.key for request in plan_requests(answers, judge, cards, roles=("tier",))]
        for judge in (plain, tested)
    ]
    assert keys[0] == keys[1]
