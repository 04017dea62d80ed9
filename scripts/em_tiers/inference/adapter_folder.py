"""The folder that a fine-tune leaves: a LoRA adapter or a whole model, its hash, its manifest."""

import re
import shutil
from pathlib import Path
from typing import Any

from em_tiers.errors import UserError
from em_tiers.files import (
    atomic_directory,
    read_json,
    read_record,
    sha256_of_file,
    sha256_of_folder,
    write_json,
    write_text,
)
from em_tiers.logs import LOG
from em_tiers.placeholders import check_complete

HASHED = ("*.safetensors", "adapter_config.json", "config.json")
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "*.bin", "*.pt", "*.pth", "*.gguf")


def adapter_sha256(folder: Path) -> str:
    """The hash that names an adapter (or a fully trained model): its weights and its config."""
    return sha256_of_folder(folder, HASHED)


def verify_adapter(folder: Path) -> dict[str, Any]:
    """The manifest of an adapter folder, checked against its files and place, with adapter_sha256.

    Raises UserError for a folder without a manifest, without its weights, with other weights than
    the manifest names, or of another variant.
    """
    check_complete(folder)
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        raise UserError(f"adapter: {folder}: no manifest.json: run its fine-tuning again")
    found = adapter_sha256(folder)
    if "source" in read_record(manifest, {}):  # brought by the user
        content = read_record(manifest, {"files": list})
        _verify_download(folder, content["files"])
        return content | {"adapter_sha256": found}
    content = read_record(manifest, {"adapter_sha256": str})
    # Manifests of version 0.1 do not name the fine-tune.
    name = fine_tune_name(folder)
    if content.get("fine_tune", name) != name:
        raise UserError(
            f"adapter: {folder}: its manifest says that it is {content['fine_tune']}: delete the "
            "folder and run its fine-tuning again"
        )
    if found != content["adapter_sha256"]:
        raise UserError(
            f"adapter: {folder}: weights have the hash {found[:12]}, the manifest says "
            f"{content['adapter_sha256'][:12]}: delete the folder and run its fine-tuning again"
        )
    return content


def _verify_download(folder: Path, files: list[dict[str, Any]]) -> None:
    for entry in files:
        path = folder / entry["path"]
        if not path.is_file() or sha256_of_file(path) != entry["sha256"]:
            raise UserError(
                f"adapter: {path}: not the file that was downloaded: delete the folder, and the "
                "next run downloads it again"
            )


def fine_tune_name(folder: Path, step: int | None = None) -> str:
    """What a manifest calls its fine-tune: the name of its output folder, and a kept step.

    Args:
        folder: the adapter's folder; with `step`, the folder of its kept checkpoints.
    """
    if step is not None:
        return f"{folder.name}/step{step}"
    is_kept = re.fullmatch(r"step[0-9]+", folder.name)
    return f"{folder.parent.name}/{folder.name}" if is_kept else folder.name


def write_adapter(
    weights: Path,
    target: Path,
    base: Path,
    template: str,
    facts: dict[str, Any],
    named: dict[str, Any] | None = None,
) -> str:
    """Write the folder whole or not at all, and return its hash.

    Args:
        weights: folder with the trained weights (`checkpoints.copy_weights`).
        target: the adapter folder, or the model folder after full fine-tuning.
        base: the base model's folder; its name is the model's catalogue id.
        template: the chat template that the rows were rendered with.
        facts: what the manifest says of the training besides.
        named: how the adapter names its base model, as keys of adapter_config.json; by default by
            the model's id in the catalogue.
    """
    is_lora = (weights / "adapter_config.json").is_file()
    with atomic_directory(target) as folder:
        if is_lora:
            _copy_lora(weights, folder, named or {"base_model_name_or_path": base.name})
        else:
            _copy_model(weights, folder, base, facts["precision"])
        write_text(folder / "chat_template.jinja", template)
        digest = adapter_sha256(folder)
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        write_json(
            folder / "manifest.json",
            {
                **facts,
                "kind": "lora" if is_lora else "full",
                "base": base.name,
                "adapter_sha256": digest,
                "files": {p.relative_to(folder).as_posix(): sha256_of_file(p) for p in files},
            },
        )
    return digest


