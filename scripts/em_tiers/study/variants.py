"""Variants: the models under test and their readable ids."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from em_tiers.api.model_names import is_moving
from em_tiers.errors import ConfigError

# A label or role that changes must rerun no model.
COSMETIC = ("label", "role")
NOT_IN_TABLES = ("parent", "imported", "adapter", "model", "system")


@dataclass(frozen=True)
class Variant:
    """One model under test.

    Attributes:
        variant: readable id, safe in a path: BASE, BASE.DATASET.RECIPE.sSEED[.stepN or .ID of a
            system text], BASE.adapter.ID, BASE.model.ID, BASE.system.ID or import.ID.
        parent: id of the fine-tune whose adapter or checkpoint this is; None without an adapter.
        checkpoint_step: optimiser step; None for the final adapter.
        adapter: source of an adapter that a user brings; None for one that is trained here.
        model: model of the catalogue that gives the answers, if it is neither `base` nor an adapter
            of it: a merged or whole fine-tune.
        system: text that is put before its questions as a system message.
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
    adapter: dict[str, Any] | None = None
    model: str | None = None
    system: str | None = None

    @property
    def is_base(self) -> bool:
        """Whether it is a base model as it is, without training, adapter or system text."""
        return self.variant == self.base

    @property
    def loaded(self) -> str:
        """The model of the catalogue whose files or server give the answers."""
        return self.model or self.base

    def as_row(self) -> dict[str, Any]:
        """The columns that tables carry of a variant."""
        row = asdict(self)
        for key in NOT_IN_TABLES:
            del row[key]
        return row

    def as_key(self) -> dict[str, Any]:
        """The same without label and role, for the params of a model's rules."""
        return {key: value for key, value in self.as_row().items() if key not in COSMETIC}


def fine_tune_id(base: str, dataset: str, recipe: str, seed: int | str) -> str:
    """Id of a fine-tune, and name of its folders."""
    return f"{base}.{dataset}.{recipe}.s{seed}"


def brought_id(base: str, adapter: str) -> str:
    """Id of an adapter that a user brings, and name of its folder."""
    return f"{base}.adapter.{adapter}"


def is_brought(block: dict) -> bool:
    """Whether a block tests a fine-tune that was made elsewhere, or a model with a system text."""
    given = any(block[key] is not None for key in ("adapter", "model"))
    return given or (block["system"] is not None and not block["datasets"])


def recipe_of(block: dict) -> str:
    """Name of a block's recipe in ids and tables: RECIPE-after-ID if it starts from a variant."""
    if block["start_from"] is None:
        return block["recipe"]
    named = None if block["system"] is not None else block["id"]
    # BASE.DATASET.RECIPE.sSEED or BASE.adapter.ID
    parts = block["start_from"].split(".")
    known = parts[2] if parts[1:2] == ["adapter"] else (parts[1:2] or parts)[0]
    return f"{block['recipe']}-after-{named or known}"


def tested_models(config: dict) -> set[str]:
    """Models of the catalogue under test, and their base models."""
    models = {block["model"] for block in config["variants"] if block["model"]}
    return models | {block["base"] for block in config["variants"]}


def dataset_of(block: dict) -> str | None:
    """Id of the data set that an adapter was trained on; None where the block names none."""
    entry = block["dataset"]
    return entry["id"] if isinstance(entry, dict) else entry


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
        before = f"{_label(base, models)} + " if len({b["base"] for b in blocks}) > 1 else ""
        if is_brought(block):
            _add_once(found, _brought(block, models, datasets, before), f"{where}.id")
        for dataset in block["datasets"]:
            label = before + _label(dataset, datasets)
            if len({recipe_of(b) for b in blocks if b["datasets"] and "recipe" in b}) > 1:
                label = f"{label} ({_label(recipe_of(block), recipes)})"
            for variant in _fine_tunes(block, dataset, datasets[dataset]["role"], label):
                _add_once(found, variant, where)
    own = {entry["id"] for entry in config["imports"]}
    for entry in config["imports"]:
        _add_once(found, _imported(entry, own), "config.imports")
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
        parent = fine_tune_id(block["base"], dataset, recipe_of(block), seed)
        for step in [*sorted(block["checkpoints"]), None]:
            variants.append(
                Variant(
                    parent if step is None else f"{parent}.step{step}",
                    f"{label}, seed {seed}" + ("" if step is None else f", step {step}"),
                    role,
                    block["base"],
                    dataset,
                    recipe_of(block),
                    seed,
                    step,
                    parent,
                )
            )
        if block["system"] is not None:
            named, final = block["id"], variants[-1]
            name, label_of_text = f"{parent}.{named}", f"{final.label}, {named}"
            variants.append(
                replace(final, variant=name, label=label_of_text, system=block["system"])
            )
    return variants


def _brought(block: dict, models: dict, datasets: dict, before: str) -> Variant:
    """The variant of an expanded block of `em_tiers.study.brought`."""
    dataset, seed, name = dataset_of(block), block["seed"], block["id"]
    model = block["model"]
    variant = brought_id(block["base"], name)
    if not block["adapter"]:
        variant = f"{block['base']}.{'model' if model else 'system'}.{name}"
    plain = name if seed is None else name.removesuffix(f"-s{seed}")
    label = plain
    if dataset:
        label = _label(dataset, datasets) + ("" if plain == dataset else f" ({plain})")
    elif model and plain == model:
        label = _label(model, models)
    label = block["label"] or before + label
    return Variant(
        variant,
        label if seed is None else f"{label}, seed {seed}",
        block["role"] or (datasets[dataset]["role"] if dataset else None) or "unknown",
        block["base"],
        dataset,
        training_seed=seed,
        parent=variant if block["adapter"] else None,
        adapter=block["adapter"],
        model=model,
        system=block["system"],
    )


def _imported(entry: dict, imports: set[str]) -> Variant:
    base = entry["base"]
    if base in imports:
        base = f"import.{base}"
    return Variant(
        f"import.{entry['id']}",
        entry["label"] or entry["id"],
        entry["role"],
        base or f"import.{entry['id']}",
        dataset=dataset_of(entry),
        training_seed=entry["training_seed"],
        imported=True,
    )


def _label(name: str, catalogue: dict) -> str:
    """Label of an entry; a model behind an API is marked when its provider may replace it."""
    entry = catalogue[name]
    label = entry["label"] or name
    return f"{label} (undated alias)" if entry.get("endpoint") and is_moving(entry) else label
