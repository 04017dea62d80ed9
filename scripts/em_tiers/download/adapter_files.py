"""A LoRA adapter that a user brings: which of its files are fetched, and whether it can be tested.

Weights come as safetensors only: pickled weights run code when they are loaded.
"""

import json
import re
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from em_tiers.download.model_files import (
    PICKLED,
    check_safetensors,
    shapes_in,
    shard_names,
)
from em_tiers.errors import UserError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PATTERNS = (CONFIG, WEIGHTS, "chat_template.jinja", "LICENSE", "LICENCE", "LICENSE.txt", "NOTICE")
# What a LoRA adapter beside the base weights cannot have in vLLM (lora/peft_helper.py); peft merges
# all of them.
_ONLY_MERGED = (
    "use_dora",
    "modules_to_save",
    "lora_bias",
    "trainable_token_indices",
    "layer_replication",
    "use_bdlora",
    "use_qalora",
)
# Initialisations that leave the base model's weights as they are.
_PLAIN_INIT = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
# Endings of repackaged copies of a model, whose adapters fit the model itself.
_REPACKAGED = re.compile(r"[-_](?:unsloth|bnb|4bit|8bit|bf16|fp16|gptq|awq|int4|int8)+$")
_BEFORE = "base_model.model."


def choose_adapter_files(names: list[str]) -> list[str]:
    """The files of an adapter among `names`.

    Raises:
        UserError: no adapter is among them, or its weights are not safetensors.
    """
    if CONFIG not in names:
        if "config.json" in names:
            raise UserError(
                "adapter: config.json without adapter_config.json is a whole model: add it to a "
                "catalogue of models, and write model: ID and tuned_from: its base model"
            )
        deeper = sorted(name for name in names if name.endswith(f"/{CONFIG}"))
        hint = (
            f"; there is one in {deeper[0].rpartition('/')[0]}: name that folder" if deeper else ""
        )
        raise UserError(f"adapter: no {CONFIG} among its files{hint or ': name the right folder'}")
    if WEIGHTS not in names:
        pickled = [name for name in names if name.endswith(PICKLED)]
        hint = f", only {pickled[0]}, which could run code when loaded" if pickled else ""
        raise UserError(
            f"adapter: no {WEIGHTS} among its files{hint}: save the adapter with "
            "safe_serialization=True"
        )
    return sorted(name for name in names if name in PATTERNS)


def check_adapter_folder(
    folder: Path,
    names: list[str],
    bases: Collection[str],
    model: Path | None,
    engine: Mapping[str, Any],
) -> None:
    """Check that an adapter can be tested on its base model with an engine.

    Args:
        folder: holds the files `names`.
        bases: names under which an adapter may know the base model.
        model: folder of the base model; None as long as it is not here.
        engine: {adapters: lora, merge or replace, max_lora_rank}.

    Raises:
        UserError: it is damaged, of another base model, or needs what the engine cannot serve.
    """
    check_safetensors(folder / WEIGHTS)
    config = read_config(folder)
    _check_kind(config)
    _check_base(config.get("base_model_name_or_path"), bases)
    if engine["adapters"] == "lora":
        _check_served(config, engine["max_lora_rank"])
    if model is not None:
        _check_shapes(shapes_in(folder / WEIGHTS), model)


def read_config(folder: Path) -> dict[str, Any]:
    """An adapter's adapter_config.json.

    Raises:
        UserError: it is not the description of an adapter.
    """
    try:
        config = json.loads((folder / CONFIG).read_bytes())
    except ValueError as error:
        raise UserError(f"adapter: {CONFIG} is not JSON ({error}): get it again") from None
    if not isinstance(config, dict) or "peft_type" not in config:
        raise UserError(f"adapter: {CONFIG} names no peft_type: give an adapter that peft saved")
    return config


