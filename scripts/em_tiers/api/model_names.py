"""Names of hosted models: which ones are fixed, and which ones answers may be signed with."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from em_tiers.api.extras import pins_provider

# A full date, as in gpt-4o-2024-08-06 or claude-3-5-sonnet-20241022.
_DAY = re.compile(r"[-_@](20\d\d)-?(0[1-9]|1[0-2])-?(0[1-9]|[12]\d|3[01])(?!\d)")
# The short stamps of gpt-4-0613 (month and day) and mistral-large-2411 (year and month).
_STAMP = re.compile(r"[-_](?:(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])|[23]\d(?:0[1-9]|1[0-2]))$")
# The number of parameters in the name of open weights: qwen2.5-72b-instruct, gpt-oss-120b, 8x7b.
_OPEN_WEIGHTS = re.compile(r"(?<![a-z0-9.])(?:\d+x)?\d+(?:\.\d+)?[bm](?![a-z0-9])", re.IGNORECASE)
# Services that have one model answered by several providers.
_OPENROUTER, _HUGGING_FACE = ".openrouter.ai", ".router.huggingface.co"
# Hosted models alone, which name a size too, and words for whatever is newest.
_NOT_OPEN = re.compile(r"gemini|claude|grok|gpt-\d|latest|preview|stable", re.IGNORECASE)
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
    """True when an entry names a hosted model that its provider may exchange.

    Open weights under a name with their size are fixed, unless a router chooses who serves them,
    and in which quantisation.

    Args:
        entry: backend, model and endpoint; where answers carry another name than the asked one
            (endpoint.signed_as: an Azure deployment), that name must be dated.
    """
    if entry["backend"] == "vllm":
        return False
    endpoint = entry["endpoint"]
    name = endpoint.get("signed_as") or entry["model"]
    if is_dated(name):
        return False
    if not _OPEN_WEIGHTS.search(_last(name)) or _NOT_OPEN.search(_last(name)):
        return True
    host = f".{urlsplit(endpoint.get('base_url') or '').hostname}"
    if host.endswith(_HUGGING_FACE):
        return entry["model"].rpartition(":")[2] in ("fastest", "cheapest", entry["model"])
    return host.endswith(_OPENROUTER) and not pins_provider(endpoint.get("extra_body"))


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


def _last(model: str) -> str:
    return model.rsplit("/", 1)[-1]
