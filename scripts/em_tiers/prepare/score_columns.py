"""The columns of an entry of `scores`, and what its labels stand for.

Imported while the workflow is parsed, so nothing heavy is imported here.
"""

from collections.abc import Mapping
from typing import Any

from em_tiers.prepare.outside_text import id_text
from em_tiers.terms import SCORES

ASKED = (*SCORES, "tier")
_UNLISTED = "{!r} (not in labels)"


def score_columns(entry: Mapping[str, Any]) -> dict[str, list[str]]:
    """The columns of each score and of the tier that an entry of `scores` names."""
    named = {asks: entry[asks] for asks in ASKED if entry.get(asks)}
    return {asks: [c] if isinstance(c, str) else list(c) for asks, c in named.items()}


def labels_of(entry: Mapping[str, Any], asks: str) -> dict[str, Any] | None:
    """What the labels in a column stand for, by label in lower case; None for a column of numbers.

    A label is compared as `id_text` writes it, so that 1, 1.0 and "1" are one, and True is true.
    """
    labels = (entry.get("labels") or {}).get(asks)
    return {_label(key): value for key, value in labels.items()} if labels else None


def translated(raw: Any, entry: Mapping[str, Any], asks: str) -> Any:
    """The meaning of a value; one that `labels` does not list becomes text without a score."""
    labels = labels_of(entry, asks)
    label = _label(raw)
    if labels is None or not label:
        return raw
    return labels.get(label, _UNLISTED.format(str(raw)))


def _label(value: Any) -> str:
    return id_text(value).casefold()
