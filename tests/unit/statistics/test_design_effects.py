"""Design effects of questions and seeds, by hand."""

import numpy as np
import pytest

from em_tiers.statistics.design_effects import (
    CHANCE,
    NO_DIFFERENCE,
    SEED_VARIANCE,
    design_effects,
    seed_effects,
    stacks,
)
from em_tiers.statistics.prior import assumed_effects, assumed_icc, assumed_share
from em_tiers.statistics.question_counts import QuestionCounts


def only_stack(*counts):
    [(_, stack)] = stacks([QuestionCounts(hits, counted) for hits, counted in counts])
    return stack


def test_design_effect_by_hand():
    # 4 questions x 10 answers, rates 0.8, 0.2, 0.4, 0.2: mean 0.4, squared deviations
    # 0.16 + 0.04 + 0 + 0.04 = 0.24. Variance of the mean between questions
    # 4/3 * 0.24 / 16 = 0.02; of 40 independent answers 0.24 / 40 = 0.006: deff 10 / 3.
    hits, counted = np.array([8.0, 2, 4, 2]), np.full(4, 10.0)
    share = assumed_share(hits, counted)
    assumed = assumed_effects(counted[None], assumed_icc(hits, counted))[0]
    effect, freedom, found = (part[0] for part in design_effects(only_stack((hits, counted))))
    assert found == pytest.approx(share)
    assert effect == pytest.approx(max(10 / 3, (10 / 3) ** (1 - share) * assumed**share))
    assert freedom == pytest.approx(3 * effect**2 / ((effect - 1) ** 2 + CHANCE))


def test_kish_for_perfectly_alike_answers():
    # Each question answers always or never: 10 of 20 questions always. Between questions:
    # 20/19 * 20 * 0.25 / 400; independent: 0.25 / 1000. deff = 50 * 20/19, Kish's 1 + 49 * ICC with
    # ICC = 1, times 20/19.
    stack = only_stack(([50] * 10 + [0] * 10, [50] * 20))
    assert design_effects(stack)[0] == pytest.approx(50 * 20 / 19)


def test_seeds_by_hand():
    # 2 seeds x 24 questions x 50 answers, 5 and 15 hits each: rates 0.1 and 0.3, mean 0.2.
    # Variance between seeds 2/1 * (0.05^2 + 0.05^2) = 0.01; within questions 2 * 48 * (0.1 / 48)^2;
    # of 2,400 independent answers 0.16 / 2400.
    stack = only_stack(([[5] * 24, [15] * 24], np.full((2, 24), 50)))
    naive = 0.16 / 2400
    seen, noise = 0.01 / naive, 2 * 48 * (0.1 / 48) ** 2 / naive
    assumed = SEED_VARIANCE * 1200
    added = assumed / noise
    odds = NO_DIFFERENCE * np.sqrt(1 + added) * np.exp(-seen / noise * added / (1 + added) / 2)
    expected = (seen - noise + assumed) / 2 / (1 + odds)
    found, freedom = seed_effects(stack, np.zeros(1))
    assert found[0] == pytest.approx(expected)
    assert freedom[0] == 2


def test_seeds_that_agree_are_taken_not_to_differ():
    counted = np.full((3, 48), 50)
    alike = seed_effects(only_stack((np.full((3, 48), 5), counted)), np.zeros(1))[0][0]
    apart = np.full((3, 48), 5) + np.array([[-4], [0], [4]])
    differ = seed_effects(only_stack((apart, counted)), np.zeros(1))[0][0]
    assert alike < 10 < 100 < differ


def test_one_seed_has_no_effect_of_seeds():
    stack = only_stack(([5, 1], [10, 10]))
    assert seed_effects(stack, np.zeros(1))[0] == 0


def test_counts_of_one_shape_are_stacked_with_their_places():
    listed = [
        QuestionCounts([1, 2], [9, 9]),
        QuestionCounts([1], [9]),
        QuestionCounts([0, 4], [9, 0], by_question=True),
    ]
    (first, pair), (second, single) = stacks(listed)
    assert (first.tolist(), second.tolist()) == ([0, 2], [1])
    assert pair.rate == pytest.approx([listed[0].rate, listed[2].rate])
    assert single.n == [9]
