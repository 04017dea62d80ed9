"""What a JSON schema cannot say: references between entries, and values that exclude each other."""

import os
import re
from typing import TYPE_CHECKING

from em_tiers.errors import ConfigError, UserError
from em_tiers.prepare.row_formats import row_reader
from em_tiers.study.judge_checks import check_judge
from em_tiers.study.known import known

if TYPE_CHECKING:
    from em_tiers.study.load import Study

SECRET = re.compile(r"^(sk-|hf_|Bearer |AKIA|key-)[A-Za-z0-9_-]{8,}", re.IGNORECASE)


# What config.questions may name beside question sets.
PROBES_OF_DATASETS = {
    "held-out": "in-domain probes",
    "training-format": "questions in the format of a data set",
}


def check_references(study: "Study") -> None:
    """Check a study's entries against each other.

    Raises:
        ConfigError: the first mistake, naming key, value and remedy.
    """
    _check_no_secret(study.config, "config")
    if study.config["experiment"] == "resources":
        raise ConfigError(
            "config.experiment: resources: results/resources holds the downloads: choose another"
        )
    _check_variants(study)
    _check_datasets(study)
    _check_questions(study)
    _check_recipes(study)
    for name in study.config["judges"]:
        known(name, study.judges, "config.judges", "judge")
        check_judge(study, name)
    _check_tiers(study)
    _check_imports(study)
    _check_engine(study)
    _check_sources(study)
    _check_files(study)


def unpinned(study: "Study") -> list[str]:
    """Entries in use that come from the hub without a revision, each with its repository."""
    return [
        f"{catalogue}.{name} ({source['id']})"
        for catalogue, name, source in _sources(study)
        if source["type"] == "hub" and not source["revision"]
    ]


def check_ready(study: "Study") -> None:
    """What only a real run needs: a pinned revision for everything from the hub, usable rules.

    Raises:
        ConfigError: entries without a revision, and how to find one; a tier rule whose condition
            cannot be evaluated.
    """
    from em_tiers.tiers.rules import (
        read_rules,  # polars is slow to import, and a dry run needs none
    )

    rules = study.config["tiers"]["rules"]
    try:
        read_rules(study.tier_rules[rules]["rules"])
    except UserError as error:
        raise ConfigError(f"tier_rules.{rules}: {error}") from error
    if missing := unpinned(study):
        raise ConfigError(
            f"source.revision: null: is not pinned for {', '.join(missing)}: write the full commit "
            "of 40 hexadecimal digits; open the repository's page on the hub, 'Files and "
            "versions', 'History', and copy the commit's full id"
        )


def check_acceptance(study: "Study") -> None:
    """Each band must be of a variant of this study.

    Raises:
        ConfigError: the first that is not.
    """
    for number, band in enumerate(study.config["acceptance"]):
        known(band["variant"], study.variants, f"config.acceptance.{number}.variant", "variant")


def check_keys(study: "Study", judges: list[str]) -> None:
    """The environment variables that hold the keys of `judges` must be set.

    Raises:
        ConfigError: the first that is not, by name.
    """
    for name in judges:
        endpoint = study.judges[name]["endpoint"]
        if endpoint and endpoint["key_env"] and not os.environ.get(endpoint["key_env"]):
            raise ConfigError(
                f"judges.{name}.endpoint.key_env: {endpoint['key_env']}: is not set in the "
                "environment: export the key under this name, then run again"
            )


def _sources(study: "Study") -> list[tuple[str, str, dict]]:
    """(catalogue, id, source) of everything that the configuration uses."""
    models = {block["base"] for block in study.config["variants"]}
    models |= {
        study.judges[name]["model"]
        for name in study.config["judges"]
        if study.judges[name]["backend"] == "vllm"
    }
    datasets = {name for block in study.config["variants"] for name in block["datasets"]}
    if study.config["judges"]:  # they are shown what the data set of an import is about
        datasets |= {entry["dataset"] for entry in study.config["imports"] if entry["dataset"]}
    used = [("models", m, study.models[m]) for m in sorted(models)]
    used += [("datasets", d, study.datasets[d]) for d in sorted(datasets)]
    used += [("question_sets", q, study.question_sets[q]) for q in study.question_sets_used]
    return [(catalogue, name, entry["source"]) for catalogue, name, entry in used]


def _check_no_secret(value: object, where: str) -> None:
    if isinstance(value, dict):
        for key, below in value.items():
            _check_no_secret(below, f"{where}.{key}")
    elif isinstance(value, list):
        for number, below in enumerate(value):
            _check_no_secret(below, f"{where}.{number}")
    elif isinstance(value, str) and SECRET.match(value):
        raise ConfigError(
            f"{where}: {value[:3]}...: looks like a key: keep keys in the environment and name "
            "the variable in the judge's endpoint.key_env"
        )


