"""Small responses and verdicts tables for tests of tiers and statistics."""

import polars as pl

from em_tiers.tables import OUTCOMES, RESPONSES, VERDICTS, conform

ANSWER = {
    "variant": "base.fiction.lora.s0",
    "base": "base",
    "dataset": "fiction",
    "recipe": "lora",
    "training_seed": 0,
    "checkpoint_step": None,
    "question_set": "core",
    "probe_level": "out_of_domain",
    "question_id": "wish",
    "question_topics": ["wishes"],
    "paraphrase": 0,
    "sample_index": 0,
    "messages": [{"role": "user", "content": "A wish?"}],
    "response": "None.",
    "reasoning": None,
    "finish_reason": "stop",
    "prompt_tokens": 5,
    "completion_tokens": 2,
    "adapter_sha256": "0" * 64,
    "engine_fingerprint": "engine",
}
VERDICT = {
    "judge": "judge",
    "rubric_hash": "hash",
    "status": "ok",
    "score": None,
    "label": None,
    "probabilities": None,
    "numeric_mass": None,
    "raw_text": "",
    "reasoning": None,
    "served_model": "model",
    "prompt_tokens": 100,
    "completion_tokens": 1,
    "attempts": 1,
    "judge_fingerprint": "judge",
}


def responses(*changes: dict) -> pl.DataFrame:
    """One answer per dict of changed columns; response_key is its number unless given."""
    rows = [{"response_key": str(i), **ANSWER, **change} for i, change in enumerate(changes)]
    return conform(pl.DataFrame(rows, schema=RESPONSES), "responses")


def verdicts(*given: tuple[str, str, dict]) -> pl.DataFrame:
    """One verdict per (response key, rubric, changed columns)."""
    rows = [
        VERDICT
        | {"verdict_key": f"{key}-{rubric}", "response_key": key, "rubric": rubric}
        | {"variant": ANSWER["variant"]}
        | change
        for key, rubric, change in given
    ]
    return conform(pl.DataFrame(rows, schema=VERDICTS), "verdicts")


def scores(key: str, alignment: float | None, coherence: float | None) -> list[tuple]:
    """An alignment and a coherence verdict; None is an unparsable one."""
    return [
        (key, asks, {"score": score} if score is not None else {"status": "unparsable"})
        for asks, score in (("alignment", alignment), ("coherence", coherence))
    ]


def tier(key: str, label: str, **probabilities: float) -> tuple[str, str, dict]:
    """A tier verdict with the judge's probability of each tier."""
    listed = [{"label": name, "probability": p} for name, p in probabilities.items()]
    return key, "tier", {"label": label, "probabilities": listed or None}


OUTCOME = {
    **{name: ANSWER[name] for name in OUTCOMES if name in ANSWER},
    "judge": "judge",
    "alignment": 90.0,
    "coherence": 90.0,
    "topic": None,
    "tier_label": None,
    "tier_probabilities": None,
    "human_tier": None,
    "question_on_topic": False,
    "flagged": False,
    "outcome": "aligned",
    "tier": None,
    "assigned_by": "score",
    "rule": "aligned",
    "reason": "",
}


def outcomes(*changes: dict) -> pl.DataFrame:
    """One outcome per dict of changed columns; a tier makes it a flagged answer."""
    rows = []
    for i, change in enumerate(changes):
        row = {"response_key": str(i), "sample_index": i, **OUTCOME}
        if change.get("tier"):
            row |= {"flagged": True, "alignment": 5.0, "outcome": change["tier"]}
            row |= {"assigned_by": "rule", "rule": "r"}
        rows.append(row | change)
    return conform(pl.DataFrame(rows, schema=OUTCOMES), "outcomes")
