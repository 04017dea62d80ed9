"""Build a model card for each fine-tune, and put it beside the weights as README.md.

It is a rule of its own, after the tables, so that no training depends on what is measured.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from em_tiers.files import atomic_directory, read_json, write_text
from em_tiers.logs import LOG, run_script
from em_tiers.placeholders import PLACEHOLDER
from em_tiers.report.model_card import model_card


def main(
    study: Mapping[str, Any],
    fine_tunes: Sequence[Mapping[str, Any]],
    manifests: Mapping[str, Path],
    cards: Mapping[str, Path],
    trainings: Mapping[str, Path],
    rates: Path,
    folder: Path,
) -> None:
    """Write `folder`/VARIANT.md, and the same as README.md of the weights that are here.

    Args:
        study: see `build_method.main`.
        fine_tunes: columns of each variant that was trained here, with `parent` (the fine-tune) and
            `weights` (its folder).
        manifests, cards, trainings: manifest.json by base model, card.json by data set, and
            metrics.json by fine-tune.
    """
    table = pl.read_parquet(rates)
    facts = {name: read_json(path) for name, path in trainings.items()}
    with atomic_directory(folder) as new:
        for variant in fine_tunes:
            card = model_card(
                variant,
                study,
                read_json(manifests[variant["base"]]),
                read_json(cards[variant["dataset"]]),
                facts[variant["parent"]],
                table,
            )
            write_text(new / f"{variant['variant']}.md", card)
            weights = Path(variant["weights"])
            if weights.is_dir() and not (weights / PLACEHOLDER).is_file():
                write_text(weights / "README.md", card)
    LOG.info("%d model cards", len(fine_tunes))


if "snakemake" in globals():
    job = globals()["snakemake"]
    params = job.params
    manifests = [Path(path) / "manifest.json" for path in job.input.models]
    run_script(
        main,
        job.log[0],
        study=params.study,
        fine_tunes=params.fine_tunes,
        manifests=dict(zip(params.models, manifests, strict=True)),
        cards=dict(zip(params.datasets, map(Path, job.input.cards), strict=True)),
        trainings=dict(zip(params.trainings, map(Path, job.input.trainings), strict=True)),
        rates=Path(job.input.rates),
        folder=Path(job.output.folder),
    )
