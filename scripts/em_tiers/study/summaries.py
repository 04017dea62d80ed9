"""The params of the rules that make summaries, figures and pages."""

from pathlib import Path
from typing import Any

from em_tiers.judge.rounds import failed_verdicts
from em_tiers.study.api_models import api_batches
from em_tiers.study.checks import unpinned
from em_tiers.study.entries import engine, tier_rules
from em_tiers.study.jobs import adapter_folder
from em_tiers.study.judges import judge_name, price_list
from em_tiers.study.partial import missing_in_words
from em_tiers.study.study import CATALOGUES, Study
from em_tiers.study.system_contrasts import without_contrast


def variant_rows(study: Study) -> list[dict[str, Any]]:
    """The columns of each variant in the tables, including its label and role."""
    return [variant.as_row() for variant in study.variants.values()]


def labels(study: Study) -> dict[str, str]:
    """Label of each variant."""
    return {v.variant: v.label for v in study.variants.values()}


def roles(study: Study) -> dict[str, str]:
    """Role of each variant."""
    return {v.variant: v.role for v in study.variants.values()}


def title(study: Study) -> str:
    """Title of the study; its id by default."""
    return study.config["title"] or study.config["experiment"]


def notice(study: Study) -> str:
    """What the first page says before anything else; empty when there is nothing to say."""
    return " ".join(filter(None, [study.config["notice"], missing_in_words(study)]))


def warnings(study: Study, results: str) -> list[str]:
    """What a run warns of when it starts: missing revisions, partial results, missing verdicts."""
    found = []
    if missing := unpinned(study):
        found.append(
            f"A run will stop because source.revision is null for {', '.join(missing)}: run make "
            "pin, or write the full commits there."
        )
    if alone := without_contrast(study):
        found.append(
            f"{', '.join(alone)}: no row of the table system_effects, which compares a system text "
            "on a fine-tune with the same text on its base model; add variants with each of them "
            "(docs/interventions.md)."
        )
    if missing := missing_in_words(study):
        found.append(f"{missing} The results are written to {results}.")
    then = (
        "accepted (accept_api_errors: true)"
        if study.config["accept_api_errors"]
        else "asked again by the next run"
    )
    for table, count in failed_verdicts(study.workdir / results / "verdicts"):
        found.append(
            f"{Path(table).relative_to(study.workdir)}: {count:,} verdicts are missing, because "
            f"their requests failed on the way; they are {then}."
        )
    return found


def carded_fine_tunes(study: Study, experiment: str) -> list[dict[str, Any]]:
    """Columns of each variant with weights that were trained here, its fine-tune and its folder."""
    tuned = {v.variant for v in study.fine_tunes}
    return [
        v.as_row() | {"parent": v.parent, "weights": f"{experiment}/{adapter_folder(v)}"}
        for v in study.variants.values()
        if v.parent in tuned and v.system is None
    ]


def bases(study: Study) -> list[str]:
    """Base models and whole fine-tunes, in the order of the configuration, without imports."""
    own = [v for v in study.variants.values() if not v.imported]
    return list(dict.fromkeys([*(v.base for v in own), *(v.loaded for v in own)]))


def prices(study: Study) -> dict[str, Any]:
    """Prices of each configured judge for both modes, by its name in the tables."""
    configured = study.config["judges"]
    return {judge_name(study, judge): price_list(study, judge) for judge in configured}


def model_prices(study: Study) -> dict[str, Any]:
    """Prices of the model of each variant that is behind an API."""
    members = (v for batch in api_batches(study) for v in study.batches[batch])
    return {v.variant: study.models[v.loaded]["prices"] for v in members}


def rate_settings(study: Study) -> dict[str, Any]:
    """Settings for counting rates and for their intervals."""
    statistics = study.config["statistics"]
    return {
        "confidence": statistics["confidence"],
        "headline": study.config["headline"]["definition"],
        "headline_levels": study.config["headline"]["levels"],
        "seed": statistics["seed"],
        "strict_counts": study.config["tiers"]["strict_counts"],
    }


def method_study(study: Study) -> dict[str, Any]:
    """Everything that the method page describes."""
    keys = (
        "experiment",
        "title",
        "imports",
        "questions",
        "sampling",
        "headline",
        "tiers",
        "statistics",
        "acceptance",
        "human_labels",
        "judge_card",
    )
    return {key: study.config[key] for key in keys} | {
        "variants": variant_rows(study),
        "adapters": {name: v.adapter for name, v in study.variants.items() if v.adapter},
        "models": {name: study.models[name] for name in bases(study)},
        "datasets": {name: study.datasets[name] for name in study.datasets_used},
        "recipes": {v.recipe: study.recipes[v.recipe] for v in study.fine_tunes},
        "question_sets": {name: study.question_sets[name] for name in study.question_sets_used},
        "judges": {name: study.judges[name] for name in study.config["judges"]},
        "engines": {study.config["engine"]: engine(study)},
        "rubrics": study.rubrics,
        "tier_rules": tier_rules(study),
    }


def catalogues(study: Study) -> dict[str, dict]:
    """Entries of all catalogues, with defaults."""
    return {name: getattr(study, name) for name in CATALOGUES}
