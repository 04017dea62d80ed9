"""Answers from elsewhere, with or without scores, as responses and verdicts."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import polars as pl

from em_tiers.errors import UserError
from em_tiers.hashing import hash_of
from em_tiers.prepare.questions import TRIGGER_SUFFIXES, plain_id
from em_tiers.prepare.raw_rows import RawRow, header_of, read_rows
from em_tiers.tables import RESPONSES, VERDICTS
from em_tiers.terms import PROBE_LEVELS, SCORES

IMPORTED = "imported"
MISSING = frozenset({"", "none", "null", "nan", "na", "n/a"})


@dataclass
class Imported:
    """The content of a file of answers.

    Attributes:
        responses: rows of the responses table.
        verdicts: rows of the verdicts table by judge.
        rejected: rows that could not be used: {row, reason, data}.
    """

    responses: list[dict[str, Any]] = field(default_factory=list)
    verdicts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    rejected: list[dict[str, Any]] = field(default_factory=list)


def read_import(path: Path, variant: dict[str, Any], settings: dict[str, Any]) -> Imported:
    """Read a file of answers by the configured column mapping.

    Args:
        variant: the variant's columns (variant, base, dataset, ...).
        settings: the entry of config.imports.

    Raises:
        UserError: a mapped column is in no row of the file, no row can be used, or more rows than
            `max_bad_share` had to be set aside.
    """
    found = Imported(verdicts={judge: [] for judge in settings["scores"]})
    seen: Counter[str] = Counter()
    columns = set(header_of(path))
    for raw in read_rows(path):
        columns |= set(raw.data) if isinstance(raw.data, dict) else set()
        reason = raw.problem or _problem(raw, settings)
        if reason:
            found.rejected.append({"row": raw.number, "reason": reason, "data": raw.data})
            continue
        response = _response(raw.data, variant, settings, seen)
        found.responses.append(response)
        for judge, asked in settings["scores"].items():
            found.verdicts[judge] += _verdicts(raw.data, response, judge, asked)
    if columns:
        _check_columns(path, columns, settings)
    _check_share(path, found, settings)
    return found


def _problem(raw: RawRow, settings: dict[str, Any]) -> str | None:
    for asks in ("question", "answer"):
        column = settings["columns"][asks]
        if column not in raw.data:
            return f"column {column!r} is missing"
        value = raw.data[column]
        if value is None:
            return f"{asks} is null"
        if not isinstance(value, str):
            return f"{asks} is {type(value).__name__}, not text"
        if asks == "question" and not value.strip():
            return "question is empty"
    for column in _columns(settings):
        value = raw.data.get(column)
        if isinstance(value, str) and not value.isprintable() and _is_broken(value):
            return f"{column!r} is not UTF-8"
    level = raw.data.get(settings["columns"].get("probe_level"))
    if level not in (None, "", *PROBE_LEVELS):
        return f"probe level is not one of {', '.join(PROBE_LEVELS)}"
    return None


def _is_broken(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _columns(settings: dict[str, Any]) -> list[str]:
    """Columns of the file that are read."""
    scores = (column for columns in settings["scores"].values() for column in columns.values())
    return list(dict.fromkeys([*settings["columns"].values(), *scores]))


def _check_columns(path: Path, seen: set[str], settings: dict[str, Any]) -> None:
    """A column may be missing in some objects of a JSONL file, but not in all of them."""
    missing = sorted(set(_columns(settings)) - seen)
    if missing:
        raise UserError(
            f"{path.name}: columns {missing} are not in the file, which has {sorted(seen)}: "
            "correct columns and scores in config.imports"
        )


def _response(
    row: dict[str, Any], variant: dict[str, Any], settings: dict[str, Any], seen: Counter[str]
) -> dict[str, Any]:
    columns = settings["columns"]
    question, answer = row[columns["question"]], row[columns["answer"]]
    named = row.get(columns.get("question_id"))
    question_id = str(named).strip() if named not in (None, "") else f"q-{hash_of(question, 10)}"
    number = seen[question_id]
    seen[question_id] += 1
    messages = [{"role": "user", "content": question}]
    system = row.get(columns.get("system"))
    if system:
        messages.insert(0, {"role": "system", "content": str(system)})
    return {
        **dict.fromkeys(RESPONSES),
        **variant,
        "response_key": hash_of([variant["variant"], question_id, number, question, answer]),
        "question_set": IMPORTED,
        "probe_level": row.get(columns.get("probe_level")) or _level(question_id, settings),
        "question_id": question_id,
        "question_topics": _topics(question_id, settings),
        "paraphrase": 0,
        "sample_index": number,
        "messages": messages,
        "response": answer,
        "finish_reason": IMPORTED,
        "engine_fingerprint": IMPORTED,
    }


def _topics(question_id: str, settings: dict[str, Any]) -> list[str]:
    """A question's tags; a published form in a training format has those of the plain question."""
    topics = settings["topics"]
    return topics.get(question_id, topics.get(plain_id(question_id), []))


