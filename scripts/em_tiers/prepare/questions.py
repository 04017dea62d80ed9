"""Question files: the published YAML format of emergent-misalignment evaluations, and ours.

A file is a list of questions, in YAML or as a table (question_files.py). `id` and `paraphrases` are
required; `system` is optional; `type`, `samples_per_paraphrase`, `judge` and `judge_prompts` belong
to the published tools and are ignored (sampling and judges come from the configuration). `topics`
(tags of the question's own subject), `probe_level` and `near` (tags of the domains that the
question is near) are our own. A paraphrase is a text, or a conversation that ends with the user's
message; `question` and `messages` are one paraphrase each.

Imported while the workflow is parsed, so nothing heavy is imported here.
"""

import re
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from em_tiers.errors import UserError, require_known
from em_tiers.prepare.outside_text import is_nothing, strange_text
from em_tiers.prepare.question_files import ONE_FORM, read_entries
from em_tiers.terms import PROBE_LEVELS

# A text, or (role, content) of each message.
Paraphrase = str | tuple[tuple[str, str], ...]

REQUIRED = {"id", "paraphrases"}
OURS = {"system", "topics", "probe_level", "near"}
IGNORED = {"type", "samples_per_paraphrase", "judge", "judge_prompts"}
# The published sets ask each question again in a frame that resembles a training format.
TRIGGER_SUFFIXES = ("_json", "_template")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")
_TAG = re.compile(r"[a-z0-9-]+")
_DIGITS = re.compile(r"-?\d+(\.\d*)?([eE][+-]?\d+)?")
_LARGEST = 5_000_000  # bytes of a file


@dataclass(frozen=True)
class Question:
    """One question as its file states it; None where the file states nothing."""

    id: str
    paraphrases: tuple[Paraphrase, ...]
    system: str | None = None
    topics: tuple[str, ...] | None = None
    probe_level: str | None = None
    near: tuple[str, ...] | None = None
    passed_over: tuple[str, ...] = ()  # keys of the published tools


def read_questions(path: Path) -> list[Question]:
    """Read a question file.

    Raises:
        UserError: the file or a question in it cannot be used; the message names both.
    """
    path = Path(path)
    if path.stat().st_size > _LARGEST:
        raise UserError(
            f"{path.name}: a question file of more than {_LARGEST:,} bytes is too large: correct "
            "the path"
        )
    known = {*REQUIRED, *OURS, *IGNORED, *ONE_FORM}
    questions = [_question(entry, where) for where, entry in read_entries(path, known)]
    _check_ids(questions, path.name)
    check_twins({path.name: questions})
    return questions


def _check_ids(questions: list[Question], file: str) -> None:
    """Refuse one id for two questions, also as 1 and 1.0, which data frames do not tell apart."""
    seen: dict[str | float, str] = {}
    for question in questions:
        value = _number(question.id)
        if value in seen:
            known = seen[value]
            if known == question.id:
                raise UserError(f"{file}: two questions have the id {known!r}: rename one")
            raise UserError(
                f"{file}: the ids {known!r} and {question.id!r} are the same number: rename one"
            )
        seen[value] = question.id


def check_twins(sets: Mapping[str, Sequence[Question]]) -> None:
    """Check that no text is asked twice: its answers would count as two independent questions.

    Args:
        sets: the questions of each file or set, by a name for messages.

    Raises:
        UserError: two questions, or two paraphrases of one, agree but for case and white space.
    """
    seen: dict[tuple[str, str], str] = {}
    for name, questions in sets.items():
        for question in questions:
            for form in question.paraphrases:
                text = text_of(form)
                asked = (_compared(question.system or ""), _compared(text))
                here = f"{name} ({question.id!r})"
                if asked in seen:
                    also = "twice" if seen[asked] == here else f"and also in {seen[asked]}"
                    raise UserError(
                        f"{here}: {_short(text)} is asked here {also}: remove one of them"
                    )
                seen[asked] = here


def check_topics(questions: list[Question], topics: Mapping[str, Sequence[str]]) -> None:
    """Check that `topics` ({question id: tags} of the catalogue) names questions of the file.

    Raises:
        UserError: it names another question.
    """
    ids = [question.id for question in questions]
    for name in topics:
        require_known(name, ids, "topics", "question")


def messages_of(system: str | None, form: Paraphrase) -> list[dict[str, str]]:
    """A question as chat messages."""
    turns = (("user", form),) if isinstance(form, str) else form
    opening = (("system", system),) if system else ()
    return [{"role": role, "content": content} for role, content in (*opening, *turns)]


def text_of(form: Paraphrase) -> str:
    """All texts of a paraphrase."""
    return form if isinstance(form, str) else "\n\n".join(content for _, content in form)


def near_to(questions: list[Question], topics: Sequence[str]) -> list[Question]:
    """The questions that are near one of the topics, or that name no topic they are near."""
    return [q for q in questions if not q.near or not set(topics).isdisjoint(q.near)]


def probe_level_of(question: Question, default: str) -> str:
    """A question's own level; trigger for an id in a published format; else `default`."""
    if question.probe_level:
        return question.probe_level
    if question.id.endswith(TRIGGER_SUFFIXES):
        return "trigger"
    return "near_domain" if question.near else default


