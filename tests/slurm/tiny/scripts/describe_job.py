"""Write down where this job runs and what SLURM gave it; use some memory first if asked to."""

import json
import os
from pathlib import Path

NAMES = ("SLURM_JOB_ID", "SLURMD_NODENAME", "CUDA_VISIBLE_DEVICES")


def main(output: Path, megabytes: int) -> None:
    # Filled with ones: pages of zeros would take no memory.
    ballast = b"\1" * (megabytes * 2**20)
    output.write_text(json.dumps({name: os.environ.get(name) for name in NAMES}))
    del ballast


if "snakemake" in globals():
    main(Path(snakemake.output[0]), snakemake.params.get("megabytes", 0))  # noqa: F821
