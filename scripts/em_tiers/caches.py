"""Where a job's caches go: compiled kernels, compiled graphs, prepared data.

Left alone, they go to the home folder, which may have a small quota, be mounted read-only on
compute nodes, or be slow at the locks of many jobs.
"""

import os
from collections.abc import MutableMapping
from pathlib import Path

from em_tiers.logs import LOG

FOLDER = Path("results/resources/caches")  # beside the results, kept for the next job
_SHARED = "XDG_CACHE_HOME"
# Libraries that do not follow XDG_CACHE_HOME, or follow it only in part.
_OWN = {
    "VLLM_CACHE_ROOT": "vllm",
    "TRITON_CACHE_DIR": "triton",
    "TORCHINDUCTOR_CACHE_DIR": "torchinductor",
    "FLASHINFER_WORKSPACE_BASE": "flashinfer",
    "CUDA_CACHE_PATH": "cuda",
}


def use_own_caches(environ: MutableMapping[str, str] = os.environ) -> Path:
    """Set the variables of all caches that are not set, before the libraries are imported.

    All are below XDG_CACHE_HOME where the user has set it, such as to the node's own scratch, and
    below FOLDER otherwise.

    Returns:
        The folder of the caches.
    """
    folder = Path(environ.get(_SHARED) or FOLDER.absolute())
    if not environ.get(_SHARED):
        LOG.info("caches: %s (XDG_CACHE_HOME sets another folder)", FOLDER)
        environ[_SHARED] = str(folder)
    for variable, name in _OWN.items():
        if not environ.get(variable):
            environ[variable] = str(folder / name)
    return folder
