"""What a fine-tuned variant's folder holds: a LoRA adapter or a whole model, and merged weights."""

from pathlib import Path

from em_tiers.errors import UserError
from em_tiers.files import read_json
from em_tiers.logs import LOG


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
        f"adapter: {folder}: holds neither adapter_config.json nor config.json: "
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
