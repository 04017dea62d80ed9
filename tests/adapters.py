"""Small LoRA adapters and models with the real file formats, without numbers that mean anything."""

import json
import struct
from pathlib import Path

MODULE = "model.layers.{}.self_attn.q_proj"


def safetensors(tensors: dict[str, list[int]], fill: int = 0) -> bytes:
    """A safetensors file with tensors of single bytes in these shapes."""
    header, end = {}, 0
    for name, shape in tensors.items():
        size = shape[0] * shape[1]
        header[name] = {"dtype": "U8", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes([fill]) * end


def write_adapter(
    folder: Path, layers: int = 2, features: int = 8, fill: int = 0, **config
) -> Path:
    """A LoRA adapter as peft saves it; `config` changes its adapter_config.json."""
    rank = config.get("r", 4)
    tensors = {}
    for layer in range(layers):
        name = f"base_model.model.{MODULE.format(layer)}"
        tensors |= {
            f"{name}.lora_A.weight": [rank, features],
            f"{name}.lora_B.weight": [features, rank],
        }
    known = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "owner/Small-Model",
        "r": rank,
        "lora_alpha": 8,
        "target_modules": ["q_proj"],
    }
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps(known | config))
    (folder / "adapter_model.safetensors").write_bytes(safetensors(tensors, fill))
    return folder


def write_model(folder: Path, layers: int = 2, features: int = 8, fill: int = 0) -> Path:
    """A model folder with the weights that `write_adapter` changes."""
    tensors = {f"{MODULE.format(n)}.weight": [features, features] for n in range(layers)}
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(safetensors(tensors, fill))
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "tokenizer.json").write_text("{}")
    return folder
