"""Build the method page: the method of a study in words, for a paper's appendix."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from em_tiers.files import read_json, write_text
from em_tiers.logs import run_script
from em_tiers.prepare.imported_answers import IMPORTED
from em_tiers.report import method_statistics as statistics
from em_tiers.report import method_text as text
from em_tiers.report.pages import Block, html_page, markdown_page
from em_tiers.tables import scan_table
from em_tiers.versions import versions_of

PROGRAMS = ("snakemake", "polars", "numpy", "scipy", "matplotlib")


def main(
    study: Mapping[str, Any],
    cards: Mapping[str, Path],
    manifests: Mapping[str, Path],
    responses: Sequence[Path],
    rejected: Sequence[Path],
    verdicts: Sequence[Path],
    rates: Path,
    outcomes: Path,
    coverage: Path,
    html: Path,
    markdown: Path,
    warnings: Sequence[Path] = (),
) -> None:
    """Write the page as HTML and as Markdown.

    Args:
        study: the configuration as it took effect: experiment, title, variants (rows), adapters
            (sources of those trained elsewhere, by variant), imports,
            questions {set: n}, sampling, headline, tiers, tier_rules (in order, with `enabled`),
            statistics, acceptance, human_labels; and the catalogue entries in use by id: models,
            datasets, recipes, question_sets, rubrics, judges, engines.
        cards, manifests: data set -> card.json; model -> manifest.json of the download.
        responses, verdicts: tables, for the fingerprints of what made them.
        rejected, warnings: the rows that each import set aside, and the texts that it warned with,
            in the order of the imports.
        rates, outcomes, coverage: the summary tables of these names.
    """
    read_rates = pl.read_parquet(rates)
    ids = [entry["id"] for entry in study["imports"]]
    warned = {name: read_json(path) for name, path in zip(ids, warnings, strict=False)}
    blocks: list[Block] = [
        *text.variants_part(study),
        *text.adapters_part(study),
        *text.imports_part(study, imported_rows(study["imports"], responses, rejected), warned),
        *text.models_part(study, {name: read_json(path) for name, path in manifests.items()}),
        *text.data_part(study, {name: read_json(path) for name, path in cards.items()}),
        *text.training_part(study),
        *text.sampling_part(study),
        *text.judges_part(study, judge_fingerprints(verdicts)),
        *statistics.definitions_part(study),
        *statistics.tiers_part(study),
        *statistics.intervals_part(study, read_rates),
        *statistics.controls_part(study),
        *statistics.terms_part(),
        *statistics.exclusions_part(pl.read_parquet(outcomes), pl.read_parquet(coverage)),
        *text.versions_part(versions_of(PROGRAMS), engine_fingerprints(responses)),
        *text.rubrics_part(study),
    ]
    title = f"Method: {study['title'] or study['experiment']}"
    write_text(html, html_page(title, blocks))
    write_text(markdown, markdown_page(title, blocks))


def judge_fingerprints(verdicts: Sequence[Path]) -> pl.DataFrame:
    """The origin of the verdicts: one row per judge, rubric, fingerprint and served model."""
    keys = ["judge", "rubric", "rubric_hash", "judge_fingerprint", "served_model"]
    return (
        scan_table(list(verdicts), "verdicts")
        .group_by(keys)
        .agg(count=pl.len().cast(pl.Int64))
        .sort(keys)
        .with_columns(pl.col("rubric_hash", "judge_fingerprint").str.slice(0, 16))
        .collect(engine="streaming")
    )


def engine_fingerprints(responses: Sequence[Path]) -> list[str]:
    """Fingerprints of the engines that sampled, cut to 16 characters."""
    scanned = scan_table(list(responses), "responses").select("engine_fingerprint")
    found = scanned.unique().collect(engine="streaming").to_series()
    return sorted({name[:16] for name in found} - {IMPORTED})


def imported_rows(
    imports: Sequence[Mapping[str, Any]], responses: Sequence[Path], rejected: Sequence[Path]
) -> dict[str, tuple[int, int]]:
    """Answers taken and rows set aside, by the import's id."""
    counts = scan_table(list(responses), "responses").group_by("variant").len()
    taken = dict(counts.collect(engine="streaming").iter_rows())
    return {
        entry["id"]: (taken.get(f"import.{entry['id']}", 0), sum(1 for _ in path.open("rb")))
        for entry, path in zip(imports, rejected, strict=True)
    }


def manifests_in(folders: list[str]) -> list[Path]:
    """The manifest of each model folder; Snakemake knows the folders only."""
    return [Path(folder) / "manifest.json" for folder in folders]


if "snakemake" in globals():
    job = globals()["snakemake"]
    params = job.params
    run_script(
        main,
        job.log[0],
        study=params.study,
        cards=dict(zip(params.datasets, job.input.get("cards", []), strict=True)),
        manifests=dict(zip(params.models, manifests_in(job.input.get("folders", [])), strict=True)),
        responses=list(job.input.responses),
        rejected=[Path(path) for path in job.input.get("rejected", [])],
        warnings=[Path(path) for path in job.input.get("warnings", [])],
        verdicts=list(job.input.verdicts),
        rates=Path(job.input.rates),
        outcomes=Path(job.input.outcomes),
        coverage=Path(job.input.coverage),
        html=Path(job.output.html),
        markdown=Path(job.output.markdown),
    )
