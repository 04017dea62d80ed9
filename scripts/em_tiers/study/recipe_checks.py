"""Checks of recipes beyond the schema: against the engine, and of training's length in steps."""

import re

from em_tiers.errors import ConfigError, UserError, require_known
from em_tiers.study.study import Study
from em_tiers.train.arguments import check_batch, check_steps

# Names of linear layers in most models. A name that differs from one of them in case, hyphens or
# underscores only is a misspelling; other names are looked for in the weights, by check_prompts.
KNOWN_MODULES = (
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "qkv_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
    "gate_up_proj",
    "query_key_value",
)


def check_recipes(study: Study) -> None:
    """Check the recipe of each block of variants.

    Raises:
        ConfigError: the recipe is unknown, contradicts itself, or does not go with the block's
            checkpoints or the study's engine.
    """
    for number, block in enumerate(study.config["variants"]):
        if "recipe" in block:
            where = f"config.variants.{number}"
            require_known(block["recipe"], study.recipes, f"{where}.recipe", "recipe")
            _check_recipe(study.recipes[block["recipe"]], f"recipes.{block['recipe']}")
            _check_block(study, block, where)


def _check_recipe(recipe: dict, where: str) -> None:
    if recipe["max_steps"] and recipe["max_tokens"]:
        raise ConfigError(
            f"{where}.max_tokens: {recipe['max_tokens']} conflicts with max_steps "
            f"{recipe['max_steps']}, which also sets the length of training: keep one of them"
        )
    try:
        check_batch(recipe)
        if recipe["max_steps"]:
            check_steps(recipe, [], recipe["max_steps"])
    except UserError as error:
        raise ConfigError(str(error).replace("recipe: ", f"{where}.", 1)) from error
    if recipe["method"] != "full" and isinstance(recipe["target_modules"], list):
        _check_modules(recipe["target_modules"], where)


def _check_modules(names: list[str], where: str) -> None:
    known = {_plain(name): name for name in KNOWN_MODULES}
    for name in names:
        right = known.get(_plain(name))
        if right and name.rpartition(".")[2] != right:
            raise ConfigError(f"{where}.target_modules: {name!r}: did you mean {right!r}?")


def _plain(name: str) -> str:
    return re.sub("[-_]", "", name.rpartition(".")[2].lower())


def _check_block(study: Study, block: dict, where: str) -> None:
    name, recipe = block["recipe"], study.recipes[block["recipe"]]
    if recipe["max_steps"]:
        try:
            check_steps(recipe, block["checkpoints"], recipe["max_steps"])
        except UserError as error:
            raise ConfigError(f"{where}.{error}") from error
    engine = study.engines.get(study.config["engine"])
    if not engine or not block["datasets"]:
        return
    if recipe["method"] == "full" and engine["adapters"] == "lora":
        raise ConfigError(
            f"{where}.recipe: {name} is full fine-tuning, which leaves no adapter: use an engine "
            "with adapters: merge or replace"
        )
    if engine["adapters"] == "lora" and recipe["rank"] > engine["max_lora_rank"]:
        raise ConfigError(
            f"recipes.{name}.rank: {recipe['rank']} is above max_lora_rank "
            f"{engine['max_lora_rank']} of engine {study.config['engine']}: raise the latter"
        )