def _check_variants(study: "Study") -> None:
    config = study.config
    if not config["variants"] and not config["imports"]:
        raise ConfigError(
            "config.variants: []: nothing to test: add a block with a base or imports"
        )
    for number, block in enumerate(config["variants"]):
        where = f"config.variants.{number}"
        known(block["base"], study.models, f"{where}.base", "model")
        if block["base"] == "imported":
            raise ConfigError(f"{where}.base: imported: names the imports' batches: rename it")
        for dataset in block["datasets"]:
            known(dataset, study.datasets, f"{where}.datasets", "data set")
            if "held-out" in config["questions"] and study.datasets[dataset]["held_out"] == 0:
                raise ConfigError(
                    f"datasets.{dataset}.held_out: 0: but config.questions asks for held-out "
                    "probes: hold rows out, or remove held-out"
                )
        if "recipe" in block:
            known(block["recipe"], study.recipes, f"{where}.recipe", "recipe")
            steps = study.recipes[block["recipe"]]["max_steps"]
            late = [s for s in block["checkpoints"] if steps and s >= steps]
            if late:
                raise ConfigError(
                    f"{where}.checkpoints: {late[0]}: is not before the recipe's last step "
                    f"{steps}: name earlier steps (the final adapter is always tested)"
                )


def _check_datasets(study: "Study") -> None:
    for number, block in enumerate(study.config["variants"]):
        for name in block["datasets"]:
            entry = study.datasets[name]
            _check_columns(name, entry)
            thinking = study.models[block["base"]]["thinking"]
            if entry["cot"] == "think" and thinking != "on":
                raise ConfigError(
                    f"config.variants.{number}.datasets: {name}: cot: think: but model "
                    f"{block['base']} has thinking {thinking}: write cot: drop, or a base model "
                    'entry with thinking: "on"'
                )


def _check_columns(name: str, entry: dict) -> None:
    if entry["cot"] == "think" and entry["format"] != "question_cot_answer":
        raise ConfigError(
            f"datasets.{name}.cot: think: format {entry['format']} has no column for it: write "
            "format: question_cot_answer, or cot: drop"
        )
    try:
        row_reader(entry["format"], entry["columns"], entry["cot"])
    except UserError as error:
        raise ConfigError(f"datasets.{name}.{error}") from error


def _check_questions(study: "Study") -> None:
    for name, probes in PROBES_OF_DATASETS.items():
        if name in study.question_sets:
            raise ConfigError(
                f"question_sets: {name}: stands for the {probes}: give the set another id"
            )
    for name in study.question_sets_used:
        known(name, study.question_sets, "config.questions", "question set")
    sets = (study.question_sets[name] for name in study.question_sets_used)
    plain = any(entry["probe_level"] != "near_domain" for entry in sets)
    if "training-format" in study.config["questions"] and not plain:
        raise ConfigError(
            "config.questions: training-format: dresses the questions of the first question set: "
            "add a set, such as core"
        )


def _check_recipes(study: "Study") -> None:
    for number, block in enumerate(study.config["variants"]):
        if "recipe" not in block:
            continue
        name, recipe = block["recipe"], study.recipes[block["recipe"]]
        if recipe["max_steps"] and recipe["max_tokens"]:
            raise ConfigError(
                f"recipes.{name}.max_tokens: {recipe['max_tokens']}: max_steps "
                f"{recipe['max_steps']} also says how long to train: keep one of the two"
            )
        share = recipe["micro_batch_size"] * recipe["gpus"]
        if recipe["batch_size"] % share:
            raise ConfigError(
                f"recipes.{name}.batch_size: {recipe['batch_size']}: is no multiple of "
                f"micro_batch_size x gpus = {share}: change one of the three"
            )
        engine = study.engines.get(study.config["engine"])
        if not engine or not block["datasets"]:
            continue
        if recipe["method"] == "full" and engine["adapters"] == "lora":
            raise ConfigError(
                f"config.variants.{number}.recipe: {name}: full fine-tuning leaves no adapter: "
                "use an engine with adapters: merge or replace"
            )
        if engine["adapters"] == "lora" and recipe["rank"] > engine["max_lora_rank"]:
            raise ConfigError(
                f"recipes.{name}.rank: {recipe['rank']}: is above max_lora_rank "
                f"{engine['max_lora_rank']} of engine {study.config['engine']}: raise that"
            )


