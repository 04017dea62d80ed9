"""Checks of data sets that are mixtures of others."""

from em_tiers.errors import ConfigError, require_known
from em_tiers.study.study import Study

_SUM = 1e-6  # by which shares may miss 1
# Keys that the parts have, with their values where nothing is written.
_OF_PARTS = {"source": None, "format": None, "cot": None, "expected": None, "system": None,
             "columns": {}, "ignore": []}  # fmt: skip


def check_mixture(study: Study, name: str) -> None:
    """Check a data set that is a mixture; nothing for another one.

    Raises:
        ConfigError: a part is unknown, a mixture itself, named twice or without rows, the shares do
            not add up to 1, or a key belongs to the parts.
    """
    entry = study.datasets[name]
    if not entry["mixture"]:
        return
    where = f"datasets.{name}.mixture"
    for key, nothing in _OF_PARTS.items():
        if entry[key] != nothing:
            raise ConfigError(
                f"datasets.{name}.{key}: not beside mixture: write it in its data sets"
            )
    parts = study.parts_of(name)
    for number, part in enumerate(parts):
        require_known(part, study.datasets, f"{where}.{number}.id", "data set")
        if study.datasets[part]["source"] is None:
            raise ConfigError(
                f"{where}.{number}.id: {part!r} is a mixture or has no rows: name data sets with a "
                "source"
            )
        if part in parts[:number]:
            raise ConfigError(f"{where}.{number}.id: {part!r} is named twice: add up its shares")
    total = sum(part["share"] for part in entry["mixture"])
    if abs(total - 1) > _SUM:
        raise ConfigError(f"{where}: the shares add up to {total:g}: write shares that add up to 1")
