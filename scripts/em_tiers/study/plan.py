"""Files, journals and identities of a study, for `plan_requests` and `show_status`."""

from typing import Any

from em_tiers.study.api_models import api_base, api_model, is_api
from em_tiers.study.asked import question_tables, sampling, set_of_table
from em_tiers.study.expected_prompts import expected_prompts
from em_tiers.study.jobs import carded_datasets
from em_tiers.study.judge_cards import case_count, case_kinds, has_cards
from em_tiers.study.judges import (
    QUALIFICATION,
    full_identity,
    judge_journal,
    judge_params,
    judge_prices,
    judge_rubrics,
)
from em_tiers.study.study import Study
from em_tiers.terms import JUDGE_CARD


def planned_variants(study: Study, results: str) -> list[dict[str, Any]]:
    """Files of each variant, relative to the working folder; `results` is the study's folder."""
    samples = sampling(study)["samples"]
    judged = {name: place for place, names in study.judging_batches.items() for name in names}
    tables = {t: None for v in study.variants.values() for t in question_tables(study, v)}
    expected = {table: expected_prompts(study, table) for table in tables}
    return [
        {
            "variant": variant.variant,
            "dataset": variant.dataset,
            "parent": None if variant.adapter else variant.parent,
            "adapter": f"{results}/adapters/{variant.parent}" if variant.parent else None,
            "checkpoints": f"{results}/checkpoints/{variant.parent}" if variant.parent else None,
            "journal": None if variant.imported else f"{results}/journals/sample/{variant.loaded}",
            "verdicts": {
                judge: f"{results}/verdicts/{judge}/{judged[batch]}.parquet"
                for judge in study.config["judges"]
            },
            "responses": f"{results}/responses/{batch}.parquet",
            "card": f"{results}/datasets/{variant.dataset}/card.json" if variant.dataset else None,
            "questions": {
                f"{results}/{table}": samples[set_of_table(table)]
                for table in question_tables(study, variant)
            },
            "expected": {
                f"{results}/{table}": expected[table] and tuple(expected[table])
                for table in question_tables(study, variant)
            },
            "api": _api(study, batch, results),
        }
        for batch, members in study.batches.items()
        for variant in members
    ]


def _api(study: Study, batch: str, results: str) -> dict[str, Any] | None:
    """The model of a batch behind an API and its base model, if that is behind one too."""
    variant = study.batches[batch][0]
    if variant.imported or not is_api(study, variant.loaded):
        return None
    return {
        "model": api_model(study, variant.loaded, results),
        "base": api_base(study, batch, results),
    }


def planned_judges(study: Study, results: str) -> dict[str, dict[str, Any]]:
    """Identity, journal and prices of each configured judge, to count its missing requests."""
    return {judge: _planned(study, judge, results) for judge in study.config["judges"]}


def planned_cards(study: Study, results: str) -> dict[str, dict[str, Any]]:
    """The same for the cards of the study's judges, and of one that is to be qualified."""
    tested = study.config["judges"] if has_cards(study) else []
    batches = dict.fromkeys(filter(None, [study.config["judge"]]), QUALIFICATION)
    batches |= dict.fromkeys(tested, JUDGE_CARD)
    return {
        judge: _planned(study, judge, results, batch)
        | {
            "responses": [
                f"{results}/judge_cases/{kind}.parquet" for kind in case_kinds(study, batch)
            ],
            "cards": {
                name: f"{results}/datasets/{name}/card.json" for name in carded_datasets(study)
            },
            "count": case_count(study),
        }
        for judge, batch in batches.items()
    }


def _planned(study: Study, judge: str, results: str, batch: str | None = None) -> dict[str, Any]:
    return {
        "judge": judge_params(study, judge, batch),
        "identity": full_identity(study, judge),
        "rubrics": judge_rubrics(study, judge, batch),
        "prices": judge_prices(study, judge),
        "journal": judge_journal(study, judge, results),
    }
