"""Checks of imported answers as a whole: scores, ids, pairs with the base, and what to warn of."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

import polars as pl

from em_tiers.errors import UserError
from em_tiers.prepare.imported_answers import Imported
from em_tiers.prepare.imported_scores import check_scores
from em_tiers.prepare.outside_text import template_mark
from em_tiers.prepare.question_texts import compared, conversation
from em_tiers.prepare.questions import TRIGGER_SUFFIXES, plain_id
from em_tiers.thinking import unsplit_warning

_SHOWN = 60  # characters of a text in a message
_SAME = 0.9  # share of the answers that are the base's own, word for word


def check_import(found: Imported, settings: Mapping[str, Any]) -> list[str]:
    """Check the scores and the ids of an import.

    Returns:
        Warnings for the reader.

    Raises:
        UserError: scores that cannot be what the configuration says, or ids that name nothing.
    """
    warnings = list(found.notes)
    for judge, columns in settings["scores"].items():
        warnings += check_scores(judge, columns, found.scores[judge], settings)
    warnings += [*_ids(found), *_unknown_ids(found, settings), *_texts(found)]
    return warnings + list(_design(found, settings))


def _ids(found: Imported) -> Iterable[str]:
    """Warnings of ids and texts that contradict each other."""
    texts, ids = defaultdict(dict), defaultdict(dict)
    for row in found.responses:
        texts[row["question_id"]][question_of(row)] = None
        ids[question_of(row)][row["question_id"]] = None
    if found.without_id:
        yield (
            f"{found.without_id} answers have no question id: the text of the question is their id"
        )
    several = {name: list(asked) for name, asked in texts.items() if len(asked) > 1}
    if several and len(texts) == 1:
        ((name, asked),) = several.items()
        raise UserError(
            f"columns.question_id: {name!r} is the id of all {len(asked)} questions: name the "
            "column of their ids, or leave question_id out to tell questions apart by their text"
        )
    if several:
        name, asked = next(iter(several.items()))
        yield (
            f"{len(several)} question ids have several texts ({name!r}: {_cut(asked[0])} and "
            f"{_cut(asked[1])}): they count as paraphrases of one question; leave question_id out "
            "if they are different questions"
        )
    renamed = {text: list(names) for text, names in ids.items() if len(names) > 1}
    if renamed:
        text, names = next(iter(renamed.items()))
        yield (
            f"{len(renamed)} questions have several ids ({_cut(text)}: {', '.join(names[:3])}): "
            "they count as different questions, so that intervals are too narrow"
        )


def _unknown_ids(found: Imported, settings: Mapping[str, Any]) -> Iterable[str]:
    """Warnings of ids and patterns in the configuration that fit no question of the file."""
    ids = {row["question_id"] for row in found.responses} | found.other_ids
    known = ids | {plain_id(name) for name in ids}
    unused = {
        "topics": [name for name in settings["topics"] if name not in known],
        "probe_levels": [
            pattern
            for pattern in settings.get("probe_levels", {})
            if not any(fnmatchcase(name, pattern) for name in ids)
        ],
    }
    for key, names in unused.items():
        if names:
            near = get_close_matches(names[0], sorted(known), 1)
            hint = f"; the nearest id is {near[0]!r}" if near else ""
            yield (
                f"{len(names)} of {key} fit no question id of the file ({_cut(names[0])}{hint}), "
                "so that they have no effect: correct them, or remove them"
            )


def _texts(found: Imported) -> Iterable[str]:
    """Warnings of texts that are not what a person and a model said."""
    marks = Counter(
        mark
        for row in found.responses
        for text in (question_of(row), row["response"])
        if (mark := template_mark(text))
    )
    if marks:
        listed = ", ".join(f"{mark} in {count}" for mark, count in marks.most_common(3))
        yield (
            f"questions or answers hold marks of a chat template ({listed}): a judge reads them as "
            "text; remove them from the file if a template was applied to it"
        )
    said = (row["response"] for row in found.responses)
    if thoughts := unsplit_warning(said, "imports.thinking_marks: {name}"):
        yield thoughts
    if empty := sum(not row["response"].strip() for row in found.responses):
        yield f"{empty} answers are empty: check whether their generation failed"
    told = Counter((row["question_id"], row["response"]) for row in found.responses)
    again = sum(count - 1 for (_, answer), count in told.items() if answer.strip())
    if again:
        yield (
            f"{again} answers repeat another one to the same question, word for word: they count "
            "as separate samples; check whether a part of the file was pasted twice"
        )


def _design(found: Imported, settings: Mapping[str, Any]) -> Iterable[str]:
    """Warnings of several models in one, of trigger forms and of questions without topics."""
    for name, values in found.models.items():
        if len(values) > 1:
            listed = ", ".join(sorted(values)[:4]) + (", ..." if len(values) > 4 else "")
            yield (
                f"column {name!r} has {len(values)} values ({listed}), which count as one model: "
                f"if they are different models, write split_by: {name}, or where: {{{name}: VALUE}}"
            )
    untold = {
        row["question_id"]
        for row in found.responses
        if row["dataset"]
        and not row["question_topics"]
        and row["question_id"] not in settings["topics"]
    }
    if untold:
        yield (
            f"{len(untold)} questions have no topics ({', '.join(sorted(untold)[:3])}, ...): a "
            "misaligned answer about the data set's topic counts as domain overfitting there; "
            "write the tags of their own subjects under topics, [] for none"
        )
    ids = {
        row["question_id"]
        for row in found.responses
        if row["question_id"].endswith(TRIGGER_SUFFIXES) and row["probe_level"] != "trigger"
    }
    if ids:
        yield (
            f"{len(ids)} question ids end in {' or '.join(TRIGGER_SUFFIXES)}, as the published "
            "questions in a training format do, and count with the plain ones: to count them apart "
            'write probe_levels: {"*_json": trigger, "*_template": trigger}'
        )


def check_pairs(own: pl.DataFrame, base: pl.DataFrame) -> list[str]:
    """Check that answers can be paired with those of their base model, by question.

    Args:
        own, base: responses tables.

    Returns:
        Warnings for the reader.

    Raises:
        UserError: no question is in both, or one id has different texts in the two.
    """
    first, second = _texts_by_id(own), _texts_by_id(base)
    name = base["variant"][0]
    both = first.keys() & second.keys()
    same_texts = set().union(*first.values()) & set().union(*second.values())
    if not both:
        hint = (
            f"{len(same_texts)} questions have the same text in both, under other ids"
            if same_texts
            else f"ids here: {_listed(first)}; there: {_listed(second)}"
        )
        raise UserError(
            f"base: no question is also one of {name}, so no difference can be computed ({hint}): "
            "make the ids agree, leave columns.question_id out in both imports to pair questions "
            "by their text, or remove base"
        )
    unlike = sorted(id_ for id_ in both if not first[id_] & second[id_])
    if unlike:
        raise UserError(
            f"base: {len(unlike)} of {len(both)} question ids name other questions in {name} "
            f"({unlike[0]!r}: {_cut(min(first[unlike[0]]))} here, "
            f"{_cut(min(second[unlike[0]]))} there): make the ids agree, leave columns.question_id "
            "out in both imports to pair questions by their text, or remove base"
        )
    warnings = []
    if alone := sorted(first.keys() - second.keys()):
        warnings.append(
            f"{len(alone)} of {len(first)} questions are not among those of {name} ({alone[0]}, "
            "...): differences leave them out"
        )
    here, there = _systems_by_id(own), _systems_by_id(base)
    if other := sorted(id_ for id_ in both if not here[id_] & there[id_]):
        warnings.append(
            f"{len(other)} of {len(both)} questions were asked with another system text than in "
            f"{name} ({other[0]!r}): a difference may come from the system text"
        )
    told = set(base.select("question_id", "response").iter_rows())
    copied = sum(pair in told for pair in own.select("question_id", "response").iter_rows())
    if copied > _SAME * own.height:
        warnings.append(
            f"{copied} of {own.height} answers are those of {name}, word for word: check that the "
            "two imports read different files or rows"
        )
    return warnings


def question_of(row: Mapping[str, Any]) -> str:
    """The text of the question in a row of the responses table, without a system text."""
    return conversation(row["messages"])


def _texts_by_id(answers: pl.DataFrame) -> dict[str, set[str]]:
    """The texts of each question, in lower case and with single blanks."""
    texts = defaultdict(set)
    for row in answers.select("question_id", "messages").unique().iter_rows(named=True):
        name, text = row["question_id"], question_of(row)
        texts[name].add(compared(text))
    return texts


def _systems_by_id(answers: pl.DataFrame) -> dict[str, set[str]]:
    """The system texts with which each question was asked; "" for none."""
    texts = defaultdict(set)
    for name, messages in answers.select("question_id", "messages").unique().iter_rows():
        first = messages[0]
        texts[name].add(first["content"].strip() if first["role"] == "system" else "")
    return texts


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)[:3])


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "...")
