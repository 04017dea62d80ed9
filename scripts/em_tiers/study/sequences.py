"""Trainings that go on from the adapter of another variant: `start_from` of a block.

The recipe of such a training has a name of its own, RECIPE-after-ID, in the study's recipes, so
that its fine-tunes have ids, groups and figures of their own.
"""

from typing import Any

from em_tiers.errors import ConfigError, UserError, require_known
from em_tiers.study.jobs import adapter_folder
from em_tiers.study.study import Study
from em_tiers.study.variants import Variant, recipe_of
from em_tiers.train.start import check_shape, shape_of


def derive_recipes(study: Study) -> None:
    """Add the recipes of trainings that start from a variant to those of the catalogue.

    Raises:
        ConfigError: two trainings would have one name, or nothing is trained.
    """
    for number, block in enumerate(study.config["variants"]):
        if block["start_from"] is None:
            continue
        where = f"config.variants.{number}"
        if not block["datasets"] or "recipe" not in block:
            raise ConfigError(f"{where}.start_from: no training goes on: add datasets and a recipe")
        name, known = recipe_of(block), study.recipes[block["recipe"]]
        label = f"{known['label'] or block['recipe']} after {name.rpartition('-after-')[2]}"
        entry = known | {"label": label, "start_from": block["start_from"]}
        if study.recipes.setdefault(name, entry)["start_from"] != block["start_from"]:
            raise ConfigError(
                f"{where}.start_from: another block starts from a variant that is called alike: "
                "write an id for each"
            )


def start_of(study: Study, fine_tune: Variant) -> Variant | None:
    """The variant whose adapter a training goes on from.

    Raises:
        KeyError: the study has no such variant.
    """
    wanted = study.recipes[fine_tune.recipe].get("start_from")
    return study.variants[resolve(wanted, fine_tune.training_seed)] if wanted else None


def resolve(start_from: str, seed: int | None) -> str:
    """The id of a variant, where s* stands for the training seed."""
    return ".".join(f"s{seed}" if part == "s*" else part for part in start_from.split("."))


def start_outputs(study: Study, fine_tune: str) -> list[str]:
    """The output that holds the adapter which a training goes on from; empty without one."""
    start = start_of(study, study.variants[fine_tune])
    if start is None:
        return []
    folder = "adapters" if start.checkpoint_step is None else "kept_adapters"
    return [f"{folder}/{start.parent}"]


def start_settings(study: Study, fine_tune: str) -> dict[str, Any]:
    """What a recipe's params say of the start; nothing without one."""
    known = study.variants.get(fine_tune)
    start = start_of(study, known) if known else None
    return {"start_from": adapter_folder(start)} if start else {}


def check_sequences(study: Study) -> None:
    """Check that each training that starts from a variant can go on from its adapter.

    Raises:
        ConfigError: the variant is unknown, has no adapter, is of another base model, has another
            shape than the recipe, or starts from the training itself.
    """
    for number, block in enumerate(study.config["variants"]):
        if block["start_from"] is None:
            continue
        where, recipe = f"config.variants.{number}.start_from", study.recipes[block["recipe"]]
        if recipe["method"] == "full":
            raise ConfigError(
                f"{where}: recipe {block['recipe']} trains all weights: use a LoRA recipe"
            )
        for seed in block["training_seeds"]:
            _check_start(study, block, resolve(block["start_from"], seed), where)


def _check_start(study: Study, block: dict[str, Any], name: str, where: str) -> None:
    require_known(name, study.variants, where, "variant")
    start = study.variants[name]
    if start.parent is None or start.system is not None:
        raise ConfigError(f"{where}: {name!r} has no adapter of its own: name a fine-tune")
    if start.base != block["base"]:
        raise ConfigError(
            f"{where}: {name!r} is a fine-tune of {start.base}, not of {block['base']}: name one "
            "of the same base model"
        )
    try:
        check_shape(name, _shape(study, start, where), study.recipes[block["recipe"]])
    except UserError as error:
        raise ConfigError(f"{where.removesuffix('.start_from')}.{error}") from error
    _check_no_circle(study, start, where)


def _shape(study: Study, start: Variant, where: str) -> dict[str, Any]:
    """Method, rank, alpha and modules of a variant's adapter, as far as they are known here."""
    if start.recipe:
        return study.recipes[start.recipe]
    if start.adapter["type"] != "path":
        raise ConfigError(
            f"{where}: {start.variant!r} is on the hub, so that its rank is not known yet: "
            "download it, and give its folder as adapter"
        )
    return shape_of(study.workdir / study.find_file(start.adapter["path"]))


def _check_no_circle(study: Study, start: Variant, where: str) -> None:
    seen: list[str] = []
    following: Variant | None = start
    while following is not None and following.recipe:
        if following.parent in seen:
            raise ConfigError(f"{where}: {start.variant!r} starts from itself: name another one")
        seen.append(str(following.parent))
        wanted = study.recipes[following.recipe].get("start_from")
        following = study.variants.get(resolve(wanted, following.training_seed)) if wanted else None
