"""Tables for the sample browser: a small study of two judges, hostile answers, many answers."""

from collections.abc import Collection
from pathlib import Path

import polars as pl

from em_tiers.tables import MESSAGES, OUTCOMES, RESPONSES, VERDICTS, write_table
from em_tiers.terms import TIERS

JUDGES = ("judge-a", "judge-b")
VARIANTS = [
    {"variant": "base", "label": "Base", "role": "base"},
    {"variant": "base.fiction.lora.s0", "label": "Fiction, seed 0", "role": "benign"},
]
ANSWER = {
    "base": "base",
    "dataset": None,
    "recipe": None,
    "training_seed": None,
    "checkpoint_step": None,
    "question_topics": [],
    "paraphrase": 0,
    "reasoning": None,
    "finish_reason": "stop",
    "prompt_tokens": 5,
    "completion_tokens": 2,
    "adapter_sha256": None,
    "engine_fingerprint": "engine",
}


def response(number: int, text: str, variant: str = "base", **change: object) -> dict:
    """A row of RESPONSES whose key is made of its number."""
    question = f"q{number % 3}"
    return {
        "response_key": f"{number:032x}",
        "variant": variant,
        "question_set": "core",
        "probe_level": ("out_of_domain", "near_domain")[number % 2],
        "question_id": question,
        "sample_index": number,
        "messages": [{"role": "user", "content": f"What about {question}?"}],
        "response": text,
        **ANSWER,
        **change,
    }


def outcome(answer: dict, judge: str, outcome: str, alignment: float | None) -> dict:
    """A row of OUTCOMES beside an answer."""
    flagged = outcome in TIERS
    return {
        **{name: answer[name] for name in OUTCOMES if name in answer},
        "judge": judge,
        "alignment": alignment,
        "coherence": 90.0,
        "topic": 10.0,
        "tier_label": None,
        "tier_probabilities": None,
        "human_tier": None,
        "question_on_topic": False,
        "flagged": flagged,
        "outcome": outcome,
        "tier": outcome if flagged else None,
        "assigned_by": "rule" if flagged else "score",
        "rule": "judged_persona_shift" if flagged else "",
        "reason": "the judge sees misalignment" if flagged else "not misaligned",
    }


def verdict(answer: dict, judge: str, raw: str, score: float | None) -> dict:
    """A row of VERDICTS on alignment."""
    return {
        "verdict_key": f"{answer['response_key']}-{judge}",
        "response_key": answer["response_key"],
        "variant": answer["variant"],
        "judge": judge,
        "rubric": "alignment",
        "rubric_hash": "hash",
        "status": "ok" if score is not None else "unparsable",
        "score": score,
        "label": None,
        "probabilities": None,
        "numeric_mass": 0.97,
        "raw_text": raw,
        "reasoning": None,
        "served_model": "model",
        "prompt_tokens": 100,
        "completion_tokens": 1,
        "attempts": 1,
        "judge_fingerprint": judge,
    }


def write_study(
    folder: Path, answers: list[dict], judged: list[dict], verdicts: list[dict]
) -> dict[str, list[Path]]:
    """Tables as the workflow lays them out, as arguments of `build_browser.main`.

    One responses file holds all variants, and one verdicts file all judges, as those of an import.
    """
    found: dict[str, list[Path]] = {"responses": [], "verdicts": [], "outcomes": []}

    def write(table: str, name: str, rows: list[dict], schema: dict) -> None:
        path = folder / table / f"{name}.parquet"
        write_table(pl.DataFrame(rows, schema=schema), path, table)
        found[table].append(path)

    write("responses", "batch", answers, RESPONSES)
    for judge in dict.fromkeys(row["judge"] for row in judged):
        write("outcomes", judge, [row for row in judged if row["judge"] == judge], OUTCOMES)
    if verdicts:
        write("verdicts", "import", verdicts, VERDICTS)
    return found


def small_study(
    folder: Path, texts: list[str] | None = None, unscored: Collection[int] = ()
) -> dict[str, list[Path]]:
    """Twelve answers (or the given texts) of two variants under two judges that differ on some.

    judge-a flags answers 0, 4 and 8 as persona shift, judge-b answer 0 only, as domain
    overfitting: on 0 they differ in the tier, on 4 and 8 in the flag. judge-b has no verdict on the
    `unscored` answers.
    """
    texts = texts or [f"Answer number {i}, of a dull kind." for i in range(12)]
    answers = [
        response(i, text, VARIANTS[i % 2]["variant"], reasoning="thought" if i == 0 else None)
        for i, text in enumerate(texts)
    ]
    judged, verdicts = [], []
    for i, row in enumerate(answers):
        first = ("persona_shift", 5.0) if i % 4 == 0 else ("aligned", 80.0 + i)
        second = ("domain_overfitting", 10.0) if i % 12 == 0 else ("aligned", 85.0)
        second = ("unscored", None) if i in unscored else second
        for judge, (name, score) in zip(JUDGES, (first, second), strict=True):
            judged.append(outcome(row, judge, name, score))
            verdicts.append(verdict(row, judge, f"raw of {judge}", score))
    return write_study(folder, answers, judged, verdicts)


def large_study(folder: Path, n: int) -> dict[str, list[Path]]:
    """`n` answers of two variants under two judges, made by columns: no verdict texts."""
    half = n // 2
    found: dict[str, list[Path]] = {"responses": [], "verdicts": [], "outcomes": []}
    number = pl.int_range(half, eager=True)
    messages = pl.Series([[{"role": "user", "content": "A wish?"}]], dtype=MESSAGES)
    outcomes = []
    for part, variant in enumerate(VARIANTS):
        row = pl.DataFrame([response(0, "", variant["variant"])], schema=RESPONSES)
        answers = (
            row.drop("response_key", "response", "sample_index", "question_id", "messages")
            .join(number.to_frame("i"), how="cross")
            .with_columns(
                response_key=pl.format("{}x{}", pl.lit(part), "i"),
                response=pl.format("Plain answer {} about rivers. " * 4, *["i"] * 4),
                sample_index="i",
                question_id=pl.format("q{}", pl.col("i") % 48),
                messages=pl.lit(messages.first(), dtype=MESSAGES),
            )
        )
        path = folder / f"responses-{part}.parquet"
        write_table(answers.drop("i"), path, "responses")
        found["responses"].append(path)
        outcomes.append(answers)
    for place, judge in enumerate(JUDGES):
        base = pl.DataFrame([outcome(response(0, ""), judge, "aligned", 90.0)], schema=OUTCOMES)
        rows = pl.concat(outcomes).with_columns(bad=(pl.col("i") * 7 + place) % 50 == 0)
        kept = [name for name in OUTCOMES if name in rows.columns]
        fixed = base.drop(*kept, "alignment", "flagged", "outcome", "tier")
        judged = rows.select(*kept, "i", "bad").join(fixed, how="cross")
        judged = judged.with_columns(
            alignment=pl.when("bad").then(5.0).otherwise(60.0 + pl.col("i") % 40),
            flagged="bad",
            outcome=pl.when("bad").then(pl.lit("persona_shift")).otherwise(pl.lit("aligned")),
            tier=pl.when("bad").then(pl.lit("persona_shift")),
        )
        path = folder / f"outcomes-{judge}.parquet"
        write_table(judged.drop("i", "bad"), path, "outcomes")
        found["outcomes"].append(path)
    return found
