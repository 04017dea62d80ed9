"""A training that goes on from an adapter: whether the adapter has the recipe's shape."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from em_tiers.errors import UserError
from em_tiers.files import read_json

_KEYS = ("method", "rank", "alpha", "target_modules")


def shape_of(adapter: Path) -> dict[str, Any]:
    """The shape of an adapter in the words of a recipe, from its adapter_config.json."""
    config = read_json(adapter / "adapter_config.json")
    return {
        "method": "rslora" if config.get("use_rslora") else "lora",
        "rank": config.get("r"),
        "alpha": config.get("lora_alpha"),
        "target_modules": config.get("target_modules"),
    }


def check_shape(name: str, shape: Mapping[str, Any], recipe: Mapping[str, Any]) -> None:
    """Check that the LoRA matrices of an adapter are those that a recipe trains.

    Args:
        name: of the adapter.
        shape: method, rank, alpha and target_modules of the adapter.

    Raises:
        UserError: they differ.
    """
    for key in _KEYS:
        found, wanted = shape[key], recipe[key]
        if key == "target_modules":
            if isinstance(found, str) != isinstance(wanted, str):
                continue  # peft lists the modules of all-linear
            found, wanted = sorted(found), sorted(wanted)
        if found != wanted:
            raise UserError(
                f"start_from: {name!r} has {key} {shape[key]}, the recipe {recipe[key]}: use the "
                "same, because the same adapter is trained on"
            )
