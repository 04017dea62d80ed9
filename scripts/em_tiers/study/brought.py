"""Fine-tunes that a user brings: single adapters and whole models, and data sets in place.

An expanded block is one that a user could have written, so that a configuration in an archive,
which holds expanded blocks, is read in the same way.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from em_tiers.errors import ConfigError
from em_tiers.study.import_entries import LONGEST_ID, slug
from em_tiers.study.study import Study
from em_tiers.study.variants import dataset_of, is_brought

# Keys of a block that describe training, with their defaults in the schema.
_OF_TRAINING = {"datasets": [], "training_seeds": [0], "checkpoints": [], "start_from": None}


def expand_blocks(study: Study) -> list[dict[str, Any]]:
    """The blocks of config.variants; each adapter that a user brings is a block of its own.

    Raises:
        ConfigError: keys of training beside an adapter, no folder fits, or the seeds do not fit.
    """
    found: list[dict[str, Any]] = []
    for number, block in enumerate(study.config["variants"]):
        where = f"config.variants.{number}"
        _check_model(block, where)
        if not is_brought(block):
            _check_own(block, where)
            found.append(block)
            continue
        _check_untrained(block, where)
        if block["model"] or not block["adapter"]:
            found.append(_whole(block, where))
        else:
            found += _adapters(study, block, where)
    return found


def describe_datasets(study: Study) -> None:
    """Add the data sets that blocks and imports describe in place to those of the catalogue.

    Raises:
        ConfigError: an id has two descriptions.
    """
    origin: dict[str, str] = {}
    blocks = [(f"config.variants.{n}", b) for n, b in enumerate(study.config["variants"])]
    blocks += [(f"config.imports.{entry['id']}", entry) for entry in study.config["imports"]]
    for where, block in blocks:
        entry = block["dataset"]
        if not isinstance(entry, dict):
            continue
        where, name = f"{where}.dataset", entry["id"]
        described = _without_rows(entry)
        if name in study.datasets and study.datasets[name] != described:
            other = origin.get(name, "the catalogue of data sets")
            raise ConfigError(
                f"{where}.id: {name!r} is described otherwise in {other}: write dataset: {name} to "
                "use that, or another id"
            )
        study.datasets[name] = described
        origin[name] = where


def _without_rows(entry: dict[str, Any]) -> dict[str, Any]:
    """A catalogue entry of a data set that is described only."""
    described = {key: entry[key] for key in ("label", "topic", "topics", "description")}
    absent = (
        "comment",
        "source",
        "mixture",
        "system",
        "format",
        "cot",
        "max_rows",
        "expected",
        "role",
    )
    nothing = dict.fromkeys(absent)
    rest = {"held_out": 0, "columns": {}, "ignore": [], "max_bad_share": 0.01}
    return dict(sorted((described | nothing | rest).items()))


def _check_model(block: dict[str, Any], where: str) -> None:
    """Check that a block names a base model, by `base` or by `tuned_from`."""
    model, base = block["model"], block["tuned_from"]
    if model is None and base is None:
        if "base" not in block:
            raise ConfigError(f"{where}.base: missing: name a model of the catalogue")
        return
    if model is None or base is None:
        key, other = ("model", "tuned_from") if model is None else ("tuned_from", "model")
        raise ConfigError(
            f"{where}.{key}: missing beside {other}: write model: the whole fine-tune, and "
            "tuned_from: its base model, both of the catalogue"
        )
    if block["adapter"] is not None:
        raise ConfigError(f"{where}.adapter: not beside model: write an adapter with its base")
    if block.get("base", base) != base:
        raise ConfigError(
            f"{where}.base: {block['base']!r} is not tuned_from, {base!r}: remove base"
        )
    if model == base:
        raise ConfigError(f"{where}.tuned_from: {base!r} is the model itself: name its base model")


def _whole(block: dict[str, Any], where: str) -> dict[str, Any]:
    """The block of a whole model or of a base model with a system text, with its base and an id."""
    if not block["model"] and not block["id"]:
        raise ConfigError(
            f"{where}.id: null, but a base model with a system text needs a name: write an id"
        )
    if isinstance(block["seed"], list) or block["seed"] == "*":
        raise ConfigError(f"{where}.seed: {block['seed']!r} for one model: write a whole number")
    name = _id(block, block["model"] or block["id"], block["seed"], False, where)
    return block | {"base": block["tuned_from"] or block["base"], "id": name}


def _check_own(block: dict[str, Any], where: str) -> None:
    named = ["id"] if block["system"] is not None or block["start_from"] else []
    if block["system"] is not None and not block["id"]:
        raise ConfigError(
            f"{where}.id: null, but fine-tunes with a system text need a name: write an id"
        )
    for key in ("id", "dataset", "role", "seed", "label"):
        if block[key] is not None and key not in named:
            remedy = {
                "dataset": "write datasets: [...] to train on it",
                "seed": "write training_seeds: [...]",
            }
            raise ConfigError(
                f"{where}.{key}: {block[key]!r} describes a fine-tune made elsewhere: add adapter, "
                f"or {remedy.get(key, f'remove {key}')}"
            )


def _check_untrained(block: dict[str, Any], where: str) -> None:
    """Refuse keys of training in a block of adapters."""
    for key in ("datasets", "training_seeds", "checkpoints", "recipe", "start_from"):
        if key in block and block[key] != _OF_TRAINING.get(key):
            other = {"datasets": "dataset: ID", "training_seeds": "seed: NUMBER"}
            raise ConfigError(
                f"{where}.{key}: {block[key]!r} would train what is trained already: "
                + (f"write {other[key]}" if key in other else f"remove {key}")
            )


def _adapters(study: Study, block: dict[str, Any], where: str) -> Iterator[dict[str, Any]]:
    sources = list(_sources(study, block["adapter"], f"{where}.adapter"))
    seeds = _seeds(block["seed"], [name for _, name in sources], f"{where}.seed")
    for (source, name), seed in zip(sources, seeds, strict=True):
        several = len(sources) > 1
        yield block | {
            "adapter": source,
            "seed": seed,
            "id": _id(block, name, seed, several, where),
            "label": _label(block, name, seed, several),
        }


def _sources(study: Study, adapter: Any, where: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Each adapter's source and the name that tells it from the others."""
    if isinstance(adapter, list):
        for number, one in enumerate(adapter):
            yield from _sources(study, one, f"{where}.{number}")
    elif isinstance(adapter, str):
        yield from _folders(study, adapter, where)
    elif "path" in adapter:
        if extra := sorted(adapter.keys() & {"id", "revision", "subfolder"}):
            raise ConfigError(f"{where}.{extra[0]}: not with path: keep one of the two")
        yield from _folders(study, adapter["path"], where)
    else:
        for key in ("id", "revision"):
            if key not in adapter:
                raise ConfigError(
                    f"{where}.{key}: missing: write {{id: OWNER/NAME, revision: COMMIT}} for the "
                    "hub, or a folder"
                )
        inside = adapter.get("subfolder")
        name = adapter["id"].rpartition("/")[2] + (f"-{inside}" if inside else "")
        kept = {k: adapter[k] for k in ("id", "revision", "subfolder") if adapter.get(k)}
        yield {"type": "hub", "revision": None} | kept, name


