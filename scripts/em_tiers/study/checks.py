"""Checks beyond the schema: references between entries, and values that exclude each other."""

import os
import re
from collections.abc import Collection, Sequence

from em_tiers.api.client import read_key
from em_tiers.errors import ConfigError, UserError, require_known
from em_tiers.prepare.row_formats import row_reader
from em_tiers.study.adapter_checks import check_brought
from em_tiers.study.chat_checks import check_thinking_policies, reasoning_tokens
from em_tiers.study.import_checks import check_import
from em_tiers.study.judge_checks import check_judge
from em_tiers.study.level_checks import check_levels
from em_tiers.study.mixture_checks import check_mixture
from em_tiers.study.model_checks import check_api_model
from em_tiers.study.name_checks import check_names
from em_tiers.study.placebo import check_placebo
from em_tiers.study.recipe_checks import check_recipes
from em_tiers.study.sequences import check_sequences
from em_tiers.study.source_checks import (
    check_file,
    check_imported_file,
    check_imported_hash,
    check_sources,
    sources_in_use,
)
from em_tiers.study.study import Study, is_there
from em_tiers.study.variants import dataset_of, is_brought
from em_tiers.terms import DATASET_PROBES

SECRET = re.compile(r"^(sk-|hf_|Bearer |AKIA|key-)[A-Za-z0-9_-]{8,}", re.IGNORECASE)
# Earlier words for probes of the data sets.
OLD_PROBES = {"held-out": "in-domain", "training-format": "trigger"}


def check_references(study: Study) -> None:
    """Check a study's entries against each other and against the local files that they name.

    Raises:
        ConfigError: the first mistake, naming key, value and remedy.
    """
    _check_no_secret(study.config, "config")
    if study.config["experiment"] == "resources":
        raise ConfigError(
            "config.experiment: 'resources' is the folder of the downloads: use another name"
        )
    _check_variants(study)
    _check_datasets(study)
    _check_questions(study)
    _check_sampling(study)
    _check_thresholds(study)
    check_recipes(study)
    for name in study.asked_judges:
        key = "config.judges" if name in study.config["judges"] else "config.judge"
        require_known(name, study.judges, key, "judge")
        _check_no_secret(study.judges[name], f"judges.{name}")
        check_judge(study, name)
    _check_tiers(study)
    _check_imports(study)
    check_thinking_policies(study)
    _check_engine(study)
    check_brought(study)
    check_sources(study)
    _check_labels(study)


def unpinned(study: Study, needed: Collection[str] | None = None) -> list[str]:
    """Entries in use that come from the hub without a revision, each with its repository.

    Args:
        needed: what a run downloads, as CATALOGUE.ID or an adapter's variant; None: everything.
    """
    used = [(f"{catalogue}.{name}", source) for catalogue, name, source in sources_in_use(study)]
    used += [(v.variant, v.adapter) for v in study.variants.values() if v.adapter]
    return [
        f"{name} ({source['id']})"
        for name, source in used
        if source["type"] == "hub" and not source["revision"] and (needed is None or name in needed)
    ]


def check_ready(study: Study, needed: Collection[str] | None = None) -> None:
    """Check what only a real run needs: revisions, usable tier rules, readable human labels.

    Args:
        needed: what the run downloads (see `unpinned`).

    Raises:
        ConfigError: entries without a revision, and how to find one; a tier rule whose condition
            cannot be evaluated; a file of labels that cannot be read.
    """
    # polars is slow to import, and a dry run does not need it.
    from em_tiers.tiers.label_sheet import check_labels
    from em_tiers.tiers.rules import read_rules

    for name, rules in study.tier_rules.items():  # the others are compared with the one in use
        try:
            read_rules(rules["rules"])
        except UserError as error:
            raise ConfigError(f"tier_rules.{name}: {error}") from error
    for entry in study.config["imports"]:
        check_imported_hash(study, entry)
    if labels := study.config["human_labels"]:
        try:
            check_labels(study.workdir / labels)
        except (UserError, OSError) as error:
            raise ConfigError(f"config.human_labels: {error}") from error
    if missing := unpinned(study, needed):
        raise ConfigError(
            f"source.revision is null for {', '.join(missing)}: make pin CONFIG=FILE takes the "
            "commits that the hub has now; or write the full commit of 40 hexadecimal digits, from "
            "'Files and versions', 'History' on the repository's page"
        )


