"""Requests for GPUs: the rule states a number, and the site names the resource."""

import os
from collections.abc import Callable, Mapping
from typing import Any

from em_tiers.errors import ConfigError

WORDS = ("gpu", "gres")


def get_gpu_request(
    count: int | Callable[..., int], environ: Mapping[str, str] = os.environ
) -> dict[str, Any]:
    """Resources of a rule that needs `count` GPUs on one node.

    `gpu=2` by default. Sites differ: the profile sets EM_TIERS_GPU_WORD=gres where GPUs are handed
    out as generic resources (`gres="gpu:2"`), and EM_TIERS_GPU_MODEL for one kind of GPU.
    `nodes=1` because `sbatch --gpus=2` alone may hand out one GPU on each of two nodes.

    Args:
        count: the number, or a function of a rule's wildcards that returns it.

    Raises:
        ConfigError: the executor plugin does not know the word.
    """
    word = environ.get("EM_TIERS_GPU_WORD") or "gpu"
    model = environ.get("EM_TIERS_GPU_MODEL") or ""
    if word not in WORDS:
        raise ConfigError(
            f"gpu.word: {word!r} in the site file is not a known word: use {' or '.join(WORDS)}"
        )
    if word == "gpu":
        return {"gpu": count, "nodes": 1} | ({"gpu_model": model} if model else {})
    kind = f"gpu:{model}" if model else "gpu"
    if callable(count):
        return {"gres": lambda wildcards: f"{kind}:{count(wildcards)}", "nodes": 1}
    return {"gres": f"{kind}:{count}", "nodes": 1}
