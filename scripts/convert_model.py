"""Convert the GGUF file inside an installed Python distribution into a model folder.

It needs torch and transformers, which a login node may lack, but no internet.
"""

from pathlib import Path

from em_tiers.download.entries import convert_package as main
from em_tiers.lean_imports import leave_out
from em_tiers.logs import run_script

if "snakemake" in globals():
    leave_out("sklearn")
    run_script(
        main,
        log=snakemake.log[0],  # noqa: F821
        source=snakemake.params.source,  # noqa: F821
        folder=Path(snakemake.output.folder),  # noqa: F821
    )
