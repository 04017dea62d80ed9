"""Training rows as token ids and labels: loss on the answer alone, cut at a length that is said."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from em_tiers.errors import UserError
from em_tiers.files import atomic_directory
from em_tiers.inference.chat import Message, render_example
from em_tiers.logs import progress
from em_tiers.placeholders import check_rows_are_there

IGNORED = -100  # the label that the loss skips


@dataclass
class RowCounts:
    """What became of the rows: numbers of rows, and of tokens after cutting."""

    rows: int = 0
    rows_truncated: int = 0
    rows_without_loss: int = 0
    tokens: int = 0
    loss_tokens: int = 0
    longest_row: int = 0

    @property
    def truncated_share(self) -> float:
        return self.rows_truncated / self.rows if self.rows else 0.0

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "truncated_share": self.truncated_share}


@dataclass
class EncodedRows:
    """Token ids and labels, one int32 array a row; labels are IGNORED where no loss is taken."""

    input_ids: list[np.ndarray] = field(default_factory=list)
    labels: list[np.ndarray] = field(default_factory=list)
    counts: RowCounts = field(default_factory=RowCounts)


def read_training_rows(path: Path) -> list[tuple[list[Message], str]]:
    """(prompt messages, answer) of each line {"prompt": [...], "completion": [one message]}."""
    check_rows_are_there(path)
    rows = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            row = json.loads(line)
            answer = row["completion"]
            if len(answer) != 1 or answer[0]["role"] != "assistant":
                raise UserError(
                    f"training data: {path.name} line {number}: the completion is not exactly one "
                    "assistant message: prepare the data set again"
                )
            rows.append((row["prompt"], answer[0]["content"]))
    if not rows:
        raise UserError(f"training data: {path}: holds no row: check the data set's held_out")
    return rows


def encode_rows(
    tokenizer: Any,
    rows: Sequence[tuple[list[Message], str]],
    thinking: str,
    max_length: int,
) -> EncodedRows:
    """Render and cut the rows; one whose prompt alone fills `max_length` is counted and left out.

    Raises UserError, with the number of the row, for one that the chat template refuses.
    """
    encoded = EncodedRows()
    counts = encoded.counts
    for number, (prompt, answer) in enumerate(progress(rows, "tokenising", len(rows)), start=1):
        try:
            ids, n_prompt = render_example(tokenizer, prompt, answer, thinking)
        except UserError as error:
            raise UserError(f"training data: row {number}: {error}") from error
        counts.rows += 1
        counts.rows_truncated += len(ids) > max_length
        counts.longest_row = max(counts.longest_row, len(ids))
        if n_prompt >= max_length:
            counts.rows_without_loss += 1
            continue
        input_ids = np.asarray(ids[:max_length], dtype=np.int32)
        labels = input_ids.copy()
        labels[:n_prompt] = IGNORED
        counts.tokens += len(input_ids)
        counts.loss_tokens += len(input_ids) - n_prompt
        encoded.input_ids.append(input_ids)
        encoded.labels.append(labels)
    return encoded


def check_truncation(encoded: EncodedRows, max_length: int, max_share: float) -> None:
    """Raise UserError where more rows were cut than the recipe allows.

    A cut answer does not teach the model to stop, and its content is not the data set's.
    """
    counts = encoded.counts
    if counts.truncated_share > max_share or not encoded.input_ids:
        raise UserError(
            f"max_truncated_share: {counts.truncated_share:.1%} of {counts.rows} rows are longer "
            f"than max_length {max_length} tokens, the recipe allows {max_share:.1%}: raise "
            f"max_length (the longest row has {counts.longest_row} tokens), or raise "
            "max_truncated_share if cut answers are what you want"
        )


def save_rows(encoded: EncodedRows, folder: Path) -> None:
    """Save as an Arrow data set, which each training process maps into memory."""
    import pyarrow as pa
    from datasets import Dataset

    table = pa.table(
        {
            "input_ids": _ragged(encoded.input_ids),
            "labels": _ragged(encoded.labels),
        }
    )
    with atomic_directory(folder) as temporary:
        Dataset(table).save_to_disk(str(temporary))


def _ragged(rows: Iterable[np.ndarray]) -> Any:
    import pyarrow as pa

    rows = list(rows)
    offsets = np.cumsum([0, *(len(row) for row in rows)], dtype=np.int64)
    return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(np.concatenate(rows)))
