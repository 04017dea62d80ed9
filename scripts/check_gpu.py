"""Check one node of a partition: GPUs, compiler, engine, folders. `make check-gpu` submits it.

Always writes a report, whatever the node lacks.
"""

import os
import socket
from pathlib import Path
from typing import Any

from em_tiers.caches import use_own_caches
from em_tiers.files import write_json
from em_tiers.gpu_memory import Need
from em_tiers.gpus import describe_gpus, visible_names
from em_tiers.logs import LOG, run_script
from em_tiers.node_checks import (
    check_bf16,
    check_compiler,
    check_driver,
    check_engine,
    check_folder,
    check_memory,
    check_triton,
)


def main(needs: list[dict[str, Any]], disk_gb: float, report: Path) -> None:
    """Write {"node": its name, "rows": [{check, state, seen, remedy}]}.

    Args:
        needs: what each of the study's jobs needs: {what, gpus, least_gib, full_gib, bf16}.
        disk_gb: free space that results and models want.
    """
    names = visible_names()
    gpus = describe_gpus(names) if names else []
    rows = [check_driver(gpus, _cuda_of_torch()), check_bf16(gpus)]
    for need in needs:
        needed = {key: value for key, value in need.items() if key != "what"}
        rows.append(check_memory(gpus, need["what"], Need(**needed)))
    rows += [check_compiler(), check_triton(gpus), *check_engine(gpus)]
    rows.append(check_folder("results", Path("results").absolute(), disk_gb))
    rows.append(check_folder("caches", use_own_caches(), 5))
    for line in rows:
        LOG.info("%(check)s: %(state)s: %(seen)s", line)
    write_json(
        report, {"node": os.environ.get("SLURMD_NODENAME", socket.gethostname())} | {"rows": rows}
    )


def _cuda_of_torch() -> str | None:
    try:
        import torch
    except ImportError:
        return None
    return torch.version.cuda


if __name__ == "__main__" and "snakemake" in globals():
    job = globals()["snakemake"]
    run_script(
        main,
        job.log[0],
        needs=job.params.needs,
        disk_gb=job.params.disk_gb,
        report=Path(job.output.report),
    )
