"""Variants nearly all of whose answers have one outcome other than aligned.

A model may be like that, but a column on another scale, a cut reply or a judge that refuses looks
the same, so the reader is told.
"""

import polars as pl

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
            & (pl.col("outcome") != "aligned")
        )
        .select("judge", "variant", note=words)
        .sort("judge", "variant")
        .collect(engine="streaming")
    )


def with_notes(rows: pl.DataFrame, notes: pl.DataFrame) -> pl.DataFrame:
    """The rows with the notes of their judge and variant added to the column `warning`."""
    joined = rows.join(notes, on=["judge", "variant"], how="left", maintain_order="left")
    words = pl.concat_str("note", "warning", separator="; ", ignore_nulls=True)
    return joined.with_columns(warning=pl.when(words != "").then(words)).drop("note")
