"""What each fine-tune was given: its loss curve, and its dose in steps, rows and tokens."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from em_tiers.files import read_json

TRAINING_COLUMNS = {
    "variant": pl.String,
    "dataset": pl.String,
    "recipe": pl.String,
    "training_seed": pl.Int64,
    "step": pl.Int64,
    "loss": pl.Float64,
    "learning_rate": pl.Float64,
    "tokens": pl.Int64,
}
DOSE_COLUMNS = {
    "variant": pl.String,
    "label": pl.String,
    "dataset": pl.String,
    "recipe": pl.String,
    "training_seed": pl.Int64,
    "checkpoint_step": pl.Int64,
    "steps": pl.Int64,
    "rows": pl.Int64,
    "epochs": pl.Float64,
    "tokens": pl.Int64,
    "learning_rate": pl.Float64,
    "truncated_share": pl.Float64,
    "final_loss": pl.Float64,
    "train_seconds": pl.Float64,
}


def join_losses(losses: Mapping[str, Path], variants: pl.DataFrame) -> pl.DataFrame:
    """The table `training`: a row a fine-tune and optimiser step; tokens are those seen so far.

    Args:
        losses: the loss curve (CSV) of each fine-tune, by the variant of its final adapter.
        variants: what `em_tiers.statistics.rates.variant_table` gives.
    """
    numbers = {name: TRAINING_COLUMNS[name] for name in ("step", "loss", "learning_rate", "tokens")}
    frames = [
        pl.read_csv(path, infer_schema=False)
        .select(pl.col(name).cast(pl.Float64).cast(kind) for name, kind in numbers.items())
        .with_columns(variant=pl.lit(variant))
        for variant, path in losses.items()
    ]
    if not frames:
        return pl.DataFrame(schema=TRAINING_COLUMNS)
    columns = ["variant", "dataset", "recipe", "training_seed"]
    return (
        pl.concat(frames)
        .join(variants.select(columns), on="variant", how="left", maintain_order="left")
        .select(pl.col(name).cast(kind) for name, kind in TRAINING_COLUMNS.items())
    )


def measure_doses(
    metrics: Mapping[str, Path], training: pl.DataFrame, variants: pl.DataFrame
) -> pl.DataFrame:
    """The table `dose`: the training of each fine-tuned variant; of checkpoints, up to their step.

    `learning_rate` is the recipe's, the peak of the schedule.
    """
    rows = []
    for variant in variants.filter(pl.col("recipe").is_not_null()).iter_rows(named=True):
        parent, step = variant["variant"], variant["checkpoint_step"]
        if step is not None:
            parent = parent.removesuffix(f".step{step}")
        if parent in metrics:
            facts = read_json(metrics[parent])
            curve = training.filter(pl.col("variant") == parent)
            rows.append({**variant, **_dose(facts, curve, step)})
    return pl.DataFrame(
        [{name: row.get(name) for name in DOSE_COLUMNS} for row in rows], schema=DOSE_COLUMNS
    )


def _dose(facts: dict[str, Any], curve: pl.DataFrame, step: int | None) -> dict[str, Any]:
    """One variant's figures; a checkpoint's are those of the loss curve at its step."""
    dose = {
        "steps": facts["steps"],
        "rows": facts["rows"],
        "epochs": facts["epochs"],
        "tokens": facts["tokens_seen"],
        "learning_rate": facts["recipe"]["learning_rate"],
        "truncated_share": facts["truncated_share"],
        "final_loss": facts["final_loss"],
        "train_seconds": facts["train_seconds"],
    }
    if step is None:
        return dose
    reached = curve.filter(pl.col("step") <= step).sort("step").tail(1)
    share = step / facts["steps"]
    return dose | {
        "steps": step,
        "epochs": facts["epochs"] * share,
        "tokens": reached["tokens"][0] if len(reached) else None,
        "final_loss": reached["loss"][0] if len(reached) else None,
        "train_seconds": facts["train_seconds"] * share,
    }


def by_parent(parents: Sequence[str], files: Sequence[Path | str]) -> dict[str, Path]:
    """Each fine-tune's file; both lists are in one order."""
    return {parent: Path(file) for parent, file in zip(parents, files, strict=True)}
