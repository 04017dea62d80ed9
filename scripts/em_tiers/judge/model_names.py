"""What tells one local judge model from another."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from em_tiers.download.manifests import content_identity


def local_identity(
    identity: Mapping[str, Any],
    folder: Path | None,
    thinking: str,
    chat_template: Path | None,
    thinking_marks: str | Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The complete identity of a local judge: the model, and how its prompts are rendered.

    Args:
        identity: source and revision of the model, from the catalogue, and the quantization of its
            engine, if any.
        folder: the downloaded model; None before it is there, when only the files of a model from
            a path are missing.
        thinking: none, off or on.
        chat_template: Jinja file in place of the tokenizer's own template.
        thinking_marks: as in the model's entry; None where it names none.
    """
    template = Path(chat_template).read_text(encoding="utf-8") if chat_template else None
    known = content_identity(identity, folder) if folder else dict(identity)
    marks = {"thinking_marks": thinking_marks} if thinking_marks else {}
    # Weights that the engine quantises give other verdicts than those of the files.
    quantised = {name: identity[name] for name in ("quantization",) if name in identity}
    return known | {"thinking": thinking, "chat_template": template} | marks | quantised


def model_name(identity: Mapping[str, Any]) -> str:
    """A short name of a local model for the tables: where it comes from, and its revision."""
    name = next((identity[k] for k in ("id", "package", "url", "path") if identity.get(k)), "model")
    version = next((identity[k] for k in ("revision", "version", "sha256") if identity.get(k)), "")
    return f"{name}@{str(version)[:12]}" if version else str(name)