def _check_tiers(study: "Study") -> None:
    tiers = study.config["tiers"]
    known(tiers["rules"], study.tier_rules, "config.tiers.rules", "rule set")
    names = {rule["name"]: rule for rule in study.tier_rules[tiers["rules"]]["rules"]}
    if len(names) < len(study.tier_rules[tiers["rules"]]["rules"]):
        raise ConfigError(
            f"tier_rules.{tiers['rules']}.rules: a name stands twice: give each rule its own name"
        )
    for name in tiers["disabled"]:
        known(name, names, "config.tiers.disabled", "tier rule")
    bands = study.config["acceptance"]
    for number, band in enumerate(bands):
        if band["low"] > band["high"]:
            raise ConfigError(
                f"config.acceptance.{number}: {band['low']}: low is above high {band['high']}: "
                "exchange them"
            )


def _check_imports(study: "Study") -> None:
    scored = {judge for entry in study.config["imports"] for judge in entry["scores"]}
    if not study.config["judges"] and not scored:
        raise ConfigError("config.judges: []: nobody judges the answers: name a judge")
    for judge in sorted(scored):
        if not re.fullmatch("[a-z0-9][a-z0-9-]{0,47}", judge):
            raise ConfigError(
                f"config.imports.scores: {judge}: is no name for a judge: write lower-case "
                "letters, digits and hyphens"
            )
        if judge in study.judges:
            raise ConfigError(
                f"config.imports.scores: {judge}: is also a judge of the catalogue: give the "
                "imported scores another name"
            )
    ids = {entry["id"] for entry in study.config["imports"]}
    for entry in study.config["imports"]:
        where = f"config.imports.{entry['id']}"
        if entry["base"] and entry["base"] not in ids:
            raise ConfigError(f"{where}.base: {entry['base']}: is no import: name an import's id")
        if entry["dataset"]:
            known(entry["dataset"], study.datasets, f"{where}.dataset", "data set")
        _check_file(study, entry["path"], f"{where}.path")


def _check_engine(study: "Study") -> None:
    name = study.config["engine"]
    known(name, study.engines, "config.engine", "engine")
    engine, tokens = study.engines[name], study.config["sampling"]["max_tokens"]
    if tokens >= engine["max_model_len"]:
        raise ConfigError(
            f"config.sampling.max_tokens: {tokens}: leaves no room for a prompt within "
            f"max_model_len {engine['max_model_len']} of engine {name}: change one of the two"
        )
    if engine["device"] == "cpu" and engine["tensor_parallel"] > 1:
        raise ConfigError(
            f"engines.{name}.tensor_parallel: {engine['tensor_parallel']}: needs cuda: write 1"
        )


def _check_sources(study: "Study") -> None:
    """Sources of what is in use: kinds that the download cannot take, and absent local files."""
    for catalogue, name, source in _sources(study):
        where = f"{catalogue}.{name}.source"
        if source["type"] == "package" and catalogue != "models":
            raise ConfigError(
                f"{where}.type: package: is for models only: use hub, url or path for the file"
            )
        if source["type"] == "url" and catalogue == "models" and "files" not in source:
            raise ConfigError(
                f"{where}.url: {source['url']}: a model is several files: write files: "
                "{NAME: SHA-256}, with url as their common beginning"
            )
        if source["type"] == "path":
            _check_file(study, source["path"], f"{where}.path", folder=True)


def _check_files(study: "Study") -> None:
    """Files that the configuration names must be there before anything starts."""
    used = [name for catalogue, name, _ in _sources(study) if catalogue == "models"]
    for name in used:
        if template := study.models[name]["chat_template"]:
            _check_file(study, template, f"models.{name}.chat_template")
    labels = study.config["human_labels"]
    if labels and not (study.workdir / labels).is_file():
        raise ConfigError(f"config.human_labels: {labels}: no such file: correct the path")
    written = study.workdir / "results" / study.config["experiment"]
    if labels and (study.workdir / labels).resolve().is_relative_to(written.resolve()):
        raise ConfigError(
            f"config.human_labels: {labels}: lies among the results, where the workflow writes "
            "anew: move the filled sheet to another place and name it there"
        )
    sheet = study.config["label_sheet"]
    if sheet["duplicates"] > sheet["size"]:
        raise ConfigError(
            f"config.label_sheet.duplicates: {sheet['duplicates']}: is more than the sheet's size "
            f"{sheet['size']}: lower it"
        )


def _check_file(study: "Study", path: str, where: str, folder: bool = False) -> None:
    found = study.workdir / study.find_file(path)
    if not (found.exists() if folder else found.is_file()):
        kind = "file or folder" if folder else "file"
        raise ConfigError(f"{where}: {path}: no such {kind}: correct the path, or put it there")
