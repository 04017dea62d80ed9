"""Write down where this job runs and what SLURM gave it; use some memory first if asked to."""

import json
import os
import time
from pathlib import Path

NAMES = ("SLURM_JOB_ID", "SLURMD_NODENAME", "CUDA_VISIBLE_DEVICES")


def main(output: Path, megabytes: int) -> None:
    if megabytes:
        # Filled with ones: pages of zeros would take no memory. SLURM looks once a second.
        ballast = b"\1" * (megabytes * 2**20)
        time.sleep(4)
        del ballast
    output.write_text(json.dumps({name: os.environ.get(name) for name in NAMES}))


if "snakemake" in globals():
    main(Path(snakemake.output[0]), snakemake.params.get("megabytes", 0))  # noqa: F821
