"""The demo's configuration, and changed copies of it, for the tests of the configuration."""

import copy
from pathlib import Path

import yaml

from em_tiers.study.load import load_study

ROOT = Path(__file__).parents[1]


def demo() -> dict:
    return yaml.safe_load((ROOT / "config" / "demo.yaml").read_text())


def catalogue(name: str) -> dict:
    return yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text())


def load(root: Path, config: dict | None = None, **kwargs):
    return load_study(demo() if config is None else config, root, root, **kwargs)


def put(value: dict, path: str, new) -> dict:
    """Set the value at a dotted path."""
    value = copy.deepcopy(value)
    *parents, last = path.split(".")
    below = value
    for key in parents:
        below = below[int(key)] if isinstance(below, list) else below.setdefault(key, {})
    below[int(last) if isinstance(below, list) else last] = new
    return value
