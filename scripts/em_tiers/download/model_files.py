"""Which of a model repository's files are fetched, and whether a model folder is complete.

Weights come as safetensors only: pickled weights and Python files of strangers run code.
"""

import json
import struct
from fnmatch import fnmatchcase
from pathlib import Path

from em_tiers.errors import UserError

# Names at the top of the repository; folders hold other formats (onnx, gguf, original weights).
PATTERNS = (
    "config.json",
    "generation_config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "spiece.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "LICENSE*",
    "LICENCE*",
    "NOTICE*",
)
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack")
_HEADER_LIMIT = 100_000_000  # bytes; that of the safetensors library itself


def choose_model_files(names: list[str]) -> list[str]:
    """The files of PATTERNS among `names`.

    Raises:
        UserError: no weights, configuration or tokenizer is among them.
    """
    chosen = sorted(n for n in names if any(fnmatchcase(n, p) for p in PATTERNS) and "/" not in n)
    if not any(name.endswith(".safetensors") for name in chosen):
        pickled = [name for name in names if name.endswith(_PICKLED)]
        hint = f", only {pickled[0]}, which could run code when loaded" if pickled else ""
        raise UserError(
            f"model: no model*.safetensors among its files{hint}: convert the weights to "
            "safetensors and give their folder as a path, or choose another model"
        )
    if "config.json" not in chosen:
        raise UserError("model: no config.json among its files: choose a transformers model")
    if not any(name in chosen for name in _TOKENIZERS):
        raise UserError(
            f"model: no tokenizer among its files (one of {', '.join(_TOKENIZERS)}): add it"
        )
    return chosen


def check_model_folder(folder: Path, names: list[str]) -> None:
    """Raise UserError when the weights are cut, or shards that the index names are missing."""
    weights = {name for name in names if name.endswith(".safetensors")}
    for name in sorted(weights):
        _check_safetensors(folder / name)
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            named = set(json.loads(index.read_bytes())["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{index.name}: no list of shards in it: get it again") from error
        if missing := sorted(map(str, named - weights)):
            raise UserError(f"{index.name}: names {missing[0]}, which is missing: add the file")


def _check_safetensors(path: Path) -> None:
    """Compare the size of a safetensors file with what its header says.

    The format: 8 bytes with the header's length, the header in JSON with each tensor's
    `data_offsets`, then the data.
    """
    size = path.stat().st_size
    broken = UserError(
        f"{path.name}: not a whole safetensors file ({size} bytes): it was cut, or is something "
        "else under this name: get it again"
    )
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8 or (length := struct.unpack("<Q", start)[0]) > _HEADER_LIMIT:
            raise broken
        try:
            header = json.loads(file.read(length))
            ends = [t["data_offsets"][1] for name, t in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise broken from error
    if size != 8 + length + max(ends, default=0):
        raise broken