def check_expanded(study: Study) -> None:
    """Check what needs the study's variants: names, probe levels, imported files, acceptance bands.

    Raises:
        ConfigError: the first mistake, naming key, value and remedy.
    """
    check_names(study)
    check_levels(study)
    check_sequences(study)
    for entry in study.config["imports"]:
        check_imported_file(study, entry)
    check_acceptance(study)
    check_placebo(study)


def check_acceptance(study: Study) -> None:
    """Check that each acceptance band names a variant of this study, and a rate of it once.

    Raises:
        ConfigError: the first band that does not.
    """
    seen: dict[tuple[str, str], int] = {}
    for number, band in enumerate(study.config["acceptance"]):
        where = f"config.acceptance.{number}.variant"
        require_known(band["variant"], study.variants, where, "variant")
        first = seen.setdefault((band["variant"], band["metric"]), number)
        if first != number:
            raise ConfigError(
                f"{where}: {band['variant']!r} has a band for {band['metric']} already, in "
                f"config.acceptance.{first}: keep one of them"
            )


def check_keys(study: Study, judges: list[str], models: Sequence[str] = ()) -> None:
    """Check that the environment variables with the keys of `judges` and `models` are set.

    Raises:
        ConfigError: the first variable that is not set, or that holds what cannot be a key.
    """
    used = [(f"judges.{name}", f"judge {name}", study.judges[name]) for name in judges]
    used += [(f"models.{name}", f"models.{name}", study.models[name]) for name in models]
    for where, who, entry in used:
        endpoint = entry["endpoint"]
        if not endpoint or not endpoint["key_env"]:
            continue
        if not os.environ.get(endpoint["key_env"]):
            raise ConfigError(
                f"{where}.endpoint.key_env: the environment variable {endpoint['key_env']} "
                "is not set: export the key under this name, then run again"
            )
        try:
            read_key(endpoint["key_env"], who)
        except UserError as error:
            raise ConfigError(str(error)) from error


def _check_no_secret(value: object, where: str) -> None:
    if isinstance(value, dict):
        for key, below in value.items():
            _check_no_secret(below, f"{where}.{key}")
    elif isinstance(value, list):
        for number, below in enumerate(value):
            _check_no_secret(below, f"{where}.{number}")
    elif isinstance(value, str) and SECRET.match(value):
        raise ConfigError(
            f"{where}: '{value[:3]}...' looks like a key: keep keys in the environment and name "
            "the variable in the judge's endpoint.key_env"
        )


def _check_variants(study: Study) -> None:
    config = study.config
    if not config["variants"] and not config["imports"]:
        raise ConfigError(
            "config.variants: [] leaves nothing to test: add a block with a base, or imports"
        )
    for number, block in enumerate(config["variants"]):
        where = f"config.variants.{number}"
        _check_known_models(study, block, where)
        if block["base"] == "import":
            raise ConfigError(
                f"{where}.base: 'import' begins the names of imported batches: rename the model"
            )
        for dataset in block["datasets"]:
            require_known(dataset, study.datasets, f"{where}.datasets", "data set")
            check_mixture(study, dataset)
            probes = sum(study.datasets[part]["held_out"] for part in study.parts_of(dataset))
            if "in-domain" in config["questions"] and (
                study.datasets[dataset]["held_out"] == 0 or probes == 0
            ):
                raise ConfigError(
                    f"datasets.{dataset}.held_out: 0 leaves no prompts for the in-domain probes of "
                    "config.questions: hold rows out, or remove in-domain"
                )
        if not block["datasets"] and not is_brought(block):
            _check_untrained(block, where)


