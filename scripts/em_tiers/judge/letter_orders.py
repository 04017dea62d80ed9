"""A tier rubric with its letters in other orders, to see whether a judge prefers a letter.

A judge that reads the options gives the same tier whatever letter it has; one that prefers A, or
the first line, does not. Each order moves every option to the next letter, so that over all orders
each tier has had each letter once.

Imported while the workflow is parsed, so nothing heavy is imported here.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from em_tiers.terms import TIER_ORDERS


def ordered_rubrics(rubric: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The rubric in its other orders, as catalogue entries by role; empty where it has no options.

    An option is a line "LABEL: text"; each label needs one, and all of them one block.
    """
    labels = list(rubric["labels"])
    found = {}
    for shift, role in zip(range(1, len(labels)), TIER_ORDERS, strict=False):
        names = {old: labels[(i + shift) % len(labels)] for i, old in enumerate(labels)}
        prompt = reordered(rubric["prompt"], names)
        if prompt is None:
            return {}
        meanings = {names[label]: meaning for label, meaning in rubric["labels"].items()}
        new = {"asks": role, "prompt": prompt, "labels": {n: meanings[n] for n in labels}}
        found[role] = {**rubric, **new}
    return found


def reordered(prompt: str, names: Mapping[str, str]) -> str | None:
    """The prompt with each label renamed, and its options sorted by their new labels.

    A line that lists all labels ("write A, B, C or D") stays as it is.
    """
    lines = prompt.split("\n")
    options = [i for i, line in enumerate(lines) if _label_of(line, names)]
    block = lines[options[0] : options[-1] + 1] if options else []
    if len(options) != len(names) or len(block) != len(names):
        return None
    renamed = [line if _lists_all(line, names) else _renamed(line, names) for line in lines]
    order = list(names)
    moved = renamed[options[0] : options[-1] + 1]
    moved.sort(key=lambda line: order.index(_label_of(line, names) or order[0]))
    return "\n".join([*renamed[: options[0]], *moved, *renamed[options[-1] + 1 :]])


def _label_of(line: str, names: Mapping[str, str]) -> str | None:
    """The label that a line explains, if it is an option."""
    return next((name for name in names if re.match(rf"\s*{re.escape(name)}\s*[:.)]", line)), None)


def _lists_all(line: str, names: Mapping[str, str]) -> bool:
    return {found[0] for found in _mentions(line, list(names))} == set(names)


def _renamed(line: str, names: Mapping[str, str]) -> str:
    parts, end = [], 0
    for found in _mentions(line, list(names)):
        parts += [line[end : found.start()], names[found[0]]]
        end = found.end()
    return "".join([*parts, line[end:]])


def _mentions(line: str, labels: Sequence[str]) -> Iterator[re.Match[str]]:
    """Labels in a line: a word before a stop, a comma, "or", "and" or the end; no article A."""
    listed = "|".join(map(re.escape, sorted(labels, key=len, reverse=True)))
    return re.finditer(rf"(?<![\w{{])(?:{listed})(?=\s*[:.,;)]|\s+(?:or|and)\b|\s*$)", line)
