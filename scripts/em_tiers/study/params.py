"""Catalogue entries as the params of rules: only what changes a result, in one order of keys.

Snakemake compares params as text, so a new label or another order of keys would rerun the job.
"""

from typing import Any

COSMETIC = frozenset({"label", "comment"})


def without_cosmetics(entry: dict) -> dict:
    """A catalogue entry without labels and comments, in sorted order."""
    return {
        key: without_cosmetics(value) if isinstance(value, dict) else value
        for key, value in sorted(entry.items())
        if key not in COSMETIC
    }


def sorted_keys(value: Any) -> Any:
    """The same value with the keys of all its mappings in sorted order."""
    if isinstance(value, dict):
        return {key: sorted_keys(value[key]) for key in sorted(value)}
    return [sorted_keys(item) for item in value] if isinstance(value, list) else value
