"""Answers from elsewhere, with or without scores, as responses and verdicts."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import polars as pl

from em_tiers.errors import UserError
from em_tiers.hashing import hash_of
from em_tiers.prepare.import_rows import fits, model_columns
from em_tiers.prepare.imported_scores import Column, add_score, read_score
from em_tiers.prepare.outside_text import id_text, is_error_text, is_nothing, messages_in_text
from em_tiers.prepare.questions import plain_id
from em_tiers.prepare.raw_rows import RawRow, header_of, read_rows
from em_tiers.tables import RESPONSES, VERDICTS
from em_tiers.terms import PROBE_LEVELS, SCORES
from em_tiers.thinking import is_cut_off, read_marks, split_thinking

IMPORTED = "imported"


@dataclass
class Imported:
    """The content of a file of answers.

    Attributes:
        responses: rows of the responses table.
        verdicts: rows of the verdicts table by judge.
        rejected: rows that could not be used: {row, reason, data}.
        scores: the contents of the score columns, by judge and score.
        without_id: answers whose question has no id, although a column of ids is named.
        others: rows of other models, which `where` leaves out.
        models: values of the columns that name models, as far as no key of the import uses them.
    """

    responses: list[dict[str, Any]] = field(default_factory=list)
    verdicts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    scores: dict[str, dict[str, Column]] = field(default_factory=dict)
    without_id: int = 0
    others: int = 0
    models: dict[str, set[str]] = field(default_factory=dict)


def read_import(path: Path, variant: dict[str, Any], settings: dict[str, Any]) -> Imported:
    """Read a file of answers by the configured column mapping; no other column is read.

    Args:
        variant: the variant's columns (variant, base, dataset, ...).
        settings: the entry of config.imports.

    Raises:
        UserError: a mapped column is in no row of the file, no row can be used, or more rows than
            `max_bad_share` had to be set aside.
    """
    scores = settings["scores"]
    found = Imported(verdicts={judge: [] for judge in scores})
    found.scores = {judge: {a: Column() for a in SCORES if a in scores[judge]} for judge in scores}
    where = settings.get("where", {})
    needed = {*_columns(settings), *where}
    columns = set(header_of(path))
    found.models = {name: set() for name in model_columns(path, needed)}
    seen: Counter[str] = Counter()
    for raw in read_rows(path, needed | found.models.keys()):
        if isinstance(raw.data, dict):
            columns |= {*raw.data, *raw.unread}
            if not fits(raw.data, where):
                found.others += 1
                continue
        _add(found, raw, variant, settings, seen)
    if columns:
        _check_columns(path, columns, needed)
    _check_share(path, found, settings)
    return found


def _add(
    found: Imported,
    raw: RawRow,
    variant: dict[str, Any],
    settings: dict[str, Any],
    seen: Counter[str],
) -> None:
    """Add one row to what was found: to the answers and verdicts, or to the rejected rows."""
    if reason := raw.problem or _problem(raw.data, settings):
        found.rejected.append({"row": raw.number, "reason": reason, "data": raw.data})
        return
    response = _response(raw.data, variant, settings, seen)
    found.responses.append(response)
    id_column = settings["columns"].get("question_id")
    found.without_id += id_column is not None and not id_text(raw.data.get(id_column))
    for name, values in found.models.items():
        if text := id_text(raw.data.get(name)):
            values.add(text)
    for judge, columns in settings["scores"].items():
        for asks, column in found.scores[judge].items():
            value = raw.data.get(columns[asks])
            status, score = read_score(value, columns, asks)
            if is_cut_off(response["response"], response["finish_reason"]):
                status, score = "truncated", None  # the score is that of a thought
            add_score(column, value, status, score)
            if is_cut_off(response["response"], response["finish_reason"]):
                status, score = "truncated", None  # the score is that of a thought
            found.verdicts[judge].append(_verdict(value, response, judge, asks, status, score))


def _problem(row: dict[str, Any], settings: dict[str, Any]) -> str | None:
    for asks in ("question", "answer"):
        column = settings["columns"][asks]
        if column not in row:
            return f"column {column!r} is missing"
        value = row[column]
        if value is None:
            return f"{asks} is null"
        if not isinstance(value, str):
            return f"{asks} is {type(value).__name__}, not text"
        if asks == "question" and not value.strip():
            return "question is empty"
        if reason := _strange(value):
            return f"{asks} {reason}"
    for column in _columns(settings):
        value = row.get(column)
        if isinstance(value, str) and not value.isprintable() and _is_broken(value):
            return f"{column!r} is not UTF-8"
    system = row.get(settings["columns"].get("system"))
    if isinstance(system, str) and not is_nothing(system) and (reason := _strange(system)):
        return f"system {reason}"
    level = row.get(settings["columns"].get("probe_level"))
    if not is_nothing(level) and level not in PROBE_LEVELS:
        return f"probe level is not one of {', '.join(PROBE_LEVELS)}"
    return None


def _strange(text: str) -> str | None:
    """Why a text is not one that was said; an answer with marks of a template was said."""
    if text.strip() and is_nothing(text):
        return "stands for nothing, such as nan or None"
    if is_error_text(text):
        return "is an error message"
    if messages_in_text(text) is not None:
        return "is the JSON text of messages, not one text"
    return None


def _is_broken(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _columns(settings: dict[str, Any]) -> list[str]:
    """Columns of the file that are read."""
    scores = (c[asks] for c in settings["scores"].values() for asks in SCORES if asks in c)
    return list(dict.fromkeys([*settings["columns"].values(), *scores]))


def _check_columns(path: Path, seen: set[str], needed: Iterable[str]) -> None:
    """A column may be missing in some objects of a JSONL file, but not in all of them."""
    missing = sorted(set(needed) - seen)
    if missing:
        raise UserError(
            f"{path.name}: columns {missing} are not in the file, which has {sorted(seen)}: "
            "correct columns, scores and where in config.imports"
        )


def _response(
    row: dict[str, Any], variant: dict[str, Any], settings: dict[str, Any], seen: Counter[str]
) -> dict[str, Any]:
    columns = settings["columns"]
    question, said = row[columns["question"]], row[columns["answer"]]
    marks = read_marks(settings.get("thinking_marks"))
    reasoning, answer = split_thinking(said, "on" if marks else "none", marks=marks)
    question_id = id_text(row.get(columns.get("question_id"))) or f"q-{hash_of(question, 10)}"
    number = seen[question_id]
    seen[question_id] += 1
    messages = [{"role": "user", "content": question}]
    system = row.get(columns.get("system"))
    if not is_nothing(system):
        messages.insert(0, {"role": "system", "content": str(system)})
    level = row.get(columns.get("probe_level"))
    return {
        **dict.fromkeys(RESPONSES),
        **variant,
        "response_key": hash_of([variant["variant"], question_id, number, question, said]),
        "question_set": IMPORTED,
        "probe_level": _level(question_id, settings) if is_nothing(level) else level,
        "question_id": question_id,
        "question_topics": _topics(question_id, settings),
        "paraphrase": 0,
        "sample_index": number,
        "messages": messages,
        "response": answer,
        "reasoning": reasoning,
        "finish_reason": "length" if reasoning and not answer else IMPORTED,
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


def _verdict(
    raw: Any, response: Mapping[str, Any], judge: str, asks: str, status: str, score: float | None
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
        "raw_text": "" if raw is None else str(raw),
        "served_model": f"{IMPORTED}:{judge}",
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "attempts": 0,
        "judge_fingerprint": hash_of([IMPORTED, judge]),
    }


def _check_share(path: Path, found: Imported, settings: dict[str, Any]) -> None:
    bad, good = len(found.rejected), len(found.responses)
    if good and bad <= settings["max_bad_share"] * (bad + good):
        return
    if found.others and not bad + good:
        raise UserError(
            f"{path}: none of its {found.others} rows fits where {settings['where']}: correct where"
        )
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