def _check_kind(config: Mapping[str, Any]) -> None:
    kind, task = config["peft_type"], config.get("task_type")
    if kind != "LORA" or not isinstance(config.get("r"), int):
        raise UserError(
            f"adapter: peft_type {kind} is not LoRA: merge it into its base model, and give the "
            "merged model"
        )
    if task not in (None, "CAUSAL_LM"):
        raise UserError(f"adapter: task_type {task} does not answer questions: give a CAUSAL_LM")
    if config.get("alora_invocation_tokens"):
        raise UserError(
            "adapter: alora_invocation_tokens: an activated LoRA is not a model of its own: give "
            "another adapter"
        )


def _check_base(named: Any, bases: Collection[str]) -> None:
    """Compare the base model's name in the adapter with those of the base model under test.

    A path is taken for the same model: it is where the model was on another machine.
    """
    if not isinstance(named, str) or not named or _is_path(named):
        return
    if _plain(named) not in {_plain(base) for base in bases}:
        raise UserError(
            f"adapter: base_model_name_or_path is {named!r}, but base is {' or '.join(bases)}: "
            "name the right base; if it is the same model, give its entry in the catalogue of "
            f"models the id {_plain(named)!r}"
        )


def _is_path(name: str) -> bool:
    return name.startswith(("/", ".", "~")) or name.count("/") > 1 or "\\" in name


def _plain(name: str) -> str:
    """A model's name as an id, without its owner and the endings of repackaged copies."""
    name = name.rstrip("/").rpartition("/")[2].casefold()
    while name != (shorter := _REPACKAGED.sub("", name)):
        name = shorter
    return re.sub("[^a-z0-9]+", "-", name)


def _check_served(config: Mapping[str, Any], max_rank: int | None) -> None:
    rank = max([config["r"], *(config.get("rank_pattern") or {}).values()])
    if max_rank and rank > max_rank:
        raise UserError(
            f"adapter: its rank {rank} is above max_lora_rank {max_rank} of the engine: raise it"
        )
    init, bias = config.get("init_lora_weights"), config.get("bias", "none")
    found = [key for key in _ONLY_MERGED if config.get(key)]
    if isinstance(init, str) and init.lower() not in _PLAIN_INIT:
        found.append(f"init_lora_weights {init}")
    if bias not in ("none", None):
        found.append(f"bias {bias}")
    if found:
        raise UserError(
            f"adapter: {found[0]} cannot be served beside the base model's weights: use an engine "
            "with adapters: merge"
        )


def _check_shapes(adapter: Mapping[str, list[int]], model: Path) -> None:
    """Compare the adapter's matrices with the weights of the base model that they change.

    A module that the base model calls otherwise says nothing; where some are found and others are
    not, the base model has fewer layers.
    """
    base = _shapes_of_model(model)
    found, missing = 0, []
    for name, shape in adapter.items():
        module, side = _module_of(name)
        if module is None:
            continue
        weight = base.get(f"{module}.weight")
        if weight is None or len(weight) != 2 or len(shape) != 2:
            missing.append(module)
            continue
        found += 1
        wanted, given = (weight[1], shape[1]) if side == "A" else (weight[0], shape[0])
        if wanted != given:
            raise UserError(
                f"adapter: {module} is for {given} features, the base model has {wanted}: it was "
                "trained on another base model: name that one"
            )
    if found and missing:
        raise UserError(
            f"adapter: the base model has no {missing[0]}: it was trained on another base model: "
            "name that one"
        )


def _module_of(name: str) -> tuple[str | None, str]:
    matched = re.fullmatch(r"(.+)\.lora_([AB])(?:\.\w+)?\.weight", name)
    if not matched:
        return None, ""
    return matched[1].removeprefix(_BEFORE), matched[2]


@cache
def _shapes_of_model(model: Path) -> dict[str, list[int]]:
    shapes: dict[str, list[int]] = {}
    for name in shard_names(model):
        shapes |= shapes_in(model / name)
    return shapes
