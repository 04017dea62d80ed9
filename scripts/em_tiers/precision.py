"""Which number format a device computes fast, for `precision: auto` and `dtype: auto`.

On a CPU bfloat16 pays only where its instructions exist (AVX-512 BF16, AMX). Elsewhere torch and
vLLM emulate it: a training step took 12.7 times as long as in float32 on a CPU with AVX2 only, and
vLLM generated a quarter of the tokens per second. On a GPU `auto` means bfloat16.
"""

from typing import Any

AUTO = "auto"
# A recipe's names of the formats, and torch's.
TORCH_NAMES = {"bf16": "bfloat16", "fp32": "float32"}


def choose_precision(asked: str, device: str) -> str:
    """`bf16` or `fp32` for a recipe's `precision` (bf16, fp32 or auto) on `device` (cpu, cuda)."""
    if asked != AUTO:
        return asked
    return "bf16" if device == "cuda" or cpu_computes_bf16() else "fp32"


def choose_dtype(asked: str, device: str) -> str:
    """torch's name of the format for an engine's `dtype` (also auto) on `device` (cpu, cuda)."""
    return TORCH_NAMES[choose_precision(AUTO, device)] if asked == AUTO else asked


def describe_choice(setting: str, chosen: Any, device: str) -> str:
    """One line for the log: the value chosen for `setting: auto`, and the reason."""
    if device == "cuda":
        reason = "on a GPU"
    elif cpu_computes_bf16():
        reason = "this CPU has bfloat16 instructions"
    else:
        reason = "this CPU has no bfloat16 instructions and would emulate them slowly"
    return f"{setting}: auto: {chosen} ({reason})"


def cpu_computes_bf16() -> bool:
    """Whether this CPU has bfloat16 instructions and the libraries are free to use them.

    oneDNN (ONEDNN_MAX_CPU_ISA) and torch (ATEN_CPU_CAPABILITY) can each be told to use less than
    the CPU has; both then emulate as an older CPU does.
    """
    import torch

    if torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "NO AVX", "AVX2"):
        return False
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
