"""How many answers each variant has, and how many are still to be sampled.

A variant is a mapping {variant, adapter, journal (None: imported), responses, questions: {path: n
samples}, expected: {path: (prompts, basis) or None}}; a responses file may hold several variants.
"""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from em_tiers.tables import read_table, scan_table

QUESTION_KEY = ("question_set", "question_id", "paraphrase", "messages")


def exists(path: str | Path | None) -> bool:
    """Whether a path is given and is there."""
    return bool(path) and Path(path).exists()


def sampled_answers(variant: Mapping[str, Any]) -> pl.LazyFrame:
    """The variant's rows of its responses file, which must exist."""
    answers = scan_table(variant["responses"], "responses")
    return answers.filter(variant=variant["variant"])


def count_sampled(variant: Mapping[str, Any]) -> int:
    """Answers of the variant in its responses file; 0 without a file."""
    if not exists(variant["responses"]):
        return 0
    return sampled_answers(variant).select(pl.len()).collect().item()


def is_retrained(variant: Mapping[str, Any], rebuilt: Collection[str]) -> bool:
    """Whether its fine-tune is to be trained (again), so that all its answers are new."""
    return bool(variant["adapter"]) and variant["adapter"] in rebuilt


def wanted_answers(questions: Mapping[str, int]) -> int | None:
    """Answers that a variant will have; None before its question tables exist."""
    if not all(exists(path) for path in questions):
        return None
    return sum(len(read_table(path, "questions")) * n for path, n in questions.items())


def expected_answers(variant: Mapping[str, Any]) -> int | None:
    """Answers that a variant will have, where some question tables are not made yet.

    None where nothing says how many prompts one of them will hold.
    """
    if variant["journal"] is None:
        return None
    total = 0
    for path, n in variant["questions"].items():
        expected = variant["expected"][path]
        if not exists(path) and expected is None:
            return None
        total += n * (len(read_table(path, "questions")) if exists(path) else expected[0])
    return total


def bases_of_estimate(variants: Iterable[Mapping[str, Any]]) -> list[str]:
    """What the numbers of `expected_answers` are taken from, each once."""
    found = {
        expected[1]: None
        for variant in variants
        for path, expected in variant["expected"].items()
        if expected and not exists(path)
    }
    return list(found)


def missing_answers(variant: Mapping[str, Any], rebuilt: Collection[str]) -> int | None:
    """Answers that a variant lacks: samples and questions that its table does not hold.

    None where the number is still unknown: no question tables, or answers not imported yet.
    """
    held = count_sampled(variant)
    if variant["journal"] is None:
        return 0 if held else None
    wanted = wanted_answers(variant["questions"])
    if wanted is None or not held or is_retrained(variant, rebuilt):
        return wanted
    asked = pl.concat(
        read_table(path, "questions").select(QUESTION_KEY).with_columns(samples=pl.lit(n, pl.Int32))
        for path, n in variant["questions"].items()
    )
    answers = sampled_answers(variant).select(*QUESTION_KEY, "sample_index")
    kept = answers.join(asked.lazy(), on=QUESTION_KEY).filter(
        pl.col("sample_index") < pl.col("samples")
    )
    return wanted - kept.select(pl.len()).collect().item()
