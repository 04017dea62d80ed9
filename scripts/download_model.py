"""Fetch a model into a folder: weights as safetensors, configuration, tokenizer, manifest."""

from pathlib import Path

from em_tiers.download.entries import fetch_model as main
from em_tiers.logs import run_script

if "snakemake" in globals():
    run_script(
        main,
        log=snakemake.log[0],  # noqa: F821
        source=snakemake.params.source,  # noqa: F821
        folder=Path(snakemake.output.folder),  # noqa: F821
    )
