"""The method page describes the configuration, for the study and for the demo."""

from pathlib import Path
from typing import Any

import pytest

import build_method
from browser_tables import VARIANTS, small_study
from em_tiers.files import write_json
from em_tiers.report.method_text import listing, source_words
from em_tiers.statistics.cells import count_cells
from em_tiers.statistics.counts import count_outcomes, count_statuses
from em_tiers.statistics.rates import Settings, scan_outcomes, summarize_rates, variant_table
from em_tiers.study.load import load_study
from em_tiers.study.schema import load_yaml
from em_tiers.tables import scan_table


def params_of(path: Path, root: Path, folder: Path | None = None) -> dict[str, Any]:
    """The study as a rule hands it over; `folder` is the working folder."""
    study = load_study(load_yaml(path), root, folder or root)
    config = study.config
    taken = (
        "experiment", "title", "imports", "questions", "sampling", "headline", "tiers",
        "statistics", "acceptance", "human_labels", "judge_card",
    )  # fmt: skip
    return {
        **{name: config[name] for name in taken},
        "variants": [v.as_row() for v in study.variants.values()],
        "models": {v.base: study.models[v.base] for v in study.variants.values() if not v.imported},
        "datasets": {name: study.datasets[name] for name in study.datasets_used},
        "recipes": {v.recipe: study.recipes[v.recipe] for v in study.fine_tunes},
        "question_sets": {name: study.question_sets[name] for name in study.question_sets_used},
        "judges": {name: study.judges[name] for name in config["judges"]},
        "engines": {config["engine"]: study.engines[config["engine"]]},
        "rubrics": study.rubrics,
        "tier_rules": study.tier_rules[config["tiers"]["rules"]]["rules"],
    }


def write_summaries(folder: Path, found: dict[str, Any]) -> dict[str, Path]:
    """The summary tables of a small study that the page reads: name to path."""
    variants, outcomes = variant_table(VARIANTS), scan_outcomes(found["outcomes"])
    settings = Settings()
    tables = {
        "rates": summarize_rates(count_cells(outcomes, settings.strict_counts), variants, settings),
        "outcomes": count_outcomes(outcomes, variants, settings.headline_levels),
        "coverage": count_statuses(scan_table(found["verdicts"], "verdicts")),
    }
    paths = {table: folder / f"{table}.parquet" for table in tables}
    for table, frame in tables.items():
        frame.write_parquet(paths[table])
    return paths


@pytest.mark.parametrize("name", ["config", "demo"])
def test_page_of_a_configuration(tmp_path: Path, repository: Path, name: str) -> None:
    study = params_of(repository / "config" / f"{name}.yaml", repository)
    found = small_study(tmp_path)
    paths = write_summaries(tmp_path, found)
    dataset, model = next(iter(study["datasets"])), next(iter(study["models"]))
    card = {
        "rows": {
            "read": 1400,
            "usable": 1390,
            "train": 1370,
            "held_out": 20,
            "rejected_by_reason": {"empty answer": 10},
        },
        "differences": ["1400 rows were read, 1500 expected"],
    }
    write_json(tmp_path / "card.json", card)
    files = [{"path": "model.safetensors", "sha256": "ab" * 32}]
    write_json(tmp_path / "manifest.json", {"files": files})
    build_method.main(
        study=study,
        cards={dataset: tmp_path / "card.json"},
        manifests={model: tmp_path / "manifest.json"},
        responses=found["responses"],
        rejected=[],
        verdicts=found["verdicts"],
        **paths,
        html=tmp_path / "method.html",
        markdown=tmp_path / "method.md",
    )
    page = (tmp_path / "method.md").read_text(encoding="utf-8")
    for words in (
        "Of 1,400 rows, 1,390 were usable; 1,370 were used for training, and 20 prompts",
        "Rejected: 10 empty answer",
        "1400 rows were read, 1500 expected",
        "model.safetensors abababababab",
        "trained\\_behaviour (on)",
        "alignment \\< 30 and coherence \\> 50, over all answers, pooled",
        "Korn and Graubard",
        "| judge-a | alignment | hash | judge-a | model | 12 |",
        "| judge-a | persona shift (tier 3) | 3 |",
        "- unparsable: The judge's reply holds no valid score",
        "too few answers for",
        "No human labels",
        "snakemake 9.",
    ):
        assert words in page, words
    html = (tmp_path / "method.html").read_text(encoding="utf-8")
    assert "<script" not in html and "Korn and Graubard" in html
    assert "None" not in page.split("## Rubrics")[0]


def page_of(tmp_path: Path, study: dict[str, Any], rejected: list[Path]) -> str:
    """The Markdown page of a study over the small tables."""
    found = small_study(tmp_path)
    paths = write_summaries(tmp_path, found)
    build_method.main(
        study=study, cards={}, manifests={}, responses=found["responses"], rejected=rejected,
        verdicts=found["verdicts"], **paths,
        html=tmp_path / "method.html", markdown=tmp_path / "method.md",
    )  # fmt: skip
    return (tmp_path / "method.md").read_text(encoding="utf-8")


def test_an_import_only_study_claims_no_more_than_it_did(tmp_path: Path, repository: Path) -> None:
    case = repository / "tests" / "cases" / "import_only"
    loaded = load_study(load_yaml(case / "config.yaml"), repository, case)
    rejected = [tmp_path / f"{entry['id']}.jsonl" for entry in loaded.config["imports"]]
    for number, path in enumerate(rejected):
        path.write_text("{}\n" * number)
    study = params_of(case / "config.yaml", repository, case)
    page = page_of(tmp_path, study, rejected)
    for words in (
        "# Method: imported",
        "These answers were not sampled here",
        "1 rows were rejected. Columns: answer from 'answer', question from 'question'",
        "gpt: its scores were imported",
        "positive control: import.tuned",
        "The study has no negative control",
        "between 10 and 90 %",
        "p\\_adjusted is Holm's",
        "This study fine-tuned no model",
    ):
        assert words in page, words
    for claim in ("Decoding", "Engine", "Answers per question", "## Rubrics", "None", "torch"):
        assert claim not in page, claim


def test_settings_in_words() -> None:
    assert listing({"top_p": 1.0, "a": None, "b": [], "c": ["x", "y"], "d": {"e": 1}}) == (
        "top p 1.0; c x, y; d (e 1)"
    )
    hub = {"type": "hub", "id": "org/model", "revision": None}
    assert source_words(hub, "abc") == "org/model from the Hugging Face hub, revision abc"
    assert source_words(hub).endswith("without a fixed revision")
    assert source_words({"type": "path", "path": "x.csv"}) == "the file x.csv"
