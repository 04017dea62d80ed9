"""What a system text does to a fine-tune beyond what it does to its base model."""

import numpy as np
import polars as pl
import pytest

from answers import outcomes
from em_tiers.statistics.cells import count_cells
from em_tiers.statistics.rates import Settings
from em_tiers.statistics.system_effects import SIDES, summarize_system_effects

SETTINGS = Settings()
NAMES = ("tuned-text", "tuned", "base-text", "base")
CONTRAST = {"name": "tuned-text", "name_without": "tuned"} | {
    side: [name] for side, name in zip(SIDES, NAMES, strict=True)
}


def answers(variant: str, flagged: list[int], of: int = 10) -> pl.DataFrame:
    """`of` answers to each question, so many of them misaligned; -1 where none was asked."""
    return outcomes(
        *(
            {"variant": variant, "question_id": f"q{question}"}
            | {"response_key": f"{variant}-{question}-{i}"}
            | ({"tier": "persona_shift"} if i < number else {})
            for question, number in enumerate(flagged)
            for i in range(of if number >= 0 else 0)
        )
    )


def effects(*frames: pl.DataFrame, contrasts=(CONTRAST,)) -> pl.DataFrame:
    cells = count_cells(pl.concat(frames).lazy(), SETTINGS.strict_counts)
    return summarize_system_effects(cells, contrasts, SETTINGS)


def standard(found: pl.DataFrame) -> dict:
    return found.filter(definition="D1", metric="standard").row(0, named=True)


def test_the_difference_in_differences():
    row = standard(
        effects(
            answers("tuned-text", [5, 6, 4, 5]),
            answers("tuned", [1, 2, 0, 1]),
            answers("base-text", [1, 1, 1, 1]),
            answers("base", [0, 0, 0, 0]),
        )
    )
    assert [row[side] for side in SIDES] == pytest.approx([0.5, 0.1, 0.1, 0.0])
    assert row["tuned_difference"] == pytest.approx(0.4)
    assert row["base_difference"] == pytest.approx(0.1)
    assert row["effect"] == pytest.approx(0.3)
    assert row["low"] < 0.3 < row["high"]
    assert (row["n_with_text"], row["n_base_without_text"], row["clusters"]) == (40, 40, 4)
    assert (row["variant"], row["without"]) == ("tuned-text", "tuned")
    assert (row["base_with"], row["base"]) == ("base-text", "base")


def test_only_questions_that_all_four_answered_count():
    row = standard(
        effects(
            answers("tuned-text", [5, 5, 5, 10]),
            answers("tuned", [1, 1, 1, 0]),
            answers("base-text", [0, 0, 0, -1]),
            answers("base", [0, 0, 0, 0]),
        )
    )
    assert (row["clusters"], row["n_with_text"]) == (3, 30)
    assert row["effect"] == pytest.approx(0.4)


def test_training_seeds_are_pooled():
    contrast = CONTRAST | {"name": "pooled", "with_text": ["a-text", "b-text"]}
    contrast |= {"without_text": ["a", "b"]}
    seeds = [(f"{seed}-text", seed, number) for seed, number in (("a", 4), ("b", 8))]
    frames = [
        frame
        for text, plain, number in seeds
        for frame in (answers(text, [number] * 4), answers(plain, [0] * 4))
    ]
    row = standard(
        effects(
            *frames, answers("base-text", [0] * 4), answers("base", [0] * 4), contrasts=[contrast]
        )
    )
    assert row["variant"] == "pooled"
    assert (row["effect"], row["n_with_text"]) == (pytest.approx(0.6), 80)


def test_without_a_side_there_is_no_row():
    found = effects(answers("tuned-text", [1] * 4), answers("tuned", [1] * 4))
    assert found.is_empty()
    assert found.columns[0] == "variant"


def test_the_interval_covers_the_truth():
    """The text raises the rate of both by about as much: the effect over questions is zero.

    Questions differ in their rates (beta, mean 0.2), and in what the text does to them.
    """
    rng, studies, questions, of = np.random.default_rng(3), 150, 12, 20
    frames, contrasts = [], []
    for study in range(studies):
        plain = rng.beta(1, 4, questions)
        raised = np.clip(plain + rng.normal(0.1, 0.05, questions), 0, 1)
        names = [f"{name}-{study}" for name in NAMES]
        for name, rates in zip(names, (raised, plain, raised, plain), strict=True):
            frames.append(answers(name, rng.binomial(of, rates).tolist(), of))
        sides = {side: [name] for side, name in zip(SIDES, names, strict=True)}
        contrasts.append({"name": names[0], "name_without": names[1]} | sides)
    found = effects(*frames, contrasts=contrasts).filter(definition="D1", metric="standard")
    assert len(found) == studies
    covered = ((found["low"] <= 0) & (found["high"] >= 0)).mean()
    assert covered >= 0.93
    assert abs(found["effect"].mean()) < 0.01
