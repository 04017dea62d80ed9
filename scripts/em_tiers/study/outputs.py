"""The tables, figures and pages of a study, and their categories in the report."""

from pathlib import Path

from em_tiers.study.inputs import text_datasets
from em_tiers.study.judge_cards import has_cards
from em_tiers.study.judges import judge_ids
from em_tiers.study.study import Study
from em_tiers.study.system_contrasts import system_contrasts

# Wildcards that are ids of the configuration and its catalogues.
IDS = ("base", "dataset", "recipe", "model", "question_set", "adapter")
# The report sorts its categories alphabetically, so each gets a number in this order.
CATEGORIES = (
    "Answer",
    "Tiers",
    "Probes",
    "Judges",
    "Sensitivity",
    "Training",
    "Cost",
    "Method",
)
FIGURES = {
    "rates": "Answer",
    "controls": "Answer",
    "metric_card": "Answer",
    "outcomes": "Tiers",
    "tiers": "Tiers",
    "probes": "Probes",
    "scores": "Sensitivity",
    "thresholds": "Sensitivity",
    "agreement": "Judges",
    "losses": "Training",
    "dose": "Training",
}
TABLES = {
    "headline": "Answer",
    "rates": "Answer",
    "overestimation": "Answer",
    "counterfactual": "Answer",
    "metric_card": "Answer",
    "differences": "Answer",
    "groups": "Answer",
    "set_rates": "Answer",
    "question_rates": "Probes",
    "controls": "Answer",
    "judge_card": "Judges",
    "judge_card_confusion": "Judges",
    "label_agreement": "Judges",
    "judge_quality": "Judges",
    "corrected": "Answer",
    "outcomes": "Tiers",
    "tier_waterfall": "Tiers",
    "tier_ablation": "Tiers",
    "tier_disagreement": "Tiers",
    "tier_bounds": "Tiers",
    "counterfactual_questions": "Tiers",
    "text_contrast": "Tiers",
    "system_effects": "Probes",
    "thresholds": "Sensitivity",
    "agreement": "Judges",
    "confusion": "Judges",
    "flips": "Judges",
    "calibration": "Judges",
    "coverage": "Judges",
    "cost": "Cost",
    "training": "Training",
    "dose": "Training",
}
NEEDS_TRAINING = {"losses", "dose", "training"}
NEEDS_ROWS = {"text_contrast"}
NEEDS_JUDGES = {"agreement", "confusion", "flips", "calibration"}
NEEDS_CARDS = {"judge_card", "judge_card_confusion"}
NEEDS_LABELS = {"label_agreement", "judge_quality", "corrected"}
NEEDS_CONTRASTS = {"system_effects"}


def caption_file(root: Path, name: str) -> str:
    """Caption of a table or figure; tables without a caption of their own share one."""
    path = root / "config" / "captions" / f"{name}.rst"
    return str(path if path.exists() else path.with_name("table.rst"))


def category(name: str) -> str:
    """A category as the report shows it, with its number in the reading order."""
    return f"{CATEGORIES.index(name) + 1} {name}"


def final_outputs(study: Study) -> list[str]:
    """Every table, figure and page of a study, relative to its results folder."""
    absent = set() if study.fine_tunes else NEEDS_TRAINING
    absent = absent | (set() if text_datasets(study) else NEEDS_ROWS)
    absent = absent | (set() if len(judge_ids(study)) > 1 else NEEDS_JUDGES)
    absent = absent | (set() if study.config["human_labels"] else NEEDS_LABELS)
    absent = absent | (set() if has_cards(study) else NEEDS_CARDS)
    absent = absent | (set() if system_contrasts(study) else NEEDS_CONTRASTS)
    return [
        *(f"tables/{name}.parquet" for name in sorted(set(TABLES) - absent)),
        *(f"figures/{name}.pdf" for name in sorted(set(FIGURES) - absent)),
        "overview.html",
        "method.md",
        "browser",
        # The cards are put beside weights, which partial results leave alone.
        *(["model_cards"] if study.fine_tunes and not study.config["partial"] else []),
    ]
