"""GPU memory: the need of a model, and the size of a job's GPUs.

Sizes are in GiB per GPU. GPUs are named after their nominal size: one "of 80 GB" reports 80 GiB or
a little less. The estimates of runtime and cache are rules of thumb, not measurements.
"""

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from em_tiers.errors import TemporaryError
from em_tiers.gpus import Gpu, describe_gpus, visible_names
from em_tiers.logs import LOG

CARDS_GB = (16, 24, 32, 40, 48, 80, 96, 141, 180)
_REPORTED = 0.95  # of the nominal size, at least
_RUNTIME_GIB = 4  # CUDA itself, activations, graphs, adapters
_SMALL_CACHE_GIB = 2  # some answers at a time
_FULL_CACHE_GIB = 16  # a hundred and more
_TRAINING_GIB = 8  # activations and logits of one row, recomputed
# Bytes per trained weight: fp32 weight, gradient and the optimiser's two moments.
_TRAINED_BYTES = 16
OLDEST_CAPABILITY = 8.0  # computes bfloat16
_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4, "fp8": 1}
_FLOATS = ("F64", "F32", "F16", "BF16")
_HEADER_LIMIT = 100_000_000


@dataclass(frozen=True)
class Need:
    """What a job needs of each of its GPUs: to run at all, and to run at full speed."""

    gpus: int
    least_gib: float
    full_gib: float
    bf16: bool

    def describe(self) -> str:
        """Such as "1 GPU of 24 GB (32 GB for full speed)"."""
        least, full = card_of(self.least_gib), card_of(self.full_gib)
        words = f"{self.gpus} GPU{'s' if self.gpus > 1 else ''} of {least} GB"
        return words if full == least else f"{words} ({full} GB for full speed)"


def gpus_of(engine: Mapping[str, Any]) -> int:
    """GPUs of a job: those that share a model, for each of the engines beside each other."""
    return engine["tensor_parallel"] * engine["data_parallel"]


def engine_need(weights_gib: float, engine: Mapping[str, Any]) -> Need:
    """Need of an engine (complete settings) that serves weights of this size in its dtype."""
    shard = 1.05 * weights_gib / engine["tensor_parallel"] + _RUNTIME_GIB  # some layers are whole
    share = engine["gpu_memory_utilization"]
    return Need(
        gpus=gpus_of(engine),
        least_gib=(shard + _SMALL_CACHE_GIB) / share,
        full_gib=(shard + _FULL_CACHE_GIB) / share,
        bf16=engine["dtype"] in ("auto", "bfloat16"),
    )


def training_need(parameters_b: float, recipe: Mapping[str, Any]) -> Need:
    """Need of a fine-tune; with fsdp the GPUs share what ddp has on each."""
    needed = 1.05 * weights_gib(parameters_b, recipe) + _TRAINING_GIB
    bf16 = recipe["precision"] != "fp32"
    return Need(gpus=recipe["gpus"], least_gib=needed, full_gib=needed, bf16=bf16)


def weights_gib(parameters_b: float, recipe: Mapping[str, Any]) -> float:
    """What a model's weights take on each GPU, with gradients and moments where all are trained."""
    frozen = 4 if recipe["precision"] == "fp32" else 2
    weights = gib_of(parameters_b, _TRAINED_BYTES if recipe["method"] == "full" else frozen)
    return weights / recipe["gpus"] if recipe["strategy"] == "fsdp" else weights


def gib_of(parameters_b: float, bytes_per_weight: float = 2) -> float:
    """Size of billions of parameters."""
    return parameters_b * 1e9 * bytes_per_weight / 2**30


def dtype_bytes(dtype: str) -> int:
    """Bytes per weight in an engine's dtype or quantization; `auto` is bfloat16 on a GPU."""
    return _BYTES.get(dtype, 2)


def card_of(gib: float) -> int:
    """The smallest usual card (nominal GB) that has so much; the need itself beyond them."""
    return next((card for card in CARDS_GB if _REPORTED * card >= gib), round(gib / _REPORTED))


def weights_of(folder: Path, dtype: str) -> tuple[int, float]:
    """Parameters of a model folder, and their size (GiB) when an engine loads them in `dtype`.

    Read from the headers of its safetensors files. Quantised weights keep their size.
    """
    count = size = 0
    for path in sorted(folder.glob("*.safetensors")):
        for tensor in _tensors(path):
            numbers = prod(tensor["shape"])
            begin, end = tensor["data_offsets"]
            floats = tensor["dtype"] in _FLOATS
            count += numbers
            size += numbers * dtype_bytes(dtype) if floats else end - begin
    return count, size / 2**30


def _tensors(path: Path) -> list[dict[str, Any]]:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(min(length, _HEADER_LIMIT)))
    return [tensor for name, tensor in header.items() if name != "__metadata__"]


def find_shortage(need: Need, gpus: Sequence[Gpu]) -> str | None:
    """What these GPUs lack, as half a sentence; None where they will do."""
    if len(gpus) < need.gpus:
        return f"needs {need.describe()}, but {_have(gpus)}"
    used = gpus[: need.gpus]
    old = [gpu for gpu in used if gpu.capability < OLDEST_CAPABILITY]
    if need.bf16 and old:
        return (
            f"needs GPUs that compute bfloat16 (compute capability {OLDEST_CAPABILITY:.1f} or "
            f"newer), but {old[0].name} has {old[0].capability:.1f}"
        )
    if min(gpu.memory_gib for gpu in used) < need.least_gib:
        return f"needs {need.describe()}, but {_have(gpus)}"
    return None


def _have(gpus: Sequence[Gpu]) -> str:
    if not gpus:
        return "this node has none"
    size = min(gpu.memory_gib for gpu in gpus)
    return f"this node has {len(gpus)} of {round(size)} GB ({gpus[0].name})"


def check_gpus(what: str, need: Need, remedy: str) -> None:
    """Compare the GPUs of this job with what it needs, before anything is loaded.

    Args:
        what: the model and its format, such as "qwen3-4b in bfloat16".
        remedy: what else may help, beside larger GPUs.

    Raises:
        TemporaryError: they are too few, too small or too old; another node may have others.
    """
    gpus = describe_gpus(visible_names())
    if not gpus:  # without nvidia-smi torch and vLLM say what is wrong
        LOG.info("%s: the GPUs' memory is unknown: nvidia-smi names none", what)
        return
    if shortage := find_shortage(need, gpus):
        raise TemporaryError(
            f"{what} {shortage}: request others (gpu: model or profile: default-resources: "
            f"constraint in slurm/site.yaml), or {remedy}"
        )