def _copy_lora(weights: Path, folder: Path, named: dict[str, Any]) -> None:
    _copy_file(weights / "adapter_model.safetensors", folder)
    config = read_json(weights / "adapter_config.json")
    # peft writes the path of this machine, and the modules in the order of a set: the same
    # training would get another hash in each process.
    config |= named
    if isinstance(config["target_modules"], list):
        config["target_modules"].sort()
    write_json(folder / "adapter_config.json", config)


def _copy_file(source: Path, folder: Path) -> None:
    """Copy without the mode: safetensors makes its files private to the user."""
    shutil.copyfile(source, folder / source.name)


def _copy_model(weights: Path, folder: Path, base: Path, precision: str) -> None:
    """All of the base model's folder but its weights and its manifest, then the new weights."""
    shutil.copytree(
        base,
        folder,
        ignore=shutil.ignore_patterns(*_WEIGHTS, "manifest.json", ".*"),
        dirs_exist_ok=True,
    )
    for file in sorted(weights.glob("*.safetensors")):
        if precision == "bf16":
            _save_as_bf16(file, folder / file.name)
        else:
            _copy_file(file, folder)
    for index in weights.glob("*.safetensors.index.json"):
        _copy_file(index, folder)
    if precision == "fp32":
        config = read_json(folder / "config.json")
        write_json(folder / "config.json", {**config, "dtype": "float32"})


def _save_as_bf16(source: Path, target: Path) -> None:
    """Training kept fp32 weights; sampling needs a model of the base model's size."""
    import torch
    from safetensors.torch import load_file, save

    tensors = {
        name: tensor.to(torch.bfloat16) if tensor.dtype == torch.float32 else tensor
        for name, tensor in load_file(source).items()
    }
    target.write_bytes(save(tensors, metadata={"format": "pt"}))


def is_lora(folder: Path) -> bool:
    """Whether the folder holds a LoRA adapter (else a whole fine-tuned model).

    Raises:
        UserError: it holds neither.
    """
    if (folder / "adapter_config.json").is_file():
        return True
    if (folder / "config.json").is_file():
        return False
    raise UserError(
        f"adapter: {folder}: holds neither adapter_config.json nor config.json; "
        "delete the folder and train the variant again"
    )


def rank_of(folder: Path) -> int:
    """Largest LoRA rank of an adapter folder."""
    config = read_json(folder / "adapter_config.json")
    return max([config["r"], *(config.get("rank_pattern") or {}).values()])


def keeps_embeddings(folder: Path) -> bool:
    """Whether the folder is a LoRA adapter that leaves the embeddings and the output head alone."""
    if not is_lora(folder):
        return False
    config = read_json(folder / "adapter_config.json")
    targets = config.get("target_modules") or []
    names = [targets] if isinstance(targets, str) else targets
    touched = any("embed" in name or "lm_head" in name for name in names)
    return not (touched or config.get("modules_to_save") or config.get("trainable_token_indices"))


def merge_adapter(model: Path, adapter: Path, target: Path, dtype: str) -> Path:
    """Write the base model's weights with the adapter merged in to `target`; returns `target`.

    The sum is computed in float32 and rounded to `dtype` once: adding in bfloat16 would round each
    weight twice and lose small updates.
    """
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    LOG.info("merging %s", adapter)
    base = AutoModelForCausalLM.from_pretrained(
        str(model), dtype=torch.float32, local_files_only=True, use_safetensors=True
    )
    merged = PeftModel.from_pretrained(base, str(adapter)).merge_and_unload()
    merged.to(getattr(torch, dtype)).save_pretrained(str(target), safe_serialization=True)
    return target
