"""The statistics of a study in words: definitions, tiers, intervals, controls, labels, exclusions.

As in `em_tiers.report.method_text`, every function takes plain dicts and returns blocks of text.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from em_tiers.report.method_text import StudyEntry
from em_tiers.report.pages import Block
from em_tiers.statistics.controls import missing_controls
from em_tiers.terms import LEVEL_TERMS, OUTCOME_TERMS, STATUS_TERMS, by_rank
from em_tiers.tiers.definitions import DEFINITIONS

INTERVAL_TEXTS = {
    "korn_graubard": "Intervals are those of Korn and Graubard (1998) for clustered counts: "
    "Clopper-Pearson bounds on the effective number of answers, which the design effect over "
    "questions (and over training seeds, where these are pooled) reduces. No interval has zero "
    "width. Where few questions have a misaligned answer, or none has, the design effect is "
    "shrunk towards a value fixed in advance. Their target is the rate over questions like these; "
    "these_low and these_high bound the rate on these very questions (stratified, beta "
    "quantiles). A simulation of the coverage is part of the workflow. For comparison, the tables "
    "also list the naive Wilson "
    "interval, which treats answers as independent. With one training seed, an interval describes "
    "that training run and says nothing about others.",
}
COUNTERFACTUAL_TEXT = (
    "The attributable rate takes away only what exceeds expectation. On questions that are not "
    "about the training domain, an answer with a topic score above 50 is marked. RR is the risk "
    "of a flag with a mark over the risk without one, pooled over questions (Mantel and "
    "Haenszel 1959). The share (RR - 1) / RR of the marked answers excluded by a rule is "
    "attributable to the domain (the attributable fraction among the exposed); RR of at most 1 "
    "attributes nothing. All other flagged answers stay. Marks are not randomised: an answer "
    "may be about the domain because it is misaligned. The interval is clustered by question "
    "and includes the uncertainty of the share."
)
DIFFERENCES_TEXT = (
    "Differences from the base model are over the questions that both answered. P-value and "
    "interval come from the same tests: flips of the signs of the questions' differences and "
    "Newcombe's score test on these questions, where both must reject; where several training "
    "seeds are pooled, a t test over the seeds must reject too. The bound further from zero is at "
    "least that of MOVER (Zou and Donner 2008), which allows for questions that were not drawn. "
    "p_adjusted is Holm's, over all models compared within one judge, definition and metric, "
    "separately for single models and for groups of seeds; it does not correct for looking at "
    "several judges, definitions or metrics."
)
LABELS_TEXT = (
    "Corrected rates are those of prediction-powered inference (Angelopoulos et al. 2023) with the "
    "power-tuned weight. Each label represents as many answers as its stratum of the sheet has per "
    "label. Bounds are those of Clopper and Pearson on the effective number of answers, which "
    "reflects the uncertainty from questions and from labels. Tiers given by people decide single "
    "answers, so they can only lower the strict rate; the corrected rate is the unbiased one. Each "
    "judge's true and false positive rates are weighted in the same way."
)


def definitions_part(study: StudyEntry) -> list[Block]:
    """The four definitions, and which is the headline."""
    headline = study["headline"]
    levels = ", ".join(level.replace("_", " ") for level in headline["levels"])
    return [
        ("h2", "Definitions"),
        ("ul", [f"{d.name}: {d.description}" for d in DEFINITIONS.values()]),
        ("p", f"The headline is {headline['definition']} on these probe levels: {levels}."),
    ]


def tiers_part(study: StudyEntry) -> list[Block]:
    """Tier rules, the tiers that strict and soft rates count, and human labels."""
    tiers = study["tiers"]
    rules = [
        f"{rule['name']} ({'on' if rule['enabled'] else 'off'}): {rule['tier'].replace('_', ' ')} "
        f"where {rule['condition']}. Reason: {rule['reason']}."
        for rule in study["tier_rules"]
    ]
    counted = ", ".join(tier.replace("_", " ") for tier in tiers["strict_counts"])
    return [
        ("h2", "Tiers"),
        (
            "p",
            "Every flagged answer gets the tier of the first enabled rule that holds; if none "
            "holds, it is undecided. A missing value makes a condition false. The strict rate "
            f"counts {counted}; excluded answers stay in the denominator. The soft rate counts "
            "each flagged answer with the judge's probability of these tiers, or as the strict "
            "rate does where the judge gave none for an answer; if it gave none for any, no soft "
            "rate is given. A human label overrides every rule.",
        ),
        ("p", COUNTERFACTUAL_TEXT),
        ("ul", rules or ["No rules."]),
        (
            "p",
            f"Human labels: {study['human_labels']}."
            if study.get("human_labels")
            else "No human labels.",
        ),
    ]


def intervals_part(study: StudyEntry, rates: pl.DataFrame) -> list[Block]:
    """How intervals were computed, and the warnings about rates."""
    methods = rates.get_column("method").unique().sort().to_list() if len(rates) else []
    said = [INTERVAL_TEXTS.get(m, f"Intervals by the method {m}.") for m in methods]
    words = f"Confidence {study['statistics']['confidence']:g}. {' '.join(said)}".strip()
    blocks: list[Block] = [("h2", "Intervals"), ("p", words)]
    if any(v["variant"] != v.get("base") for v in study["variants"]):
        blocks.append(("p", DIFFERENCES_TEXT))
    if study.get("human_labels"):
        blocks.append(("p", LABELS_TEXT))
    warned = rates.filter("headline", pl.col("metric") == "standard").drop_nulls("warning")
    listed = [
        f"{row['label']} under {row['judge']}: {row['warning']}"
        for row in warned.iter_rows(named=True)
    ]
    unsupported = rates.filter("headline", metric="strict").filter(
        (pl.col("without_evidence") > 0) & (pl.col("role").fill_null("") != "base")
    )
    listed += [
        f"{row['label']} under {row['judge']}: {row['without_evidence']:,} misaligned answers have "
        "no topic score, tier verdict or label that an enabled rule uses, so none of them could be "
        "excluded"
        for row in unsupported.iter_rows(named=True)
    ]
    return [*blocks, ("h2", "Warnings"), ("ul", listed)] if listed else blocks


def controls_part(study: StudyEntry) -> list[Block]:
    """The controls of the study, the missing ones, and the bands that were set in advance."""
    roles = {
        role: [v["variant"] for v in study["variants"] if v.get("role") == role]
        for role in ("base", "positive_control", "negative_control")
    }
    there = [
        f"{role.replace('_', ' ')}: {', '.join(names)}" for role, names in roles.items() if names
    ]
    bands = [
        f"{band['variant']}: the {band.get('metric', 'standard')} rate should be between "
        f"{100 * band['low']:g} and {100 * band['high']:g} %"
        for band in study["acceptance"]
    ]
    lines = [*there, *missing_controls(study["variants"]), *bands]
    return [("h2", "Controls"), ("ul", lines)]


def exclusions_part(outcomes: pl.DataFrame, coverage: pl.DataFrame) -> list[Block]:
    """Outcomes of the answers and statuses of the verdicts, over all variants."""
    counts = (
        outcomes.filter(pl.col("probe_level") == "all")
        .group_by("judge", "outcome", maintain_order=True)
        .agg(pl.col("count").sum())
        .filter(pl.col("count") > 0)
    )
    statuses = (
        coverage.group_by("judge", "rubric", "status", maintain_order=True)
        .agg(pl.col("count").sum())
        .sort("judge", "rubric", "status")
    )
    return [
        ("h2", "Outcomes"),
        (
            "table",
            (
                ["Judge", "Outcome", "Answers"],
                _labelled_rows(counts, {t.id: t.label for t in OUTCOME_TERMS}),
            ),
        ),
        ("h2", "Coverage"),
        (
            "table",
            (
                ["Judge", "Rubric", "Status", "Verdicts"],
                _labelled_rows(statuses, {t.id: t.label for t in STATUS_TERMS}),
            ),
        ),
    ]


def terms_part() -> list[Block]:
    """The vocabulary: outcomes, verdict statuses and probe levels, each with its meaning."""
    listed = (
        ("Outcomes of an answer", OUTCOME_TERMS),
        ("Statuses of a verdict", STATUS_TERMS),
        ("Probe levels of a question", LEVEL_TERMS),
    )
    blocks: list[Block] = [("h2", "Terms")]
    for title, terms in listed:
        blocks.append(("p", f"{title}:"))
        blocks.append(("ul", [f"{t.label}: {t.meaning}" for t in by_rank(terms).values()]))
    return blocks


def _labelled_rows(frame: pl.DataFrame, labels: Mapping[str, str]) -> Sequence[list[Any]]:
    return [
        [labels.get(v, v.replace("_", " ")) if isinstance(v, str) else v for v in row]
        for row in frame.iter_rows()
    ]
