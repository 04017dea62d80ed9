"""Fetch the raw files of a data set into a folder, with a manifest."""

from pathlib import Path

from em_tiers.download.entries import fetch_dataset as main
from em_tiers.logs import run_script

if "snakemake" in globals():
    run_script(
        main,
        log=snakemake.log[0],  # noqa: F821
        source=snakemake.params.source,  # noqa: F821
        folder=Path(snakemake.output.folder),  # noqa: F821
    )