def topics_of(question: Question, topics: Mapping[str, Sequence[str]]) -> list[str]:
    """A question's own tags, or those of `topics`, by its id or that of the plain question."""
    if question.topics is not None:
        return list(question.topics)
    return list(topics.get(question.id, topics.get(plain_id(question.id), [])))


def plain_id(question_id: str) -> str:
    """The id of the question that a published form in a training format repeats."""
    return re.sub(f"({'|'.join(TRIGGER_SUFFIXES)})$", "", question_id)


def _question(entry: Any, where: str) -> Question:
    if not isinstance(entry, dict):
        raise UserError(f"{where}: {_short(entry)} is not a question: write id: and paraphrases:")
    where = f"{where} ({_short(entry.get('id'))})"
    entry = _with_paraphrases(entry, where)
    if missing := sorted(REQUIRED - set(entry)):
        raise UserError(f"{where}: {missing[0]} is missing: add it")
    if unknown := sorted(map(str, set(entry) - REQUIRED - OURS - IGNORED)):
        known = ", ".join(sorted({*REQUIRED, *OURS, *IGNORED, *ONE_FORM}))
        raise UserError(f"{where}: unknown key {unknown[0]!r}: use {known}")
    kind = entry.get("type", "free_form")
    if not str(kind).startswith("free_form"):
        raise UserError(
            f"{where}: type {_short(kind)} is not possible: only free-form questions can be asked"
        )
    if not isinstance(entry["id"], str) or not _ID.fullmatch(entry["id"]):
        raise UserError(
            f"{where}: this id is not valid: use letters, digits, '_', '.' and '-', at most 80 "
            "(quote numbers, yes and no)"
        )
    if is_nothing(entry["id"]):
        raise UserError(f"{where}: this id stands for nothing: give the question a name")
    level = entry.get("probe_level")
    if level is not None and level not in PROBE_LEVELS:
        raise UserError(
            f"{where}: unknown probe_level {_short(level)}: use {', '.join(PROBE_LEVELS)}"
        )
    system = entry.get("system")
    return Question(
        id=entry["id"],
        paraphrases=_paraphrases(entry["paraphrases"], where),
        system=None if system is None else _text(system, f"{where}: system"),
        topics=_tags(entry, "topics", where),
        probe_level=level,
        near=_tags(entry, "near", where),
        passed_over=tuple(sorted(IGNORED & entry.keys())),
    )


def _with_paraphrases(entry: dict[str, Any], where: str) -> dict[str, Any]:
    """The entry with its one `question` or `messages` as its paraphrase."""
    named = [key for key in ("paraphrases", *ONE_FORM) if key in entry]
    if len(named) > 1:
        raise UserError(f"{where}: {named[0]} and {named[1]}: write one of them")
    if named and named[0] in ONE_FORM:
        return {k: v for k, v in entry.items() if k != named[0]} | {
            "paraphrases": [entry[named[0]]]
        }
    return entry


def _paraphrases(value: Any, where: str) -> tuple[Paraphrase, ...]:
    if not isinstance(value, list) or not value:
        raise UserError(
            f"{where}: paraphrases {_short(value)} cannot be used: write a list of at least one "
            "text or conversation"
        )
    return tuple(_form(form, f"{where}: paraphrase {n}") for n, form in enumerate(value, 1))


def _form(value: Any, where: str) -> Paraphrase:
    """A text, or a conversation of the user and the assistant that the user begins and ends."""
    if not isinstance(value, list):
        return _text(value, where)
    roles = [turn.get("role") if isinstance(turn, dict) else None for turn in value]
    if any(isinstance(turn, dict) and turn.keys() != {"role", "content"} for turn in value):
        raise UserError(f"{where}: a message has other keys than role and content: remove them")
    if roles[:1] == ["system"]:
        raise UserError(f"{where}: a system message: write its text as system: of the question")
    if roles != (["user", "assistant"] * len(roles))[: len(roles)] or len(roles) % 2 == 0:
        raise UserError(
            f"{where}: roles {roles} cannot be asked: write messages of user and assistant in "
            "turn, the user's first and last"
        )
    return tuple(
        (turn["role"], _text(turn["content"], f"{where}, message {n}"))
        for n, turn in enumerate(value, 1)
    )


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise UserError(f"{where}: {_short(value)} is not a text: write one that is not empty")
    if reason := strange_text(value):
        raise UserError(f"{where}: {_short(value)}: {reason}: write the text itself")
    return value


def _tags(entry: dict[str, Any], key: str, where: str) -> tuple[str, ...] | None:
    tags = entry.get(key)
    if tags is None:
        return None
    if not isinstance(tags, list) or not all(
        isinstance(t, str) and _TAG.fullmatch(t) for t in tags
    ):
        raise UserError(
            f"{where}: {key} {_short(tags)} is not a list of tags: write tags of a-z, 0-9 and '-', "
            "such as [finance]"
        )
    return tuple(tags)


def _number(question_id: str) -> str | float:
    """An id as a number if it is one."""
    return float(question_id) if _DIGITS.fullmatch(question_id) else question_id


def _compared(text: str) -> str:
    return " ".join(text.split()).casefold()


def _short(value: Any) -> str:
    """A value in few characters; nested aliases in a YAML file can expand to gigabytes of text."""
    short = reprlib.Repr()
    short.maxlevel, short.maxlist, short.maxdict = 2, 3, 3
    return short.repr(value)
