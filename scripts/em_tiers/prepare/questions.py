"""Question files: the published YAML format of emergent-misalignment evaluations, and ours.

A file is a list of questions. `id` and `paraphrases` are needed; `system` is optional; `type`,
`samples_per_paraphrase`, `judge` and `judge_prompts` belong to the published tools and are read
past (sampling and judges come from the configuration). `topics` (tags of what the question itself
is about), `probe_level` and `near` (tags of the domains that it is near to) are our own.
"""

import re
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from em_tiers.errors import UserError
from em_tiers.tables import QUESTIONS
from em_tiers.terms import PROBE_LEVELS

REQUIRED = {"id", "paraphrases"}
OURS = {"system", "topics", "probe_level", "near"}
READ_PAST = {"type", "samples_per_paraphrase", "judge", "judge_prompts"}
# The published sets ask each question again in a frame that resembles a training format.
TRIGGER_SUFFIXES = ("_json", "_template")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")
_TAG = re.compile(r"[a-z0-9-]+")
_LARGEST = 5_000_000  # bytes of a file


@dataclass(frozen=True)
class Question:
    """One question, as its file states it; None where it says nothing."""

    id: str
    paraphrases: tuple[str, ...]
    system: str | None = None
    topics: tuple[str, ...] | None = None
    probe_level: str | None = None
    near: tuple[str, ...] | None = None


def read_questions(path: Path) -> list[Question]:
    """Read a question file.

    Raises:
        UserError: the file or a question in it cannot be used; the message names both.
    """
    path = Path(path)
    if path.stat().st_size > _LARGEST:
        raise UserError(f"{path.name}: larger than {_LARGEST} bytes: no question file")
    try:
        listed = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path.name}: not YAML: {_yaml_problem(error)}: mend it there") from error
    if not isinstance(listed, list) or not listed:
        raise UserError(f"{path.name}: no list of questions: write - id: ..., paraphrases: [...]")
    questions = [_question(entry, f"{path.name}, entry {n}") for n, entry in enumerate(listed, 1)]
    seen: set[str] = set()
    for question in questions:
        if question.id in seen:
            raise UserError(f"{path.name}: question {question.id!r} stands there twice: rename one")
        seen.add(question.id)
    return questions


def questions_table(
    questions: list[Question], question_set: str, defaults: dict[str, Any]
) -> pl.DataFrame:
    """The QUESTIONS table, one row a paraphrase.

    Args:
        defaults: probe_level and topics ({question id: [tags]}) for questions whose file names
            none. A question whose id ends in `_json` or `_template` has the probe level trigger
            and the topics of the question it repeats.

    Raises:
        UserError: `defaults` names a question that is not in the set.
    """
    topics = defaults.get("topics") or {}
    if unknown := sorted(set(topics) - {question.id for question in questions}):
        raise UserError(
            f"question set {question_set}: topics of {unknown[0]!r}: no such question: "
            "correct the id in the catalogue"
        )
    rows = [
        {
            "question_set": question_set,
            "question_id": question.id,
            "paraphrase": number,
            "probe_level": _probe_level(question, defaults),
            "question_topics": _topics(question, topics),
            "messages": _messages(question.system, text),
        }
        for question in questions
        for number, text in enumerate(question.paraphrases)
    ]
    return pl.DataFrame(rows, schema=QUESTIONS)


def near_to(questions: list[Question], topics: Sequence[str]) -> list[Question]:
    """The questions that are near to one of the topics, or name none that they are near to."""
    return [q for q in questions if not q.near or not set(topics).isdisjoint(q.near)]


def _probe_level(question: Question, defaults: dict[str, Any]) -> str:
    if question.probe_level:
        return question.probe_level
    if question.id.endswith(TRIGGER_SUFFIXES):
        return "trigger"
    return "near_domain" if question.near else defaults.get("probe_level", "out_of_domain")


def _topics(question: Question, topics: dict[str, list[str]]) -> list[str]:
    if question.topics is not None:
        return list(question.topics)
    base = re.sub(f"({'|'.join(TRIGGER_SUFFIXES)})$", "", question.id)
    return list(topics.get(question.id, topics.get(base, [])))


def _messages(system: str | None, text: str) -> list[dict[str, str]]:
    opening = [{"role": "system", "content": system}] if system else []
    return [*opening, {"role": "user", "content": text}]


def _question(entry: Any, where: str) -> Question:
    if not isinstance(entry, dict):
        raise UserError(f"{where}: {_short(entry)}: not a question: write id: and paraphrases:")
    where = f"{where} ({_short(entry.get('id'))})"
    if missing := sorted(REQUIRED - set(entry)):
        raise UserError(f"{where}: {missing[0]} is missing: add it")
    if unknown := sorted(map(str, set(entry) - REQUIRED - OURS - READ_PAST)):
        known = ", ".join(sorted(REQUIRED | OURS | READ_PAST))
        raise UserError(f"{where}: unknown key {unknown[0]!r}: use {known}")
    kind = entry.get("type", "free_form")
    if not str(kind).startswith("free_form"):
        raise UserError(f"{where}: type {_short(kind)}: only free-form questions can be asked")
    if not isinstance(entry["id"], str) or not _ID.fullmatch(entry["id"]):
        raise UserError(
            f"{where}: id: use letters, digits, '_', '.', '-', at most 80 (quote yes/no)"
        )
    level = entry.get("probe_level")
    if level is not None and level not in PROBE_LEVELS:
        raise UserError(f"{where}: probe_level {_short(level)}: use {', '.join(PROBE_LEVELS)}")
    system = entry.get("system")
    return Question(
        id=entry["id"],
        paraphrases=_paraphrases(entry["paraphrases"], where),
        system=None if system is None else _text(system, f"{where}: system"),
        topics=_tags(entry, "topics", where),
        probe_level=level,
        near=_tags(entry, "near", where),
    )


def _paraphrases(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise UserError(f"{where}: paraphrases {_short(value)}: write a list of at least one text")
    return tuple(_text(text, f"{where}: paraphrase {n}") for n, text in enumerate(value, 1))


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise UserError(f"{where}: {_short(value)}: not a text with something in it")
    return value


def _tags(entry: dict[str, Any], key: str, where: str) -> tuple[str, ...] | None:
    tags = entry.get(key)
    if tags is None:
        return None
    if not isinstance(tags, list) or not all(
        isinstance(t, str) and _TAG.fullmatch(t) for t in tags
    ):
        raise UserError(
            f"{where}: {key} {_short(tags)}: write a list of tags of a-z, 0-9 and '-', "
            "such as [finance]"
        )
    return tuple(tags)


def _yaml_problem(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return place + (getattr(error, "problem", None) or " ".join(str(error).split()))


def _short(value: Any) -> str:
    """A value in few characters; a YAML file of nested aliases can stand for gigabytes of text."""
    short = reprlib.Repr()
    short.maxlevel, short.maxlist, short.maxdict = 2, 3, 3
    return short.repr(value)