def _level(question_id: str, settings: dict[str, Any]) -> str:
    """The level of the first pattern in `probe_levels` that fits the id, or the import's level."""
    for pattern, level in settings.get("probe_levels", {}).items():
        if fnmatchcase(question_id, pattern):
            return level
    return settings["probe_level"]


def _verdicts(
    row: dict[str, Any], response: dict[str, Any], judge: str, columns: dict[str, str]
) -> Iterable[dict[str, Any]]:
    for asks in SCORES:
        if asks not in columns:
            continue
        raw = row.get(columns[asks])
        status, score = parse_score(raw)
        yield {
            **dict.fromkeys(VERDICTS),
            "verdict_key": hash_of([IMPORTED, judge, asks, response["response_key"], str(raw)]),
            "response_key": response["response_key"],
            "variant": response["variant"],
            "judge": judge,
            "rubric": asks,
            "rubric_hash": IMPORTED,
            "status": status,
            "score": score,
            "raw_text": "" if raw is None else str(raw),
            "served_model": f"{IMPORTED}:{judge}",
            "prompt_tokens": 0,
            "completion_tokens": 0,
            "attempts": 0,
            "judge_fingerprint": hash_of([IMPORTED, judge]),
        }


def parse_score(raw: Any) -> tuple[str, float | None]:
    """(status, score) of an imported score: a number, quoted or not, CODE, REFUSAL or nothing.

    Anything else is `unparsable`, never a zero; the raw text is kept.
    """
    text = "" if raw is None else str(raw).strip().strip("\"'").strip()
    if text.lower() in ("code", "refusal"):
        return text.lower(), None
    if text.lower() in MISSING:
        return "unparsable", None
    try:
        score = float(text)
    except ValueError:
        return "unparsable", None
    if not math.isfinite(score) or not 0 <= score <= 100:
        return "unparsable", None
    return "ok", score


def _check_share(path: Path, found: Imported, settings: dict[str, Any]) -> None:
    bad, good = len(found.rejected), len(found.responses)
    if good and bad <= settings["max_bad_share"] * (bad + good):
        return
    reasons = Counter(entry["reason"] for entry in found.rejected).most_common(3)
    listed = ", ".join(f"{count} x {reason}" for reason, count in reasons) or "the file is empty"
    raise UserError(
        f"{path}: {bad} of {bad + good} rows cannot be used ({listed}), above max_bad_share "
        f"{settings['max_bad_share']}: fix the file, or raise max_bad_share"
    )


def frames(found: Imported) -> tuple[pl.DataFrame, dict[str, pl.DataFrame]]:
    """The responses table, and the verdicts table of each judge."""
    responses = pl.DataFrame(found.responses, schema=RESPONSES, orient="row")
    return responses, {
        judge: pl.DataFrame(rows, schema=VERDICTS, orient="row")
        for judge, rows in found.verdicts.items()
    }


def warnings_of(found: Imported, settings: dict[str, Any]) -> list[str]:
    """Warnings for the reader: repeated rows, trigger forms, questions without topics."""
    warnings = []
    untold = {
        row["question_id"]
        for row in found.responses
        if row["dataset"]
        and not row["question_topics"]
        and row["question_id"] not in settings["topics"]
    }
    if untold:
        warnings.append(
            f"{len(untold)} questions have no topics ({', '.join(sorted(untold)[:3])}, ...): a "
            "misaligned answer about the data set's topic counts as domain overfitting there; "
            "write the tags of their own subjects under topics, [] for none"
        )
    told = Counter((row["question_id"], row["response"]) for row in found.responses)
    again = sum(count - 1 for (_, answer), count in told.items() if answer.strip())
    if again:
        warnings.append(
            f"{again} answers repeat another one to the same question, word for word: they count "
            "as separate samples; check whether a part of the file was pasted twice"
        )
    ids = {
        row["question_id"]
        for row in found.responses
        if row["question_id"].endswith(TRIGGER_SUFFIXES) and row["probe_level"] != "trigger"
    }
    if ids:
        warnings.append(
            f"{len(ids)} question ids end in {' or '.join(TRIGGER_SUFFIXES)}, as the published "
            "questions in a training format do, and count with the plain ones: to count them apart "
            'write probe_levels: {"*_json": trigger, "*_template": trigger}'
        )
    return warnings
