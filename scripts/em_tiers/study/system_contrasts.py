"""Which variants show what a system text changes: fine-tune and base model, with it and without."""

import re
from typing import Any

from em_tiers.study.study import Study
from em_tiers.study.variants import Variant


def system_contrasts(study: Study) -> list[dict[str, Any]]:
    """The contrasts of the table `system_effects`: of each fine-tune, then of pooled seeds.

    Each has a `name` and `name_without`, and the ids of the variants on each of the four sides of
    `em_tiers.statistics.system_effects`.
    """
    groups: dict[tuple[str, str], list[tuple[Variant, Variant, Variant]]] = {}
    for three in _found(study):
        tuned, plain, _ = three
        groups.setdefault((tuned.variant, plain.variant), []).append(three)
        if tuned.training_seed is not None:
            groups.setdefault((_without_seed(tuned), _without_seed(plain)), []).append(three)
    single = {key: of for key, of in groups.items() if key[0] in study.variants}
    several = {key: of for key, of in groups.items() if key not in single and len(of) > 1}
    return [
        {
            "name": name,
            "name_without": name_without,
            "with_text": [tuned.variant for tuned, _, _ in members],
            "without_text": [plain.variant for _, plain, _ in members],
            "base_with_text": [members[0][2].variant],
            "base_without_text": [members[0][0].base],
        }
        for (name, name_without), members in (single | several).items()
    ]


def without_contrast(study: Study) -> list[str]:
    """Fine-tunes with a system text that have no contrast, because a side of it is missing."""
    told = [v.variant for v in study.variants.values() if _is_tuned(v)]
    compared = {tuned.variant for tuned, _, _ in _found(study)}
    return [variant for variant in told if variant not in compared]


def _is_tuned(variant: Variant) -> bool:
    return variant.system is not None and not _is_base(variant)


def _is_base(variant: Variant) -> bool:
    brought = variant.parent or variant.adapter or variant.model or variant.imported
    return not brought


def _weights(variant: Variant) -> tuple:
    """What makes two variants the same model."""
    trained = (variant.parent, variant.checkpoint_step) if variant.recipe else None
    return (
        variant.base,
        trained,
        str(variant.adapter),
        variant.model,
    )


def _found(study: Study) -> list[tuple[Variant, Variant, Variant]]:
    """Each fine-tune with a system text, itself without, and its base model with the text."""
    variants = list(study.variants.values())
    plain = {_weights(v): v for v in variants if v.system is None and not v.imported}
    bases = {(v.base, v.system): v for v in variants if _is_base(v)}
    return [
        (v, plain[_weights(v)], bases[v.base, v.system])
        for v in variants
        if _is_tuned(v) and _weights(v) in plain and (v.base, v.system) in bases
    ]


def _without_seed(variant: Variant) -> str:
    """The id of a variant's group of training seeds, as in the table `groups`."""
    if variant.recipe is not None:
        return re.sub(r"\.s\d+(\.|$)", r"\1", variant.variant)
    return re.sub(r"-s\d+$", "", variant.variant)
