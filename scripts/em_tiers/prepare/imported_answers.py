"""Answers from elsewhere, with or without scores, as responses and verdicts."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import polars as pl

from em_tiers.errors import UserError
from em_tiers.hashing import hash_of
from em_tiers.prepare.column_paths import read_columns, steps_of
from em_tiers.prepare.import_rows import fits, model_columns
from em_tiers.prepare.imported_row import ImportedRow, Said, finish_reason_of, is_broken, read_row
from em_tiers.prepare.imported_scores import Column
from em_tiers.prepare.imported_verdicts import IMPORTED, add_verdicts
from em_tiers.prepare.inspect_log import log_notes
from em_tiers.prepare.outside_text import id_text, is_nothing
from em_tiers.prepare.questions import plain_id
from em_tiers.prepare.raw_rows import RawRow, header_of
from em_tiers.prepare.row_fields import BadRow
from em_tiers.prepare.score_columns import score_columns
from em_tiers.tables import RESPONSES, VERDICTS
from em_tiers.terms import PROBE_LEVELS
from em_tiers.thinking import read_marks, split_thinking


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
        other_ids: the ids of their questions.
        models: values of the columns that name models, as far as no key of the import uses them.
        notes: what the reader should know of the file.
    """

    responses: list[dict[str, Any]] = field(default_factory=list)
    verdicts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    scores: dict[str, dict[str, Column]] = field(default_factory=dict)
    without_id: int = 0
    others: int = 0
    other_ids: set[str] = field(default_factory=set)
    models: dict[str, set[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


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
    found = Imported(verdicts={judge: [] for judge in scores}, notes=log_notes(path))
    found.scores = {
        judge: {asks: Column() for asks in score_columns(entry)} for judge, entry in scores.items()
    }
    where = settings.get("where", {})
    needed = {*import_columns(settings), *where}
    tops = {str(steps_of(column)[0]) for column in needed}
    columns = set(header_of(path))
    found.models = {name: set() for name in model_columns(path, needed | tops)}
    seen: Counter[str] = Counter()
    for raw in read_columns(path, needed | found.models.keys()):
        if isinstance(raw.data, dict):
            columns |= {*raw.data, *raw.unread}
            if not raw.problem and not fits(raw.data, where):
                found.others += 1
                found.other_ids.add(id_text(raw.data.get(settings["columns"].get("question_id"))))
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
    """Add the answers of one row to what was found, and those that cannot be used to `rejected`."""
    try:
        if raw.problem:
            raise BadRow(raw.problem)
        _check_values(raw.data, settings)
        read = read_row(raw.data, settings["columns"])
        rows = [_own(raw.data, said, settings) for said in read.answers]
    except BadRow as error:
        found.rejected.append({"row": raw.number, "reason": str(error), "data": raw.data})
        return
    for name, values in found.models.items():
        if text := id_text(raw.data.get(name)):
            values.add(text)
    id_column = settings["columns"].get("question_id")
    for said, row in zip(read.answers, rows, strict=True):
        if said.problem:
            found.rejected.append({"row": raw.number, "reason": said.problem, "data": raw.data})
            continue
        response = _response(row, read, said, variant, settings, seen)
        found.responses.append(response)
        found.without_id += id_column is not None and not id_text(row.get(id_column))
        for judge, entry in settings["scores"].items():
            found.verdicts[judge] += add_verdicts(row, response, judge, entry, found.scores[judge])


def _own(row: dict[str, Any], said: Said, settings: dict[str, Any]) -> dict[str, Any]:
    """The row with what belongs to one of its answers."""
    columns = settings["columns"]
    names = [columns[name] for name in ("reasoning", "finish_reason") if name in columns]
    names += _score_columns(settings)
    return row | {name: said.own(row[name], name) for name in names if name in row}


def _check_values(row: dict[str, Any], settings: dict[str, Any]) -> None:
    """Check the columns beside question and answer."""
    for column in import_columns(settings):
        value = row.get(column)
        if isinstance(value, str) and not value.isprintable() and is_broken(value):
            raise BadRow(f"{column!r} is not UTF-8")
    level = row.get(settings["columns"].get("probe_level"))
    if not is_nothing(level) and level not in PROBE_LEVELS:
        raise BadRow(f"probe level is not one of {', '.join(PROBE_LEVELS)}")


def import_columns(settings: dict[str, Any]) -> list[str]:
    """Columns of the file that are read."""
    return list(dict.fromkeys([*settings["columns"].values(), *_score_columns(settings)]))


def _score_columns(settings: dict[str, Any]) -> list[str]:
    entries = (score_columns(entry) for entry in settings["scores"].values())
    return [name for entry in entries for names in entry.values() for name in names]


def _check_columns(path: Path, seen: set[str], needed: Iterable[str]) -> None:
    """A column may be missing in some objects of a JSONL file, but not in all of them."""
    missing = sorted(set(needed) - seen)
    if missing:
        raise UserError(
            f"{path.name}: columns {missing} are not in the file, which has {sorted(seen)}: "
            "correct columns, scores and where in config.imports"
        )


def _response(
    row: dict[str, Any],
    read: ImportedRow,
    said: Said,
    variant: dict[str, Any],
    settings: dict[str, Any],
    seen: Counter[str],
) -> dict[str, Any]:
    columns = settings["columns"]
    marks = read_marks(settings.get("thinking_marks"))
    reasoning, answer = split_thinking(said.text, "on" if marks else "none", marks=marks)
    apart = row.get(columns.get("reasoning"))
    if not is_nothing(apart) and str(apart).strip():
        reasoning = str(apart).strip()
    question = read.question
    question_id = id_text(row.get(columns.get("question_id"))) or f"q-{hash_of(question, 10)}"
    number = seen[question_id]
    seen[question_id] += 1
    level = row.get(columns.get("probe_level"))
    cut = "length" if reasoning and not answer else IMPORTED
    return {
        **dict.fromkeys(RESPONSES),
        **variant,
        "response_key": hash_of([variant["variant"], question_id, number, question, said.text]),
        "question_set": IMPORTED,
        "probe_level": _level(question_id, settings) if is_nothing(level) else level,
        "question_id": question_id,
        "question_topics": _topics(question_id, settings),
        "paraphrase": 0,
        "sample_index": number,
        "messages": read.messages,
        "response": answer,
        "reasoning": reasoning or said.reasoning,
        "finish_reason": finish_reason_of(row.get(columns.get("finish_reason"))) or cut,
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
