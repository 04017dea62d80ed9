"""Small files with the real formats, for repositories of the loopback hub."""

import json
import struct


def safetensors(data: bytes) -> bytes:
    """A safetensors file with one tensor of single bytes."""
    tensor = {"dtype": "U8", "shape": [len(data)], "data_offsets": [0, len(data)]}
    header = json.dumps({"weight": tensor, "__metadata__": {"format": "pt"}}).encode()
    return struct.pack("<Q", len(header)) + header + data


def model_files(data: bytes = bytes(i * i % 251 for i in range(1000))) -> dict[str, bytes]:
    """A model repository: some of its files are wanted, others must not be fetched."""
    half = len(data) // 2 + 7
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    index = {"metadata": {}, "weight_map": {"a": names[0], "b": names[1]}}
    return {
        "config.json": b'{"model_type": "llama"}',
        "generation_config.json": b'{"eos_token_id": 2}',
        "tokenizer.json": b'{"model": {}}',
        "tokenizer_config.json": b'{"eos_token": "</s>"}',
        "model.safetensors.index.json": json.dumps(index).encode(),
        names[0]: safetensors(data[:half]),
        names[1]: safetensors(data[half:]),
        "LICENSE": b"Apache License\n",
        "README.md": b"# A model\n",
        ".gitattributes": b"*.safetensors filter=lfs\n",
        "pytorch_model.bin": b"\x80\x04pickled",
        "modeling_custom.py": b"raise SystemExit('code of a stranger ran')\n",
        "onnx/model.safetensors": safetensors(b"other"),
    }
