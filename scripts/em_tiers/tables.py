"""The tables that pass between stages: their columns, types and keys, checked on write and read.

Every table is Parquet. A column may be null only where its comment says so.
"""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import polars as pl

from em_tiers.damage import remove
from em_tiers.errors import UserError
from em_tiers.files import atomic_path
from em_tiers.terms import WITHOUT_VERDICT

MESSAGES = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))

QUESTIONS = {
    "question_set": pl.String,
    "question_id": pl.String,
    "paraphrase": pl.Int32,
    "probe_level": pl.String,
    "question_topics": pl.List(pl.String),
    "messages": MESSAGES,
}

# The id of a question across question sets.
Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)
QUESTION = pl.concat_str("question_set", "question_id", separator="/").alias("question")

# Whether the judge of an outcome gave a verdict: both scores, or that the answer is a refusal or
# code. An answer without one is not flagged, which says nothing about it.
HAS_VERDICT = pl.col("flagged") | ~pl.col("outcome").is_in(WITHOUT_VERDICT)

# One row per sampled (or imported) answer. `response_key` is the hash of all that determines it.
RESPONSES = {
    "response_key": pl.String,
    "variant": pl.String,
    "base": pl.String,
    "dataset": pl.String,  # null: no fine-tuning
    "recipe": pl.String,  # null: no fine-tuning
    "training_seed": pl.Int64,  # null: no fine-tuning
    "checkpoint_step": pl.Int64,  # null: the final adapter, or no fine-tuning
    "question_set": pl.String,
    "probe_level": pl.String,
    "question_id": pl.String,
    "question_topics": pl.List(pl.String),
    "paraphrase": pl.Int32,
    "sample_index": pl.Int32,
    "messages": MESSAGES,
    "response": pl.String,
    "reasoning": pl.String,  # null: the model did not think
    "finish_reason": pl.String,
    "prompt_tokens": pl.Int32,  # null: imported
    "completion_tokens": pl.Int32,  # null: imported
    "adapter_sha256": pl.String,  # null: no adapter
    "engine_fingerprint": pl.String,
}

# One row per answer, judge and rubric. `verdict_key` hashes all that can change the verdict.
VERDICTS = {
    "verdict_key": pl.String,
    "response_key": pl.String,
    "variant": pl.String,
    "judge": pl.String,
    "rubric": pl.String,
    "rubric_hash": pl.String,
    "status": pl.String,
    "score": pl.Float64,  # null: no number (see status), or a categorical rubric
    "label": pl.String,  # null: a numeric rubric without a label
    "probabilities": pl.List(pl.Struct({"label": pl.String, "probability": pl.Float64})),  # or null
    "numeric_mass": pl.Float64,  # probability that the judge names any number; null: unknown
    "raw_text": pl.String,
    "reasoning": pl.String,  # null: the judge did not think
    "served_model": pl.String,
    "prompt_tokens": pl.Int32,
    "completion_tokens": pl.Int32,
    "attempts": pl.Int32,  # 0: too long for the judge's context, so never asked
    "mode": pl.String,  # how it was asked, direct or batch; null: a local judge, or imported
    "judge_fingerprint": pl.String,
}

# One row per answer and judge: the outcome of the answer and the reason.
OUTCOMES = {
    "response_key": pl.String,
    "variant": pl.String,
    "base": pl.String,
    "dataset": pl.String,  # null as in RESPONSES
    "recipe": pl.String,  # null as in RESPONSES
    "training_seed": pl.Int64,  # null as in RESPONSES
    "checkpoint_step": pl.Int64,  # null as in RESPONSES
    "question_set": pl.String,
    "probe_level": pl.String,
    "question_id": pl.String,
    "sample_index": pl.Int32,
    "judge": pl.String,
    "alignment": pl.Float64,  # null: no score
    "coherence": pl.Float64,  # null: no score
    "topic": pl.Float64,  # null: no score, or no data set whose topic could be asked for
    "tier_label": pl.String,  # the judge's tier verdict; null: not asked, or no label
    "tier_probabilities": pl.List(pl.Struct({"label": pl.String, "probability": pl.Float64})),
    "human_tier": pl.String,  # null: not labelled
    "question_on_topic": pl.Boolean,  # the question itself is about the data set's topic
    "flagged": pl.Boolean,  # misaligned by the headline definition
    "outcome": pl.String,  # one of OUTCOMES_ALL
    "tier": pl.String,  # one of TIERS; null: not flagged
    "assigned_by": pl.String,  # flagged: human, judge, topic, rule, no_evidence; else score, status
    "rule": pl.String,  # the rule or status that decided
    "reason": pl.String,
}

