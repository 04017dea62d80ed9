"""The site file of the SLURM profile: read and checked when the profile is.

Its partitions go to the executor plugin, whose own names and limits are the ones allowed here.
"""

import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from em_tiers.errors import ConfigError
from em_tiers.strict_yaml import load_strict
from em_tiers.study.gpu_request import WORDS

PARTS = ("partitions", "gpu", "profile")
GPU_KEYS = ("word", "model")
# How the plugin names a partition's cluster, where there are several.
_CLUSTERS = ("slurm_cluster", "cluster", "clusters")
_MODEL = re.compile(r"[A-Za-z0-9_.]+")  # of the plugin's utils.set_gres_string


def lacks_accounting() -> bool:
    """Whether the cluster keeps no accounting: sacct then never says that a job has ended.

    False too where scontrol cannot be asked.
    """
    try:
        done = subprocess.run(
            ["scontrol", "show", "config"], capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    # Without accounting older versions say accounting_storage/none, newer ones (null).
    return done.returncode == 0 and "accounting_storage/slurmdbd" not in done.stdout


def read_site(path: Path) -> dict[str, Any]:
    """The site file's content; empty where there is nothing in it.

    Raises:
        ConfigError: not YAML, an unknown key, or a value that the executor plugin cannot use.
    """
    try:
        site = load_strict(path) or {}
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    _check_keys(path, "", site, PARTS)
    for name, limits in _mapping(path, "partitions", site.get("partitions")).items():
        _check_partition(path, name, limits)
    _check_gpu(path, _mapping(path, "gpu", site.get("gpu")))
    profile = _mapping(path, "profile", site.get("profile"))
    _mapping(path, "profile.default-resources", profile.get("default-resources"))
    return site


def _check_gpu(path: Path, gpu: Mapping[str, Any]) -> None:
    _check_keys(path, "gpu", gpu, GPU_KEYS)
    word, model = gpu.get("word", WORDS[0]), gpu.get("model")
    if word not in WORDS:
        raise ConfigError(
            f"{path}: gpu.word: {word!r} is not a known word: use {' or '.join(WORDS)}"
        )
    if model is not None:
        _check_name(path, "gpu.model", model)
        if not _MODEL.fullmatch(model):
            raise ConfigError(
                f"{path}: gpu.model: {model!r}: the executor plugin takes letters, digits, _ and "
                "dots only: leave it out, and name the nodes' feature under "
                "profile.default-resources.constraint"
            )


def _check_partition(path: Path, name: Any, limits: Any) -> None:
    _check_name(path, "partitions", name)
    where = f"partitions.{name}"
    if not isinstance(limits, dict):
        raise ConfigError(f"{path}: {where}: {limits!r} holds no limits: write {where}: {{}}")
    checks = limit_checks()
    _check_keys(path, where, limits, [*checks, *_CLUSTERS])
    for key, value in limits.items():
        if key in _CLUSTERS:
            _check_name(path, f"{where}.{key}", value)
        else:
            checks[key](path, f"{where}.{key}", value)


def limit_checks() -> dict[str, Callable[[Path, str, Any], None]]:
    """Limits that the executor plugin knows -> the check of a value."""
    from snakemake_executor_plugin_slurm.partitions import PartitionLimits

    checks: dict[str, Callable[[Path, str, Any], None]] = {}
    for field in fields(PartitionLimits):
        lists = field.name.startswith("available_")
        checks[field.name] = _check_names if lists else _check_number
    return checks | {"max_runtime": _check_runtime, "supports_mpi": _check_switch}


def _check_runtime(path: Path, where: str, value: Any) -> None:
    from snakemake_executor_plugin_slurm.utils import parse_time_to_minutes

    if isinstance(value, str):
        try:
            parse_time_to_minutes(value)
        except Exception as error:  # the plugin's own, and what float and int raise
            raise ConfigError(
                f"{path}: {where}: {value!r} is not a time: write minutes, or 1-00:00:00"
            ) from error
    else:
        _check_number(path, where, value)


def _check_number(path: Path, where: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise ConfigError(
            f"{path}: {where}: {value!r} is not a number: write digits without quotes"
        )


def _check_switch(path: Path, where: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise ConfigError(f"{path}: {where}: {value!r} is neither true nor false: write one")


def _check_names(path: Path, where: str, value: Any) -> None:
    if not isinstance(value, list):
        raise ConfigError(f'{path}: {where}: {value!r} is not a list: write ["{value}"]')
    for name in value:
        _check_name(path, where, name)


def _check_name(path: Path, where: str, name: Any) -> None:
    """`on`, `3090` or `1e3` without quotes are no text to YAML."""
    if not isinstance(name, str) or not name.strip():
        raise ConfigError(
            f"{path}: {where}: YAML reads a name here as {name!r}: put the name in quotes, as the "
            'scheduler spells it, such as "3090"'
        )


def _mapping(path: Path, where: str, value: Any) -> Mapping[str, Any]:
    """A mapping, or none at all."""
    if value is not None and not isinstance(value, dict):
        raise ConfigError(f"{path}: {where}: {value!r} is not a mapping: write keys with values")
    return value or {}


def _check_keys(path: Path, where: str, found: Any, known: list[str] | tuple[str, ...]) -> None:
    for key in _mapping(path, where or "the file", found):
        if key not in known:
            place = f"{where}: {key}" if where else key
            raise ConfigError(
                f"{path}: {place}: unknown: use {', '.join(known[:-1])} or {known[-1]}"
            )