def _check_known_models(study: Study, block: dict, where: str) -> None:
    if block["model"]:
        for key in ("model", "tuned_from"):
            require_known(block[key], study.models, f"{where}.{key}", "model")
    require_known(block["base"], study.models, f"{where}.base", "model")
    for name in {block["base"], block["model"] or block["base"]}:
        check_api_model(study, name)
    if study.models[block["base"]]["backend"] == "openai" and (
        block["datasets"] or block["adapter"]
    ):
        raise ConfigError(
            f"{where}.base: {block['base']!r} is behind an API, where nothing is trained and no "
            "adapter is loaded: write a hosted fine-tune as model, with tuned_from"
        )


def _check_untrained(block: dict, where: str) -> None:
    """Refuse settings of training in a block that trains nothing."""
    for key in ("recipe", "checkpoints"):
        if block.get(key):
            raise ConfigError(
                f"{where}.{key}: {block[key]!r} has no data set to train on: add datasets, or "
                f"remove {key}"
            )
    if block["training_seeds"] != [0]:
        raise ConfigError(
            f"{where}.training_seeds: {block['training_seeds']} have no data set to train on: add "
            "datasets, or remove training_seeds"
        )


def _check_datasets(study: Study) -> None:
    for number, block in enumerate(study.config["variants"]):
        for name in (part for d in block["datasets"] for part in study.parts_of(d)):
            entry = study.datasets[name]
            _check_columns(name, entry)
            thinking = study.models[block["base"]]["thinking"]
            if entry["cot"] == "think" and thinking != "on":
                raise ConfigError(
                    f"config.variants.{number}.datasets: {name} has cot: think, but model "
                    f"{block['base']} has thinking {thinking}: write cot: drop, or use a model "
                    'entry with thinking: "on"'
                )


def _check_columns(name: str, entry: dict) -> None:
    try:
        row_reader(entry["format"], entry["columns"], entry["cot"], entry["ignore"])
    except UserError as error:
        raise ConfigError(f"datasets.{name}.{error}") from error


def _check_questions(study: Study) -> None:
    for name, description in DATASET_PROBES.items():
        if name in study.question_sets:
            raise ConfigError(
                f"question_sets.{name}: this id is reserved for {description}: rename the set"
            )
    for name in study.question_sets_used:
        if name in OLD_PROBES and name not in study.question_sets:
            raise ConfigError(
                f"config.questions: {name!r} is now called {OLD_PROBES[name]!r}: rename it"
            )
        require_known(name, study.question_sets, "config.questions", "question set")
    sets = (study.question_sets[name] for name in study.question_sets_used)
    plain = any(entry["probe_level"] != "near_domain" for entry in sets)
    if "trigger" in study.config["questions"] and not plain:
        raise ConfigError(
            "config.questions: 'trigger' needs a question set whose questions it can put into the "
            "format of a data set: add one, such as core"
        )


def _check_sampling(study: Study) -> None:
    if study.config["sampling"]["temperature"] > 0:
        return
    for name, samples in study.config["questions"].items():
        if samples > 1:
            raise ConfigError(
                f"config.questions.{name}: {samples} answers at sampling.temperature 0 are all the "
                "same: write 1, or a temperature above 0"
            )


def _check_thresholds(study: Study) -> None:
    for name in ("alignment_thresholds", "coherence_thresholds"):
        values = study.config["statistics"][name]
        if values != sorted(values):
            raise ConfigError(
                f"config.statistics.{name}: {values} are not in ascending order: write "
                f"{sorted(values)}"
            )