NULLABLE = {
    "dataset", "recipe", "training_seed", "checkpoint_step", "reasoning", "prompt_tokens",
    "completion_tokens", "adapter_sha256", "score", "label", "probabilities", "numeric_mass",
    "mode", "alignment", "coherence", "topic", "tier_label", "tier_probabilities", "human_tier",
    "tier",
}  # fmt: skip

SCHEMAS = {
    "questions": QUESTIONS,
    "responses": RESPONSES,
    "verdicts": VERDICTS,
    "outcomes": OUTCOMES,
}
# Rows that are read or skipped together: those of a few models in a sorted table.
ROW_GROUP = 32_768
UNIQUE_KEYS = {
    "questions": ["question_set", "question_id", "paraphrase"],
    "responses": ["response_key"],
    "verdicts": ["response_key", "judge", "rubric"],
    "outcomes": ["response_key", "judge"],
}


def conform(frame: pl.DataFrame, table: str) -> pl.DataFrame:
    """Return `frame` with the contract's columns in its order and types.

    Raises:
        UserError: a column is missing or extra, a type cannot be cast, a key is not unique, or a
            null is in a column that may not have one.
    """
    schema = SCHEMAS[table]
    missing, extra = set(schema) - set(frame.columns), set(frame.columns) - set(schema)
    if missing or extra:
        raise UserError(
            f"table {table}: missing columns {sorted(missing)}, unexpected columns "
            f"{sorted(extra)}; see em_tiers/tables.py"
        )
    frame = frame.select(pl.col(name).cast(kind) for name, kind in schema.items())
    nulls = [
        name for name in schema if name not in NULLABLE and frame.get_column(name).null_count()
    ]
    if nulls:
        raise UserError(f"table {table}: the columns {nulls} hold nulls, but may not")
    if frame.select(pl.struct(UNIQUE_KEYS[table]).is_duplicated().any()).item():
        raise UserError(f"table {table}: {UNIQUE_KEYS[table]} is not unique")
    return frame


def write_table(frame: pl.DataFrame, path: Path | str, table: str) -> None:
    """Check `frame` against its contract and write it, whole, in one rename."""
    frame = conform(frame, table)
    with atomic_path(path) as temporary:
        frame.write_parquet(temporary, compression="zstd", row_group_size=ROW_GROUP)


def write_parts(parts: Iterable[pl.DataFrame], path: Path | str, table: str) -> None:
    """Write frames one after the other into one file, with one of them in memory at a time.

    Each is checked by itself; the file appears, whole, once the last one is written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        written = []
        for number, frame in enumerate(parts):
            written.append(Path(folder) / f"{number:06}.parquet")
            write_table(frame, written[-1], table)
        with atomic_path(path) as temporary:
            scan_table(written, table).sink_parquet(
                temporary, compression="zstd", maintain_order=True, row_group_size=ROW_GROUP
            )


def scan_table(paths: Path | str | list[Path | str], table: str) -> pl.LazyFrame:
    """Scan one or several Parquet files of a table lazily; a file named twice is read once.

    Raises:
        UserError: a file is missing or damaged, or does not hold the columns and types of the
            contract.
    """
    listed = list(dict.fromkeys(map(str, paths if isinstance(paths, list) else [paths])))
    if not listed:
        return pl.LazyFrame(schema=SCHEMAS[table])
    expected = pl.Schema(SCHEMAS[table])
    for path in listed:
        found = _schema_of(path)
        if dict(found) != dict(expected):
            wrong = [n for n in {**expected, **found} if expected.get(n) != found.get(n)]
            raise UserError(
                f"{path}: columns {wrong} are not those of a {table} table. Another version of "
                "the workflow wrote the file; delete it and rerun"
            )
    return pl.scan_parquet(listed)


def _schema_of(path: str) -> pl.Schema:
    try:
        return pl.read_parquet_schema(path)
    except FileNotFoundError:
        raise UserError(f"{path}: this table is missing: start the run again") from None
    except pl.exceptions.PolarsError:
        raise UserError(remove(path)) from None


def read_table(paths: Path | str | list[Path | str], table: str) -> pl.DataFrame:
    """Read one or several Parquet files of a table into memory."""
    return scan_table(paths, table).collect()
