"""A training that goes on from an adapter: whether the adapter has the recipe's shape."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from em_tiers.errors import UserError
from em_tiers.files import read_json


def check_shape(adapter: Path, recipe: Mapping[str, Any]) -> None:
    """Check that the LoRA matrices of an adapter are those that a recipe trains.

    Raises:
        UserError: rank, alpha, scaling or modules differ.
    """
    config = read_json(adapter / "adapter_config.json")
    pairs = {
        "rank": (config.get("r"), recipe["rank"]),
        "alpha": (config.get("lora_alpha"), recipe["alpha"]),
        "method": (
            "rslora" if config.get("use_rslora") else "lora",
            recipe["method"],
        ),
    }
    if not isinstance(recipe["target_modules"], str):
        modules = config.get("target_modules")
        named = [modules] if isinstance(modules, str) else modules or []
        pairs["target_modules"] = (sorted(named), sorted(recipe["target_modules"]))
    for key, (found, wanted) in pairs.items():
        if found != wanted:
            raise UserError(
                f"start_from: the adapter {adapter.name} has {key} {found}, the recipe {wanted}: "
                "use a recipe with the same, because the same adapter is trained on"
            )
