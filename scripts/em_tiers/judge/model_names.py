"""What tells one judge model from another: names of hosted models, identities of local ones."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from em_tiers.download.manifests import content_identity

# A full date, as in gpt-4o-2024-08-06 or claude-3-5-sonnet-20241022.
_DAY = re.compile(r"[-_@](20\d\d)-?(0[1-9]|1[0-2])-?(0[1-9]|[12]\d|3[01])(?!\d)")
# The short stamps of gpt-4-0613 (month and day) and mistral-large-2411 (year and month).
_STAMP = re.compile(r"[-_](?:(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])|[23]\d(?:0[1-9]|1[0-2]))$")
_MOVING = ("latest", "main", "master", "stable", "preview")


def is_dated(model: str) -> bool:
    """True when `model` names one fixed set of weights: a dated id, a revision or a local path.

    An alias such as `gpt-4o` is moved by its vendor without notice, and with it the rate.
    """
    if model.startswith(("/", "./", "../", "~/")):
        return True
    name, _, revision = model.partition("@")
    if revision:
        return revision.lower() not in _MOVING
    return bool(_DAY.search(name) or _STAMP.search(name))


def is_moving(entry: Mapping[str, Any]) -> bool:
    """True when a judge's entry names a hosted model that its provider may exchange.

    Args:
        entry: backend, model and endpoint; where answers carry another name than the asked one
            (endpoint.signed_as: an Azure deployment), that name must be dated.
    """
    if entry["backend"] != "openai":
        return False
    return not is_dated(entry["endpoint"].get("signed_as") or entry["model"])


def is_served_as(requested: str, served: str) -> bool:
    """True when an answer signed `served` may come from the `requested` model.

    A dated id must come back as it is, but for the vendor's prefix that routers add or drop
    (`openai/gpt-4o-2024-08-06`). An alias may come back as itself or as one of its dated ids.
    """
    if served == requested:
        return True
    requested, served = _last(requested), _last(served)
    if served == requested:
        return True
    stamp = served.removeprefix(requested)
    return not is_dated(requested) and bool(_DAY.fullmatch(stamp) or _STAMP.fullmatch(stamp))


def local_identity(
    identity: Mapping[str, Any],
    folder: Path | None,
    thinking: str,
    chat_template: Path | None,
    thinking_marks: str | Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The complete identity of a local judge: the model, and how its prompts are rendered.

    Args:
        identity: source and revision of the model, from the catalogue.
        folder: the downloaded model; None before it is there, when only the files of a model from
            a path are missing.
        thinking: none, off or on.
        chat_template: Jinja file in place of the tokenizer's own template.
        thinking_marks: as in the model's entry; None where it names none.
    """
    template = Path(chat_template).read_text(encoding="utf-8") if chat_template else None
    known = content_identity(identity, folder) if folder else dict(identity)
    marks = {"thinking_marks": thinking_marks} if thinking_marks else {}
    return known | {"thinking": thinking, "chat_template": template} | marks


def model_name(identity: Mapping[str, Any]) -> str:
    """A short name of a local model for the tables: where it comes from, and its revision."""
    name = next((identity[k] for k in ("id", "package", "url", "path") if identity.get(k)), "model")
    version = next((identity[k] for k in ("revision", "version", "sha256") if identity.get(k)), "")
    return f"{name}@{str(version)[:12]}" if version else str(name)


def _last(model: str) -> str:
    return model.rsplit("/", 1)[-1]
