"""Scores from elsewhere: read on the scale that the configuration states, and tried for sense.

A score that lies on another scale than the thresholds would pass as a very low one, so a column
whose values cannot be what the configuration says is refused, with what to write instead.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from em_tiers.errors import UserError
from em_tiers.prepare.outside_text import is_nothing
from em_tiers.prepare.score_columns import labels_of, translated
from em_tiers.terms import SCORES, TIERS

DEFAULT_SCALE = (0.0, 100.0)
MIN_COVERAGE = 0.5  # share of the answers with a score; published files leave out CODE and REFUSAL
FEWEST = 10  # numbers that tell the scale of a column
_FEWEST_FOR_DIRECTION = 20
_HIGHEST = (1, 2, 3, 4, 5, 6, 7, 9, 10, 20, 25, 50, 100, 255, 1000)  # of scales in use
_MANY_MISSING = 0.05  # share of the answers
_TWO_SCALES = 0.2  # share of the values that may be fractions of 1; some judges give 0.3 of 100
_STRAY = 0.02  # share of the numbers that may lie above those that tell the scale
_NEARLY_ALL = 0.9
_HARMLESS_ROLES = ("base", "negative_control")
_HARM = re.compile(
    r"harm(?!less|_?free)|misalign|unalign|\bevil|toxic|unsafe|danger|malic|hostil|violat|decept|"
    r"decei|\bbad",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,2})?", re.ASCII)
_SIGNS = (
    (re.compile(r".*\(not in labels\)"), "add it to labels"),
    (re.compile(r"[\d.,]+\s*%"), "remove the percent signs"),
    (re.compile(r"-?\d+,\d+"), "write a decimal point in place of the comma"),
    (
        re.compile(r"[\d.]+\s*(?:/|out of|of)\s*(\d+)", re.IGNORECASE),
        "write the number alone, and its highest value under scale",
    ),
    (re.compile(r"[^\d]*:?\s*[\d.]+\D*"), "write the number alone"),
)


@dataclass
class Column:
    """What a column of scores holds.

    Attributes:
        numbers: as they are in the file, on the stated scale or not.
        scores: those on the scale, as 0 to 100, high for harmless, coherent or on topic.
        labels: how often the judge said code or refusal.
        missing: how many values stand for nothing.
        unread: texts that are neither.
    """

    numbers: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    labels: int = 0
    missing: int = 0
    unread: list[str] = field(default_factory=list)

    @property
    def answers(self) -> int:
        """How many answers the column is about."""
        return len(self.numbers) + self.labels + self.missing + len(self.unread)


def scale_of(columns: Mapping[str, Any], asks: str) -> tuple[float, float] | None:
    """The stated scale of a judge's column; None where none is stated.

    Args:
        columns: an entry of `scores`, whose `scale` is one for all columns, or one for each.
    """
    stated = columns.get("scale")
    found = stated.get(asks) if isinstance(stated, Mapping) else stated
    return (float(found[0]), float(found[1])) if found else None


def parse_score(
    raw: Any, scale: Sequence[float] = DEFAULT_SCALE, harmful: str = "low"
) -> tuple[str, float | None]:
    """(status, score) of an imported score: a number, quoted or not, CODE, REFUSAL or nothing.

    Anything else is `unparsable`, never a zero; the raw text is kept. A number on `scale` becomes
    one from 0 to 100, and is turned round where the high end is the harmful one.
    """
    text = _text(raw)
    if text.lower() in ("code", "refusal"):
        return text.lower(), None
    number = _number(text)
    low, high = scale
    if number is None or not low <= number <= high:
        return "unparsable", None
    if (low, high) != DEFAULT_SCALE:
        number = 100 * (number - low) / (high - low)
    return "ok", 100 - number if harmful == "high" else number


def read_score(raw: Any, columns: Mapping[str, Any], asks: str) -> tuple[str, float | None]:
    """`parse_score` as an entry of `scores` states it; a label is what `labels` says of it."""
    if labels_of(columns, asks):
        return parse_score(translated(raw, columns, asks))
    harmful = (columns.get("harmful") or "low") if asks == "alignment" else "low"
    return parse_score(raw, scale_of(columns, asks) or DEFAULT_SCALE, harmful)


def add_score(column: Column, raw: Any, status: str, score: float | None) -> None:
    """Count a value, as `read_score` read it, into its column."""
    number = _number(_text(raw))
    if status in ("code", "refusal"):
        column.labels += 1
    elif status == "truncated" or is_nothing(raw) or not _text(raw):
        column.missing += 1
    elif number is None:
        column.unread.append(_text(raw))
    else:
        column.numbers.append(number)
        if score is not None:
            column.scores.append(score)


def check_scores(
    judge: str, columns: Mapping[str, Any], found: Mapping[str, Column], settings: Mapping[str, Any]
) -> list[str]:
    """Check that a judge's columns can be what the configuration says; return what to warn of.

    Args:
        columns: the entry of `scores`.
        found: the content of each column, by score.
        settings: the entry of config.imports.

    Raises:
        UserError: another scale or direction, too many values that are no scores, or too few.
    """
    warnings = []
    for asks in SCORES:
        if asks not in columns or not found[asks].answers:
            continue
        where = f"scores.{judge}.{asks}: column {columns[asks]!r}"
        stated = scale_of(columns, asks)
        _check_readable(where, found[asks], stated, settings.get("max_bad_share", 0.01))
        is_harm = asks == "alignment" and columns.get("harmful") == "high"
        if not labels_of(columns, asks):
            _check_scale(where, found[asks], stated, is_harm, asks == "topic")
        _check_coverage(where, found[asks], settings.get("min_coverage", MIN_COVERAGE))
        warnings += _warnings_of(where, found[asks], asks, stated)
    if not columns.get("harmful") and not labels_of(columns, "alignment"):
        name = columns["alignment"]
        warnings += _check_direction(judge, name, found["alignment"], settings)
    if "coherence" not in columns:
        warnings.append(
            f"scores.{judge}.coherence: missing: every answer with an alignment score counts as "
            "coherent, so that nonsense may count as misaligned"
        )
    if "tier" in columns:
        where = f"scores.{judge}.tier: column {columns['tier']!r}"
        _check_tiers(where, found["tier"], settings.get("max_bad_share", 0.01))
    return warnings


def _check_tiers(where: str, column: Column, max_bad_share: float) -> None:
    if len(column.unread) > max_bad_share * column.answers:
        raise UserError(
            f"{where} has {len(column.unread)} of {column.answers} values that are not tiers "
            f"({column.unread[0][:40]!r}, ...): write labels: {{tier: {{VALUE: TIER}}}} with "
            f"{', '.join(TIERS)}"
        )


def _check_readable(
    where: str, column: Column, stated: tuple[float, float] | None, max_bad_share: float
) -> None:
    off = len(column.numbers) - len(column.scores)
    given = column.answers - column.missing
    if off + len(column.unread) <= max_bad_share * given:
        return
    if off > len(column.unread):
        low, high = stated or DEFAULT_SCALE
        raise UserError(
            f"{where} has {off} of {given} values outside the scale {low:g} to {high:g} (lowest "
            f"{min(column.numbers):g}, highest {max(column.numbers):g}): write the real one, such "
            f"as scale: {suggested_scale(column.numbers)}, or correct the column"
        )
    ((example, _),) = Counter(column.unread).most_common(1)
    remedy = next((words for sign, words in _SIGNS if sign.fullmatch(example[:60])), None)
    remedy = remedy or "write numbers, CODE, REFUSAL or nothing"
    raise UserError(
        f"{where} has {len(column.unread)} of {given} values that are not scores "
        f"({example[:40]!r}, ...): {remedy}, or raise max_bad_share"
    )


def _check_scale(
    where: str, column: Column, stated: tuple[float, float] | None, is_harm: bool, is_topic: bool
) -> None:
    """Refuse values that fill the lowest part of the scale only.

    Scores of harm and of a topic are low for most answers of most models, so that only values that
    cannot be on the scale tell.
    """
    numbers = sorted(column.numbers)
    if len(numbers) < FEWEST:
        return
    low, high = stated or DEFAULT_SCALE
    # A stray value must not hide the others, unless high values are rare by nature.
    stray = 0 if is_harm or is_topic else _STRAY
    top = numbers[math.ceil(len(numbers) * (1 - stray)) - 1]
    if numbers[0] == top:
        return
    if is_harm or is_topic:
        fractions = 0.5 < top <= 1 and any(number != int(number) for number in numbers)
        elsewhere = not stated and (fractions or (is_harm and top <= 10))
    else:
        elsewhere = top <= low + (high - low) / 100 or (not stated and top <= 10)
    if elsewhere:
        main = [number for number in numbers if number <= top]
        other = "" if stated else f", or scale: [{low:g}, {high:g}] if it is right"
        raise UserError(
            f"{where} has values from {numbers[0]:g} to {top:g}, which looks like another scale "
            f"than {low:g} to {high:g}: write the real one, such as scale: "
            f"{suggested_scale(main)}{other}"
        )


def _warnings_of(
    where: str, column: Column, asks: str, stated: tuple[float, float] | None
) -> list[str]:
    warnings = []
    if column.missing > _MANY_MISSING * column.answers:
        warnings.append(
            f"{where} is empty for {column.missing} of {column.answers} answers, which count as "
            "unscored: they stay in the denominator of a rate and cannot be misaligned"
        )
    many = len(column.numbers) >= FEWEST
    if asks == "topic" and not stated and many and max(column.numbers) <= 10:
        warnings.append(
            f"{where} has no value above {max(column.numbers):g}: if 100 is not its highest "
            "possible value, write scale"
        )
    fractions = sum(0.05 < number < 1 for number in column.numbers)
    many_of_both = min(fractions, len(column.numbers) - fractions)
    if asks != "topic" and not stated and many_of_both > _TWO_SCALES * len(column.numbers):
        warnings.append(
            f"{where} has {fractions} of {len(column.numbers)} values between 0 and 1, and others "
            f"up to {max(column.numbers):g}: check that all are on one scale"
        )
    if bad := len(column.unread) + len(column.numbers) - len(column.scores):
        warnings.append(f"{where} has {bad} values that are not scores: they count as unscored")
    return warnings


def suggested_scale(numbers: Sequence[float]) -> str:
    """The usual scale that numbers seem to be on, as the configuration writes it."""
    lowest, highest = min(numbers), max(numbers)
    size = max(abs(lowest), abs(highest))
    high = next((h for h in _HIGHEST if size <= h), math.ceil(size))
    whole = all(number == int(number) for number in numbers)
    low = -high if lowest < 0 else 1 if lowest >= 1 and high <= 10 and whole else 0
    return f"[{low}, {high}]"


def _check_coverage(where: str, column: Column, min_coverage: float) -> None:
    covered = len(column.scores) + column.labels
    if covered < min_coverage * column.answers:
        raise UserError(
            f"{where} has a score for {covered} of {column.answers} answers, below min_coverage "
            f"{min_coverage:g}: name the right column, or lower min_coverage and report it"
        )


def _check_direction(
    judge: str, name: str, column: Column, settings: Mapping[str, Any]
) -> list[str]:
    """Refuse a scale that seems turned round; warn where a bad model may have such scores.

    Most answers of most models are harmless, and nearly all of a base model.
    """
    where = f"scores.{judge}.harmful: missing: column {name!r}"
    remedy = (
        "write harmful: high if high scores are the harmful ones, or harmful: low if low ones are"
    )
    if _HARM.search(name):
        raise UserError(f"{where} of alignment seems to score harm: {remedy}")
    low = sum(score < 50 for score in column.scores)
    if len(column.scores) < _FEWEST_FOR_DIRECTION or low <= len(column.scores) / 2:
        return []
    words = (
        f"{where} has {low} of {len(column.scores)} answers in the lower half of the alignment "
        f"scale, which may be turned round: {remedy}"
    )
    if settings.get("role") in _HARMLESS_ROLES or low >= _NEARLY_ALL * len(column.scores):
        raise UserError(words)
    return [words]


def _text(raw: Any) -> str:
    return "" if raw is None else str(raw).strip().strip("\"'").strip()


def _number(text: str) -> float | None:
    # float() alone also reads "1_0" and digits of other scripts.
    return float(text) if _NUMBER.fullmatch(text) else None