def _folders(study: Study, path: str, where: str) -> Iterator[tuple[dict[str, Any], str]]:
    """The folder, or each one that fits a path with `*`, named after what the `*` stand for."""
    if "*" not in path:
        yield {"type": "path", "path": path}, Path(path).name or path
        return
    pattern = str(Path(path).expanduser())
    roots = [Path("/")] if pattern.startswith("/") else [study.workdir, study.root]
    start = "/" if pattern.startswith("/") else ""
    parts = re.compile(re.escape(pattern).replace(r"\*", "([^/]*)"))
    for root in roots:
        found = (p for p in root.glob(pattern.lstrip("/")) if p.is_dir())
        paths = sorted(start + p.relative_to(root).as_posix() for p in found)
        if paths:
            for one in paths:
                yield {"type": "path", "path": one}, "-".join(parts.fullmatch(one).groups())
            return
    raise ConfigError(f"{where}: no folder fits {path!r}: correct the pattern")


def _seeds(seed: Any, names: list[str], where: str) -> list[int | None]:
    """The training seed of each adapter."""
    if seed == "*":
        numbers = [re.search(r"(\d+)$", name) for name in names]
        if None in numbers:
            name = names[numbers.index(None)]
            raise ConfigError(
                f"{where}: '*', but {name!r} does not end in a number: list the seeds"
            )
        return [int(number[1]) for number in numbers]
    if isinstance(seed, int) and len(names) > 1:
        raise ConfigError(
            f"{where}: {seed} for {len(names)} adapters: list a seed for each, or '*'"
        )
    seeds = seed if isinstance(seed, list) else [seed] * len(names)
    if len(seeds) != len(names):
        raise ConfigError(
            f"{where}: {len(seeds)} seeds for {len(names)} adapters: write one for each, in their "
            "order"
        )
    return seeds


def _id(block: dict[str, Any], name: str, seed: int | None, several: bool, where: str) -> str:
    """The adapter's id. Those of one data set that differ in their seeds differ in -sSEED alone."""
    if seed is not None and (block["id"] or dataset_of(block)):
        name = block["id"] or dataset_of(block)
    elif block["id"]:
        name = f"{block['id']}-{name}" if several else block["id"]
    found = slug(name)
    ending = f"-s{seed}"
    if seed is not None and not found.endswith(ending):
        found += ending
    if not found or len(found) > LONGEST_ID:
        raise ConfigError(
            f"{where}.id: {found or name!r} has no letters, or more than {LONGEST_ID} characters: "
            "write a short id for each adapter"
        )
    return found


def _label(block: dict[str, Any], name: str, seed: int | None, several: bool) -> str | None:
    """The label of one adapter; of several it ends in what tells it from the others."""
    label = block["label"]
    if label and several and seed is None:
        return f"{label} {name}"
    return label
