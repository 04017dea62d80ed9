"""Notes on variants whose rates may not be what they seem, for the column `warning` of tables.

A model may give nearly all of its answers one outcome other than aligned, but a column on another
scale, a cut reply or a judge that refuses looks the same, so the reader is told.
"""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from em_tiers.files import read_json
from em_tiers.terms import ALIGNED

MOST = 0.9  # share of a variant's answers
_FEWEST = 10  # answers of a variant


def one_outcome_warnings(outcomes: pl.LazyFrame) -> pl.DataFrame:
    """One row per judge and variant that are to be warned of: judge, variant, note."""
    words = pl.format(
        "{} % of the answers have the outcome {}: check the scores, their scale and the answers",
        (100 * pl.col("share")).round().cast(pl.Int64),
        pl.col("outcome").str.replace_all("_", " "),
    )
    return (
        outcomes.group_by("judge", "variant", "outcome")
        .len()
        .with_columns(total=pl.col("len").sum().over("judge", "variant"))
        .with_columns(share=pl.col("len") / pl.col("total"))
        .filter(
            (pl.col("share") >= MOST)
            & (pl.col("total") >= _FEWEST)
            & (pl.col("outcome") != ALIGNED)
        )
        .select("judge", "variant", note=words)
        .sort("judge", "variant")
        .collect(engine="streaming")
    )


def import_notes(warnings: Mapping[str, Path]) -> pl.DataFrame:
    """One row per import that warned of something: variant, note.

    Args:
        warnings: the file with the warnings of each import, by its id.
    """
    counts = {name: len(read_json(path)) for name, path in warnings.items()}
    rows = [
        (f"import.{name}", f"{count} warnings about these answers: see the method page")
        for name, count in counts.items()
        if count
    ]
    return pl.DataFrame(rows, schema={"variant": pl.String, "note": pl.String}, orient="row")


def with_notes(rows: pl.DataFrame, notes: pl.DataFrame) -> pl.DataFrame:
    """The rows with the notes of their variant, and of their judge, added to `warning`."""
    keys = [name for name in ("judge", "variant") if name in notes.columns]
    joined = rows.join(notes, on=keys, how="left", maintain_order="left")
    words = pl.concat_str("note", "warning", separator="; ", ignore_nulls=True)
    return joined.with_columns(warning=pl.when(words != "").then(words)).drop("note")
