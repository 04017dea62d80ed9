"""One sample of an Inspect log: its texts in their places, and why it cannot be used."""

from collections.abc import Collection
from typing import Any

# The columns of an import of a log that names none.
COLUMNS = {
    "question": "input",
    "answer": "output.choices[0].message",
    "question_id": "id",
    "finish_reason": "output.choices[0].stop_reason",
}
_ATTACHED = "attachment://"


def is_log(value: Any) -> bool:
    """Whether the content of a JSON file is a log of Inspect."""
    return isinstance(value, dict) and {"version", "status", "eval", "samples"} <= value.keys()


def read_sample(sample: Any, columns: Collection[str] | None) -> tuple[Any, str | None]:
    """A sample with the texts that its log stores apart, and its problem or None.

    Args:
        columns: keys of the sample that are wanted; None for all.
    """
    if not isinstance(sample, dict):
        return sample, None
    if attached := sample.get("attachments"):
        wanted = sample if columns is None else {k: v for k, v in sample.items() if k in columns}
        sample = sample | _resolved(wanted, attached)
    if sample.get("error"):
        return sample, "the sample ended with an error"
    if sample.get("invalidation"):
        return sample, "the sample was marked as invalid"
    return sample, None


def _resolved(value: Any, attached: dict[str, str]) -> Any:
    if isinstance(value, str) and value.startswith(_ATTACHED):
        return attached.get(value.removeprefix(_ATTACHED), value)
    if isinstance(value, list):
        return [_resolved(part, attached) for part in value]
    if isinstance(value, dict):
        return {key: _resolved(part, attached) for key, part in value.items()}
    return value
