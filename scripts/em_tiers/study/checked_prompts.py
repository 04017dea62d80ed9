"""What `check_prompts` renders for the jobs of a stage, and the checks that these jobs wait for.

A check is STAGE/NAME: finetune/BASE.DATASET.RECIPE, sample/BATCH or judge/JUDGE. Its params and
inputs are those of its jobs, so that a check that runs again is never the only thing that changed
for them. Paths are relative to the experiment's results folder.
"""

from typing import Any

from em_tiers.study.asked import question_tables, question_tables_of_batch, sampling
from em_tiers.study.chat_checks import reasoning_tokens
from em_tiers.study.entries import engine, recipe
from em_tiers.study.jobs import carded_datasets
from em_tiers.study.judges import (
    judge_engine,
    judge_identity,
    judge_params,
    judge_rubrics,
    published_prompts,
)
from em_tiers.study.study import Study
from em_tiers.study.variants import Variant


def own_check(study: Study, stage: str, name: str) -> list[str]:
    """The table of a job's own check; none for partial results, which make no answers."""
    return [] if study.config["partial"] else [f"prompts/{stage}/{name}.csv"]


def check_of_base(base: str) -> str:
    """The check of sampling a base model, which its fine-tunes wait for.

    They wait for no check of a judge: its name would be among their inputs, and another judge would
    train again.
    """
    return f"prompts/sample/{base}.csv"


def model_of(study: Study, stage: str, name: str) -> str:
    """The model whose tokenizer and template are used."""
    if stage == "judge":
        return study.judges[name]["model"]
    return study.model_of(name) if stage == "sample" else name.partition(".")[0]


def training_files(study: Study, stage: str, name: str) -> list[str]:
    """Training rows of a fine-tune."""
    return [f"datasets/{t['dataset']}/train.jsonl" for t in trainings(study, stage, name)]


def trainings(study: Study, stage: str, name: str) -> list[dict[str, Any]]:
    """The training of a check: {dataset, name, recipe, checkpoints}; empty for other stages."""
    if stage != "finetune":
        return []
    tuned = [v for v in study.fine_tunes if _name(v) == name]
    settings = [recipe(study, v.recipe, v.parent) for v in tuned]
    for found in settings:
        found.pop("start_from", None)  # differs between seeds, and changes no row
    kept = sorted({step for s in settings for step in s.pop("keep_checkpoints")})
    first = tuned[0]
    return [
        {
            "dataset": first.dataset,
            "name": first.recipe,
            "recipe": settings[0],
            "checkpoints": kept,
        }
    ]


def questions(study: Study, stage: str, name: str) -> list[str]:
    """Question tables that the variants of a batch are asked."""
    return question_tables_of_batch(study, name) if stage == "sample" else []


def judged_questions(study: Study, stage: str) -> list[str]:
    """Question tables whose answers a judge scores; without those of imports."""
    own = (v for v in study.variants.values() if not v.imported)
    tables = (table for v in own for table in question_tables(study, v))
    return list(dict.fromkeys(tables)) if stage == "judge" else []


def judges(study: Study, stage: str, name: str) -> list[dict[str, Any]]:
    """The judge of a check: {name, entry, identity, rubrics, room}; empty for other stages."""
    if stage != "judge":
        return []
    return [
        {
            "name": name,
            "entry": judge_params(study, name),
            "identity": judge_identity(study, name),
            "rubrics": judge_rubrics(study, name),
            "room": judge_engine(study, name)["max_model_len"],
        }
    ]


def published(study: Study, stage: str, name: str) -> list[str]:
    """Folders of question files that hold prompts of a judge."""
    return published_prompts(study, name) if stage == "judge" else []


def carded(study: Study, stage: str) -> list[str]:
    """Data sets whose cards are in the prompts of a judge."""
    return carded_datasets(study) if stage == "judge" else []


def card_files(study: Study, stage: str) -> list[str]:
    """Cards of these data sets."""
    return [f"datasets/{dataset}/card.json" for dataset in carded(study, stage)]


def sampled(study: Study, stage: str) -> dict[str, Any]:
    """What sampling reads: {room, new_tokens, sampling, engine}; empty for other stages."""
    if stage != "sample":
        return {}
    return {
        "room": engine(study)["max_model_len"],
        "new_tokens": study.config["sampling"]["max_tokens"] + reasoning_tokens(study),
        "sampling": sampling(study),
        "engine": engine(study),
    }


def _name(variant: Variant) -> str:
    return f"{variant.base}.{variant.dataset}.{variant.recipe}"
