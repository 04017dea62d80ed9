"""Catalogue entries as the params of rules: only values that can change a result, in sorted order.

Snakemake compares a rule's params as text, so neither labels nor the order of keys may affect them.
"""

from pathlib import Path
from typing import Any

from em_tiers.download.adapter_files import PATTERNS as ADAPTER_FILES
from em_tiers.study.params import without_cosmetics
from em_tiers.study.sequences import start_settings
from em_tiers.study.study import Study
from em_tiers.study.variants import dataset_of


def source(study: Study, catalogue: str, name: str) -> dict[str, Any]:
    """Where an entry's files come from, with local paths resolved."""
    found = without_cosmetics(getattr(study, catalogue)[name]["source"])
    if found["type"] == "path":
        found["path"] = study.find_file(found["path"])
    return found


def local_files(study: Study, catalogue: str, name: str) -> list[str]:
    """Files that a download from a path copies, so that an edited file is copied again.

    A folder is listed file by file, because rewriting a file does not change the folder's own
    modification time.
    """
    found = source(study, catalogue, name)
    if found["type"] != "path":
        return []
    folder = Path(found["path"])
    files = [f for f in folder.rglob("[!.]*") if f.is_file() and ".git" not in f.parts]
    return sorted(map(str, files)) or [found["path"]]


def adapter_source(study: Study, variant: str) -> dict[str, Any]:
    """Where an adapter that a user brings comes from, with a local path resolved."""
    found = dict(sorted(study.variants[variant].adapter.items()))
    if found["type"] == "path":
        found["path"] = study.find_file(found["path"])
    return found


def adapter_files(study: Study, variant: str) -> list[str]:
    """Files that the download of an adapter from a folder copies."""
    found = adapter_source(study, variant)
    if found["type"] != "path":
        return []
    paths = (str(Path(found["path"]) / name) for name in ADAPTER_FILES)
    return sorted(path for path in paths if (study.workdir / path).is_file())


def base_names(study: Study, model: str) -> list[str]:
    """Names under which an adapter may know its base model."""
    found = study.models[model]["source"]
    last = {"hub": "id", "path": "path", "url": "url", "package": "file"}[found["type"]]
    return list(dict.fromkeys([model, str(found[last]).rstrip("/")]))


def adapter_limits(study: Study) -> dict[str, Any]:
    """What the study's engine can serve of adapters."""
    settings = study.engines[study.config["engine"]]
    return {"adapters": settings["adapters"], "max_lora_rank": settings["max_lora_rank"]}


def model_identity(study: Study, model: str) -> dict[str, Any]:
    """The source and the revision of the weights, which tell two models apart."""
    found = source(study, "models", model)
    return {key: found[key] for key in sorted(found) if key not in ("type", "licence")}


def own_template(study: Study, model: str) -> list[str]:
    """The Jinja file that the catalogue names for a model, if any."""
    template = study.models[model]["chat_template"]
    return [study.find_file(template)] if template else []


def chat_template(study: Study, model: str) -> list[str]:
    """The Jinja file that replaces a model's own chat template, if any.

    Where the system text goes before the question, prepare_template writes it.
    """
    if study.models[model]["system_text"] == "before_question":
        return [f"{study.folder}/prompts/{model}.jinja"]
    return own_template(study, model)


def engine(study: Study, name: str | None = None) -> dict[str, Any]:
    """Settings of an engine; of the study's engine if no name is given."""
    return without_cosmetics(study.engines[name or study.config["engine"]])


def recipe(study: Study, name: str, parent: str) -> dict[str, Any]:
    """Settings of a recipe, a fine-tune's steps that are variants too, and where it starts from."""
    family = (v for v in study.variants.values() if v.parent == parent)
    steps = sorted(v.checkpoint_step for v in family if v.checkpoint_step)
    settings = without_cosmetics(study.recipes[name])
    for key in ("threads", "report_to"):  # belong to the rule, and do not change what is learned
        del settings[key]
    settings.pop("start_from", None)
    return settings | {"keep_checkpoints": steps} | start_settings(study, parent)


def dataset_settings(study: Study, name: str) -> dict[str, Any]:
    """The part of a data set's entry that preparation reads."""
    entry = without_cosmetics(study.datasets[name])
    left_out = {"source", "role", *(key for key in ("mixture", "system") if entry[key] is None)}
    return {key: entry[key] for key in sorted(entry) if key not in left_out}


def model_pattern(study: Study, packaged: bool) -> str:
    """Wildcard constraint of the rule for models of packages, or for the others."""
    sources = {name: entry["source"] for name, entry in study.models.items() if entry["source"]}
    names = [name for name, s in sources.items() if (s["type"] == "package") == packaged]
    return "|".join(names) or "(?!)"


def dataset_pattern(study: Study, kind: str | None) -> str:
    """Wildcard constraint of the rules for data sets of one kind.

    Args:
        kind: "source" for those with files of their own, "mixture", or None for those that are
            described only.
    """
    kinds = {name: _kind_of(entry) for name, entry in study.datasets.items()}
    return "|".join(name for name, found in kinds.items() if found == kind) or "(?!)"


def _kind_of(entry: dict[str, Any]) -> str | None:
    return next((key for key in ("mixture", "source") if entry[key] is not None), None)


def question_defaults(study: Study, name: str) -> dict[str, Any]:
    """Probe level and topics of questions whose file does not give them."""
    entry = study.question_sets[name]
    return {
        "probe_level": entry["probe_level"],
        "topics": dict(sorted(entry["topics"].items())),
    }


def import_settings(study: Study, name: str) -> dict[str, Any]:
    """An import's settings; questions with ids of the catalogue have the topics given there."""
    entry = study.imports[name]
    known = {
        question: tags
        for question_set in sorted(study.question_sets)
        for question, tags in study.question_sets[question_set]["topics"].items()
    }
    topics = known | entry["topics"]
    # A column may be called label, which is cosmetic elsewhere.
    return without_cosmetics(entry) | {
        "topics": dict(sorted(topics.items())),
        "where": entry["where"],
        "dataset": dataset_of(entry),
    }


def tier_rules(study: Study) -> list[dict[str, Any]]:
    """The tier rules in order, each with whether it is enabled."""
    tiers = study.config["tiers"]
    return [
        rule | {"enabled": rule["enabled"] and rule["name"] not in tiers["disabled"]}
        for rule in _sorted_rules(study, tiers["rules"])
    ]


def other_rules(study: Study) -> dict[str, list[dict[str, Any]]]:
    """The other rule sets of the catalogue, for comparison."""
    used = study.config["tiers"]["rules"]
    return {name: _sorted_rules(study, name) for name in sorted(study.tier_rules) if name != used}


def _sorted_rules(study: Study, name: str) -> list[dict[str, Any]]:
    return [dict(sorted(rule.items())) for rule in study.tier_rules[name]["rules"]]


def topics(study: Study) -> dict[str, list[str]]:
    """Topic tags of each data set in use."""
    return {name: study.datasets[name]["topics"] for name in sorted(study.datasets_used)}
