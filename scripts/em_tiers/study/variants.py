"""Variants: the models under test and their readable ids."""

from dataclasses import asdict, dataclass
from typing import Any

from em_tiers.errors import ConfigError

# A label or role that changes must rerun no model.
COSMETIC = ("label", "role")


@dataclass(frozen=True)
class Variant:
    """One model under test.

    Attributes:
        variant: readable id, safe in a path: BASE, BASE.DATASET.RECIPE.sSEED[.stepN] or import.ID.
        parent: id of the fine-tune whose adapter or checkpoint this is; None without fine-tuning.
        checkpoint_step: optimiser step; None for the final adapter.
    """

    variant: str
    label: str
    role: str
    base: str
    dataset: str | None = None
    recipe: str | None = None
    training_seed: int | None = None
    checkpoint_step: int | None = None
    parent: str | None = None
    imported: bool = False

    def as_row(self) -> dict[str, Any]:
        """The columns that tables carry of a variant."""
        row = asdict(self)
        del row["parent"], row["imported"]
        return row

    def as_key(self) -> dict[str, Any]:
        """The same without label and role, for the params of a model's rules."""
        return {key: value for key, value in self.as_row().items() if key not in COSMETIC}


def fine_tune_id(base: str, dataset: str, recipe: str, seed: int | str) -> str:
    """Id of a fine-tune, and name of its folders."""
    return f"{base}.{dataset}.{recipe}.s{seed}"


def expand_variants(config: dict, models: dict, datasets: dict, recipes: dict) -> list[Variant]:
    """All variants of a configuration: each base once, then its fine-tunes in config order.

    Raises:
        ConfigError: two blocks give the same variant, or a block lacks its recipe.
    """
    found: dict[str, Variant] = {}
    blocks = config["variants"]
    for number, block in enumerate(blocks):
        where = f"config.variants.{number}"
        base = block["base"]
        found.setdefault(base, Variant(base, _label(base, models), "base", base))
        if block["datasets"] and "recipe" not in block:
            raise ConfigError(
                f"{where}.recipe: missing: name a recipe of the catalogue for the data sets "
                f"{', '.join(block['datasets'])}"
            )
        for dataset in block["datasets"]:
            label = _label(dataset, datasets)
            if len({b["base"] for b in blocks}) > 1:
                label = f"{_label(base, models)} + {label}"
            if len({b.get("recipe") for b in blocks if b["datasets"]}) > 1:
                label = f"{label} ({_label(block['recipe'], recipes)})"
            for variant in _fine_tunes(block, dataset, datasets[dataset]["role"], label):
                _add_once(found, variant, where)
    for entry in config["imports"]:
        _add_once(found, _imported(entry), "config.imports")
    return list(found.values())


def _add_once(found: dict[str, Variant], variant: Variant, where: str) -> None:
    if variant.variant in found:
        raise ConfigError(
            f"{where}: variant {variant.variant!r} is defined twice: remove one of them"
        )
    found[variant.variant] = variant


def _fine_tunes(block: dict, dataset: str, role: str, label: str) -> list[Variant]:
    variants = []
    for seed in block["training_seeds"]:
        parent = fine_tune_id(block["base"], dataset, block["recipe"], seed)
        for step in [*sorted(block["checkpoints"]), None]:
            variants.append(
                Variant(
                    parent if step is None else f"{parent}.step{step}",
                    f"{label}, seed {seed}" + ("" if step is None else f", step {step}"),
                    role,
                    block["base"],
                    dataset,
                    block["recipe"],
                    seed,
                    step,
                    parent,
                )
            )
    return variants


def _imported(entry: dict) -> Variant:
    base = entry["base"]
    return Variant(
        f"import.{entry['id']}",
        entry["label"] or entry["id"],
        entry["role"],
        f"import.{base}" if base else f"import.{entry['id']}",
        dataset=entry["dataset"],
        training_seed=entry["training_seed"],
        imported=True,
    )


def _label(name: str, catalogue: dict) -> str:
    return catalogue[name]["label"] or name
