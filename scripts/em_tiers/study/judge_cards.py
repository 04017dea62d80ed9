"""How a study tests its judges: which cases there are, and the params of the rules about them.

A card needs a few hundred requests, in a judging batch of its own: `judge-card` tests the judges of
a study, on its data sets and base models. `judge-qualification` tests one judge before anything is
sampled, so it lacks the answers of base models; what it asks is journaled, and not asked again.
"""

from typing import Any

from em_tiers.study.asked import is_near
from em_tiers.study.entries import tier_rules
from em_tiers.study.jobs import carded_datasets
from em_tiers.study.judges import judge_name, judge_rubrics
from em_tiers.study.study import Study
from em_tiers.terms import JUDGE_CARD

WRITTEN, BASE = "written", "base"
QUALIFYING_CASES = 20  # of each kind, where a study leaves the test of its own judges out


def has_cards(study: Study) -> bool:
    """Whether the judges of a study are tested; partial results have no rules that make cases."""
    tested = study.config["judges"] and study.config["judge_card"]["cases"]
    return bool(tested) and not study.config["partial"]


def qualified_judge(study: Study) -> str | None:
    """The judge that `snakemake judge_card` tests: config.judge, or the headline judge."""
    return next(iter([*filter(None, [study.config["judge"]]), *study.config["judges"]]), None)


def case_count(study: Study) -> int:
    """Cases of each kind."""
    return study.config["judge_card"]["cases"] or QUALIFYING_CASES


def base_batches(study: Study) -> list[str]:
    """Sampling batches that hold answers of base models."""
    return [name for name, members in study.batches.items() if base_models(study) & ids(members)]


def ids(members: list) -> set[str]:
    """Ids of variants."""
    return {variant.variant for variant in members}


def base_models(study: Study) -> set[str]:
    """Variants that are base models, imported ones among them."""
    return {v.variant for v in study.variants.values() if v.role == "base"}


def case_kinds(study: Study, batch: str = JUDGE_CARD) -> list[str]:
    """The tables of cases of a batch: those that need no model, and answers of base models."""
    return [WRITTEN, *([BASE] if batch == JUDGE_CARD and base_batches(study) else [])]


def trained_datasets(study: Study) -> list[str]:
    """Data sets whose training answers become cases: those with rows."""
    return [name for name in carded_datasets(study) if study.has_rows(name)]


def training_files(study: Study, kind: str) -> list[str]:
    """Their rows, for the cases that need no model."""
    if kind == BASE:
        return []
    return [f"<experiment>/datasets/{name}/train.jsonl" for name in trained_datasets(study)]


def card_files(study: Study) -> list[str]:
    """Cards of all data sets."""
    return [f"<experiment>/datasets/{name}/card.json" for name in carded_datasets(study)]


def main_questions(study: Study, kind: str) -> list[str]:
    """The first question set outside the domains; none where answers are only imported."""
    if kind == BASE or all(v.imported for v in study.variants.values()):
        return []
    plain = (name for name in study.question_sets_used if not is_near(study, name))
    return [f"<experiment>/questions/{name}.parquet" for name in plain][:1]


def base_answers(study: Study, kind: str) -> list[str]:
    """Responses with answers of base models, for these cases."""
    batches = base_batches(study) if kind == BASE else []
    return [f"<experiment>/responses/{name}.parquet" for name in batches]


def case_settings(study: Study, kind: str) -> dict[str, Any]:
    """The params of prepare_judge_cases."""
    names = carded_datasets(study)
    return {
        "datasets": names,
        "trained": [] if kind == BASE else trained_datasets(study),
        "roles": {name: study.datasets[name]["role"] for name in sorted(names)},
        "base_models": sorted(base_models(study)) if kind == BASE else [],
        "levels": study.config["headline"]["levels"],
        "count": case_count(study),
    }


def card_settings(study: Study) -> dict[str, Any]:
    """How verdicts on cases are counted: as those of the study."""
    return {
        "rules": tier_rules(study),
        "definition": study.config["headline"]["definition"],
        "confidence": study.config["statistics"]["confidence"],
        "strict_counts": study.config["tiers"]["strict_counts"],
        "topics": {n: study.datasets[n]["topics"] for n in sorted(carded_datasets(study))},
    }


def tested_names(study: Study) -> list[str]:
    """The study's own judges as tables name them."""
    return [judge_name(study, judge) for judge in study.config["judges"]]


def name_of(study: Study, judge: str | None) -> str | None:
    """A judge as tables name it; None without a judge to test."""
    return judge and judge_name(study, judge)


def letters(study: Study) -> dict[str, list[str]]:
    """The tiers in the order of each judge's letters; none where the rubric has one order only."""
    found = {}
    for judge in study.asked_judges:
        rubrics = judge_rubrics(study, judge, JUDGE_CARD)
        known = "tier" in rubrics and len(rubrics) > len(judge_rubrics(study, judge))
        tiers = list(rubrics["tier"]["labels"].values()) if known else []
        found[judge_name(study, judge)] = tiers
    return found
