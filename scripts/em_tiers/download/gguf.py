"""From a GGUF file to an ordinary model folder: bf16 safetensors, tokenizer, chat template."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from em_tiers.errors import UserError


def convert_gguf(gguf: Path, folder: Path) -> list[str]:
    """Write the model of a GGUF file into `folder` and return the names of its files.

    The weights are dequantised to bf16, which makes a model that TRL trains and vLLM serves.

    Raises:
        UserError: the file holds no chat template, or no token that ends a turn; torch is missing.
    """
    try:
        import torch
        from transformers import GenerationConfig
    except ImportError as error:
        raise UserError(
            f"{gguf.name}: it is converted with torch and transformers, which this "
            f"environment lacks ({error}): use that of make setup-gpu or make setup, or --sdm "
            "conda or apptainer"
        ) from error

    with _read_once():
        tokenizer, model = _load(gguf, torch.bfloat16)
    # GGUF has no generation settings, and a wrong end token makes a model that never stops.
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    names = sorted(path.name for path in folder.iterdir())
    for name in names:  # safetensors makes its files private to the user
        (folder / name).chmod(0o666 & ~_umask())
    return names


def _load(gguf: Path, dtype: Any) -> tuple[Any, Any]:
    """Its tokenizer and its model."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    place = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(**place)
    if not tokenizer.chat_template or tokenizer.eos_token_id is None:
        raise UserError(f"{gguf.name}: no chat template or end token in it: choose a chat model")
    # Without the explicit dequantisation transformers refuses to save the model.
    model = AutoModelForCausalLM.from_pretrained(
        **place, quantization_config=GgufConfig(dequantize=True), dtype=dtype
    )
    return tokenizer, model


@contextmanager
def _read_once() -> Iterator[None]:
    """Have transformers parse the file once, and not for the tokenizer, settings and weights each.

    It also makes the table of tensor names anew for each tensor. Both take half of the time.
    """
    import gguf

    own = gguf.GGUFReader, gguf.get_tensor_name_map
    gguf.GGUFReader, gguf.get_tensor_name_map = map(cache, own)
    try:
        yield
    finally:
        gguf.GGUFReader, gguf.get_tensor_name_map = own


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
