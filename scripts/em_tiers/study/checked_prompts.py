"""What `check_prompts` renders with a model: its training rows, its questions, what it judges.

Paths are relative to the experiment's results folder.
"""

from typing import Any

from em_tiers.study.asked import question_tables
from em_tiers.study.chat_checks import reasoning_tokens
from em_tiers.study.entries import recipe
from em_tiers.study.jobs import carded_datasets
from em_tiers.study.judges import (
    judge_engine,
    judge_identity,
    judge_params,
    judge_rubrics,
    judges_with,
)
from em_tiers.study.study import Study

# The part of a recipe that the check reads: another learning rate checks nothing again.
_READ = (
    "method",
    "target_modules",
    "max_length",
    "max_truncated_share",
    "batch_size",
    "micro_batch_size",
    "gpus",
    "epochs",
    "max_steps",
    "max_tokens",
    "warmup_steps",
)


def check_file(study: Study, model: str) -> list[str]:
    """The table that jobs of a model wait for; none for partial results, which make no answers."""
    return [] if study.config["partial"] else [f"prompts/{model}.csv"]


def datasets(study: Study, model: str) -> list[str]:
    """Data sets that a model is trained on."""
    tuned = (v.dataset for v in study.fine_tunes if v.base == model)
    return list(dict.fromkeys(dataset for dataset in tuned if dataset))


def training_files(study: Study, model: str) -> list[str]:
    """Training rows of these data sets."""
    return [f"datasets/{dataset}/train.jsonl" for dataset in datasets(study, model)]


def trainings(study: Study, model: str) -> list[dict[str, Any]]:
    """Each data set and recipe of a model: {dataset, name, recipe, checkpoints}."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for variant in study.fine_tunes:
        if variant.base == model:
            settings = recipe(study, variant.recipe, variant.parent)
            checkpoints = found.get((variant.dataset, variant.recipe), {}).get("checkpoints", [])
            found[variant.dataset, variant.recipe] = {
                "dataset": variant.dataset,
                "name": variant.recipe,
                "recipe": {key: settings[key] for key in _READ},
                "checkpoints": sorted({*checkpoints, *settings["keep_checkpoints"]}),
            }
    return list(found.values())


def questions(study: Study, model: str) -> list[str]:
    """Question tables that a model's variants are asked."""
    return _tables(study, [model])


def judged_questions(study: Study, model: str) -> list[str]:
    """Question tables whose answers a model judges; without those of imports."""
    return _tables(study, [v.base for v in study.variants.values()]) if judges(study, model) else []


def judges(study: Study, model: str) -> list[dict[str, Any]]:
    """The judges that are this model: {name, entry, identity, rubrics, room}."""
    return [
        {
            "name": name,
            "entry": judge_params(study, name),
            "identity": judge_identity(study, name),
            "rubrics": judge_rubrics(study, name),
            "room": judge_engine(study, name)["max_model_len"],
        }
        for name in judges_with(study, "vllm")
        if study.judges[name]["model"] == model
    ]


def carded(study: Study, model: str) -> list[str]:
    """Data sets whose cards are in the prompts of a model that judges."""
    return carded_datasets(study) if judges(study, model) else []


def card_files(study: Study, model: str) -> list[str]:
    """Cards of these data sets."""
    return [f"datasets/{dataset}/card.json" for dataset in carded(study, model)]


def new_tokens(study: Study) -> int:
    """Tokens that an answer may have, thoughts included."""
    return study.config["sampling"]["max_tokens"] + reasoning_tokens(study)


def _tables(study: Study, bases: list[str]) -> list[str]:
    own = (v for v in study.variants.values() if not v.imported and v.base in bases)
    return list(dict.fromkeys(table for v in own for table in question_tables(study, v)))
