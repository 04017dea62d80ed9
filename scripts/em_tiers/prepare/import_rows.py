"""Which of a file's rows belong to one model: `where`, `split_by`, and columns that name models.

Imported while the workflow is parsed, so nothing heavy is imported here.
"""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from em_tiers.download.data_files import format_of
from em_tiers.errors import UserError
from em_tiers.prepare.column_paths import read_columns
from em_tiers.prepare.outside_text import id_text
from em_tiers.prepare.raw_rows import plain_columns

# Columns that tell models, trainings or settings apart in files of several tools.
_NAMES_MODELS = re.compile(
    r".*(model|adapter|lora|checkpoint|ckpt|variant|organism|fine_?-?tun|train).*|group|run|run_?id|"
    r"llm|engine|arm|condition|experiment|treatment|policy|deployment|dataset|data_set|step|epoch|"
    r"system_prompt_?(?:name|id)|source|name|prompt_variant|steer\w*|temperature",
    re.IGNORECASE,
)
_NAMES_OTHERS = re.compile(r"judge|grader|eval|scor|answer|response|question|token", re.IGNORECASE)
_LONGEST_NAME = 60  # characters of a column's name
_MOST_VALUES = 200  # distinct values of a column that names models


def fits(row: Mapping[str, Any], where: Mapping[str, Any]) -> bool:
    """Whether a row has, in each column of `where`, its value or one of its values."""
    return all(id_text(row.get(column)) in _wanted(value) for column, value in where.items())


def distinct_values(path: Path, column: str, where: Mapping[str, Any]) -> list[str]:
    """The values of a column in the rows that fit `where`, sorted.

    Raises:
        UserError: the column is not in the file, is empty in some row, or has too many values.
    """
    found: dict[str, None] = {}
    columns: dict[str, None] = {}
    for raw in read_columns(path, {column, *where}):
        if not isinstance(raw.data, dict):
            continue
        columns |= dict.fromkeys([*raw.data, *raw.unread])
        if raw.problem or not fits(raw.data, where):
            continue
        found[id_text(raw.data.get(column))] = None
        if len(found) > _MOST_VALUES:
            raise UserError(
                f"{path.name}: column {column!r} has more than {_MOST_VALUES} values: name one "
                "that names the model"
            )
    if column not in columns:
        raise UserError(
            f"{path.name}: column {column!r} is not in the file, which has {[*columns]}"
        )
    if "" in found:
        raise UserError(
            f"{path.name}: column {column!r} is empty in some rows, whose model is then unknown: "
            "fill it, or leave these rows out with where"
        )
    if not found:
        raise UserError(f"{path.name}: no row fits where {dict(where)}: correct where")
    return sorted(found, key=lambda value: (len(value), value) if value.isdigit() else (0, value))


def model_columns(path: Path, used: Collection[str]) -> list[str]:
    """Columns whose names say that they name models, without those that are used already.

    A log of Inspect is about one model; its epochs are samples.
    """
    if format_of(path.name) == "eval":
        return []
    return [
        name
        for name in plain_columns(path)
        if name not in used
        and len(name) < _LONGEST_NAME
        and _NAMES_MODELS.fullmatch(name)
        and not _NAMES_OTHERS.search(name)
    ]


def _wanted(value: Any) -> list[str]:
    return [id_text(one) for one in (value if isinstance(value, list) else [value])]
