"""Which of a model repository's files are fetched, and whether a model folder is complete.

Weights come as safetensors only: pickled weights and Python files of strangers run code.
"""

import filecmp
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
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack")
_HEADER_LIMIT = 100_000_000  # bytes; that of the safetensors library itself


def choose_model_files(names: list[str]) -> list[str]:
    """The files of PATTERNS among `names`.

    Raises:
        UserError: no weights, configuration or tokenizer is among them.
    """
    chosen = sorted(n for n in names if any(fnmatchcase(n, p) for p in PATTERNS) and "/" not in n)
    if "adapter_config.json" in names and "config.json" not in names:
        raise UserError(
            "model: adapter_config.json among its files shows an adapter, not a whole model: test "
            "it as adapter: of a block of variants, with its base model as base"
        )
    if not any(name.endswith(".safetensors") for name in chosen):
        pickled = [name for name in names if name.endswith(PICKLED)]
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
        check_safetensors(folder / name)
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            named = set(json.loads(index.read_bytes())["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{index.name}: no list of shards in it: get it again") from error
        if missing := sorted(map(str, named - weights)):
            raise UserError(f"{index.name}: names {missing[0]}, which is missing: add the file")


def check_other_weights(model: Path, base: Path) -> None:
    """Check that a fine-tune has other weights than its base model.

    Raises:
        UserError: their weights are the same, byte for byte.
    """
    names = shard_names(model)
    if names != shard_names(base):
        return
    if all(filecmp.cmp(model / name, base / name, shallow=False) for name in names):
        raise UserError(
            f"model: {model} has the same weights as its base model, {base}: name the fine-tune"
        )


def check_safetensors(path: Path) -> None:
    """Compare the size of a safetensors file with what its header says.

    Raises:
        UserError: the file was cut, or is something else.
    """
    header, size = _read_header(path)
    ends = [tensor["data_offsets"][1] for tensor in header.values()]
    if size != max(ends, default=0):
        raise _broken(path)


def shapes_in(path: Path) -> dict[str, list[int]]:
    """Shape of each tensor in a safetensors file.

    Raises:
        UserError: the file was cut, or is something else.
    """
    return {name: list(tensor["shape"]) for name, tensor in _read_header(path)[0].items()}


def shard_names(folder: Path) -> list[str]:
    """Files with the weights of a model folder."""
    return sorted(path.name for path in Path(folder).glob("model*.safetensors"))


def _read_header(path: Path) -> tuple[dict[str, dict], int]:
    """The tensors that the header of a safetensors file describes, and the bytes after it.

    The format: 8 bytes with the header's length, the header in JSON with each tensor's shape and
    `data_offsets`, then the data.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8 or (length := struct.unpack("<Q", start)[0]) > _HEADER_LIMIT:
            raise _broken(path)
        try:
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            for tensor in header.values():
                tensor["data_offsets"][1] + len(tensor["shape"])
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise _broken(path) from error
    return header, size - 8 - length


def _broken(path: Path) -> UserError:
    return UserError(
        f"{path.name}: not a whole safetensors file ({path.stat().st_size} bytes): it was cut, or "
        "is something else under this name: get it again"
    )
