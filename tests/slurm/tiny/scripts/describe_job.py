"""Write down where this job runs and what SLURM gave it; use some memory first if asked to."""

import json
import os
import time
from pathlib import Path

NAMES = ("SLURM_JOB_ID", "SLURMD_NODENAME", "CUDA_VISIBLE_DEVICES")


def main(output: Path, megabytes: int, granted: int) -> None:
    if megabytes:
        # Filled with ones: pages of zeros would take no memory. SLURM looks once a second, and
        # what takes more than it was granted waits until SLURM has looked.
        ballast = b"\1" * (megabytes * 2**20)
        time.sleep(3600 if megabytes > granted else 4)
        del ballast
    output.write_text(json.dumps({name: os.environ.get(name) for name in NAMES}))


if "snakemake" in globals():
    main(
        Path(snakemake.output[0]),  # noqa: F821
        snakemake.params.get("megabytes", 0),  # noqa: F821
        snakemake.resources.get("mem_mb", 0),  # noqa: F821
    )