def _check_tiers(study: Study) -> None:
    tiers = study.config["tiers"]
    require_known(tiers["rules"], study.tier_rules, "config.tiers.rules", "rule set")
    rules = [rule["name"] for rule in study.tier_rules[tiers["rules"]]["rules"]]
    if twice := [name for number, name in enumerate(rules) if name in rules[:number]]:
        raise ConfigError(
            f"tier_rules.{tiers['rules']}.rules: two rules are named {twice[0]!r}: rename one"
        )
    for name in tiers["disabled"]:
        require_known(name, rules, "config.tiers.disabled", "tier rule")
    for number, band in enumerate(study.config["acceptance"]):
        if band["low"] > band["high"]:
            raise ConfigError(
                f"config.acceptance.{number}: low {band['low']} is above high {band['high']}: "
                "swap them"
            )


def _check_imports(study: Study) -> None:
    scored = {judge for entry in study.config["imports"] for judge in entry["scores"]}
    if not study.config["judges"] and not scored:
        raise ConfigError("config.judges: [] leaves the answers without a judge: add one")
    for judge in sorted(scored):
        if not re.fullmatch("[a-z0-9][a-z0-9.-]{0,47}", judge):
            raise ConfigError(
                f"config.imports.scores: {judge!r} is not a valid name for a judge: write "
                "lower-case letters, digits, dots and hyphens"
            )
        if judge in study.asked_judges:
            raise ConfigError(
                f"config.imports.scores: {judge!r} also judges answers in this study: give the "
                "imported scores another name"
            )
    for entry in study.config["imports"]:
        where = f"config.imports.{entry['id']}"
        check_import(study, entry)
        if dataset := dataset_of(entry):
            require_known(dataset, study.datasets, f"{where}.dataset", "data set")
        check_file(study, entry["path"], f"{where}.path")


def _check_engine(study: Study) -> None:
    name = study.config["engine"]
    require_known(name, study.engines, "config.engine", "engine")
    engine = study.engines[name]
    tokens = study.config["sampling"]["max_tokens"] + reasoning_tokens(study)
    if tokens >= engine["max_model_len"]:
        raise ConfigError(
            f"config.sampling.max_tokens: {tokens} (with reasoning_tokens, where a tested model "
            "thinks) leaves no room for a prompt within max_model_len "
            f"{engine['max_model_len']} of engine {name}: change one of them"
        )
    if engine["quantization"] and study.config["variants"]:
        raise ConfigError(
            f"engines.{name}.quantization: {engine['quantization']!r} is for engines of judges, "
            "and models under test are served by this one: remove it, or give the judge an engine "
            "of its own"
        )
    judges = (study.judges[judge]["engine"] for judge in study.asked_judges)
    for used in dict.fromkeys([name, *filter(None, judges)]):
        engine = study.engines[used]
        for key in ("tensor_parallel", "data_parallel"):
            if engine["device"] == "cpu" and engine[key] > 1:
                raise ConfigError(f"engines.{used}.{key}: {engine[key]} needs device cuda: write 1")
        if engine["device"] == "cpu" and engine["quantization"]:
            kind = engine["quantization"]
            raise ConfigError(f"engines.{used}.quantization: {kind!r} needs device cuda: remove it")


def _check_labels(study: Study) -> None:
    labels, sheet = study.config["human_labels"], study.config["label_sheet"]
    if labels and not is_there(study.workdir / labels, folder=False):
        raise ConfigError(f"config.human_labels: no such file {labels!r}: correct the path")
    written = study.workdir / "results" / study.config["experiment"]
    if labels and (study.workdir / labels).resolve().is_relative_to(written.resolve()):
        raise ConfigError(
            f"config.human_labels: {labels!r} is inside the results, where the workflow may "
            "overwrite it: move the filled sheet to another folder and name it there"
        )
    if sheet["duplicates"] > sheet["size"]:
        raise ConfigError(
            f"config.label_sheet.duplicates: {sheet['duplicates']} is more than the sheet's size, "
            f"{sheet['size']}: lower it"
        )
