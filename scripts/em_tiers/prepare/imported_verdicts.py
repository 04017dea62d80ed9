"""Scores and tiers of imported answers, as rows of the verdicts table."""

from collections.abc import Mapping
from typing import Any

from em_tiers.hashing import hash_of
from em_tiers.prepare.imported_scores import Column, add_score, read_score
from em_tiers.prepare.outside_text import is_nothing
from em_tiers.prepare.score_columns import score_columns, translated
from em_tiers.tables import VERDICTS
from em_tiers.terms import SCORES, TIERS
from em_tiers.thinking import is_cut_off

IMPORTED = "imported"
ASSUMED_COHERENCE = 100.0


def add_verdicts(
    row: Mapping[str, Any],
    response: Mapping[str, Any],
    judge: str,
    entry: Mapping[str, Any],
    found: dict[str, Column],
) -> list[dict[str, Any]]:
    """A judge's verdicts on one answer.

    Args:
        entry: the judge's entry of `scores`. Without a column for coherence, an answer with an
            alignment score counts as coherent.
        found: what the judge's columns hold, which is counted here.
    """
    cut = is_cut_off(response["response"], response["finish_reason"])
    verdicts = []
    columns = score_columns(entry)
    for asks in SCORES:
        if asks not in columns:
            continue
        value, status, score = _highest([row.get(c) for c in columns[asks]], entry, asks)
        if cut:
            status, score = "truncated", None  # the score is that of a thought
        add_score(found[asks], translated(value, entry, asks), status, score)
        verdicts.append(_verdict(value, response, judge, asks, status, score=score))
    if "coherence" not in columns:
        first = verdicts[0]
        assumed = ASSUMED_COHERENCE if first["status"] == "ok" else None
        verdicts.append(
            _verdict(None, response, judge, "coherence", first["status"], score=assumed)
        )
    if "tier" in columns and not is_nothing(value := row.get(columns["tier"][0])):
        verdicts.append(_tier(value, response, judge, entry, found["tier"]))
    return verdicts


def _highest(values: list[Any], entry: Mapping[str, Any], asks: str) -> tuple[Any, str, Any]:
    """(value, status, score) of the column with the highest score, or else of the first."""
    read = [(value, *read_score(value, entry, asks)) for value in values]
    scored = [one for one in read if one[2] is not None]
    return max(scored, key=lambda one: one[2]) if scored else read[0]


def _tier(
    value: Any, response: Mapping[str, Any], judge: str, entry: Mapping[str, Any], column: Column
) -> dict[str, Any]:
    named = (_tier_name(translated(value, entry, "tier")), _tier_name(value))
    if label := next((name for name in named if name in TIERS), None):
        column.labels += 1
        return _verdict(value, response, judge, "tier", "ok", label=label)
    column.unread.append(str(value).strip())
    return _verdict(value, response, judge, "tier", "unparsable")


def _tier_name(value: Any) -> str:
    return str(value).strip().casefold().replace(" ", "_")


def _verdict(
    raw: Any,
    response: Mapping[str, Any],
    judge: str,
    asks: str,
    status: str,
    score: float | None = None,
    label: str | None = None,
) -> dict[str, Any]:
    return {
        **dict.fromkeys(VERDICTS),
        "verdict_key": hash_of([IMPORTED, judge, asks, response["response_key"], str(raw)]),
        "response_key": response["response_key"],
        "variant": response["variant"],
        "judge": judge,
        "rubric": asks,
        "rubric_hash": IMPORTED,
        "status": status,
        "score": score,
        "label": label,
        "raw_text": "" if raw is None else str(raw),
        "served_model": f"{IMPORTED}:{judge}",
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "attempts": 0,
        "judge_fingerprint": hash_of([IMPORTED, judge]),
    }
