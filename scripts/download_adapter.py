"""Fetch a LoRA adapter that a user brings, and check that it fits its base model and the engine."""

from pathlib import Path

from em_tiers.download.entries import fetch_adapter as main
from em_tiers.logs import run_script

if "snakemake" in globals():
    run_script(
        main,
        log=snakemake.log[0],  # noqa: F821
        source=snakemake.params.source,  # noqa: F821
        folder=Path(snakemake.output.folder),  # noqa: F821
        bases=snakemake.params.bases,  # noqa: F821
        model=Path(snakemake.input.model),  # noqa: F821
        engine=snakemake.params.engine,  # noqa: F821
    )
