"""Files of the figures: fixed bytes, embedded fonts, and the data beside them."""

from pathlib import Path

import polars as pl

import figure_frames as frames
import plot_agreement
import plot_controls
import plot_dose
import plot_losses
import plot_outcomes
import plot_probes
import plot_rates
import plot_scores
import plot_thresholds
import plot_tiers
from figure_frames import CASES


def written(folder: Path) -> dict[str, bytes]:
    """All four files of the outcomes figure, through the script's main."""
    folder.mkdir()
    frames.outcome_counts(CASES["few"]).write_parquet(folder / "table.parquet")
    figures = {kind: folder / f"outcomes.{kind}" for kind in ("pdf", "svg", "png", "csv")}
    plot_outcomes.main(folder / "table.parquet", figures)
    return {kind: path.read_bytes() for kind, path in figures.items()}


def test_files_have_fixed_bytes_embedded_fonts_and_their_data(tmp_path):
    first, second = written(tmp_path / "a"), written(tmp_path / "b")
    assert first == second
    assert b"/Type3" not in first["pdf"]
    assert b"/FontFile2" in first["pdf"]  # the TrueType program itself is in the file
    assert b"CreationDate" not in first["pdf"]
    assert b"<text" not in first["svg"]  # glyphs are outlines: no font is needed to read it
    data = pl.read_csv(tmp_path / "a" / "outcomes.csv")
    assert data.equals(frames.shown_counts(CASES["few"]))


def test_every_main_writes_its_files(tmp_path):
    case = CASES["few"]
    tables = {
        "rates": frames.rates(case),
        "thresholds": frames.thresholds(case),
        "tiers": frames.waterfall(case),
        "training": frames.training(case),
        "agreement": frames.agreement(frames.JUDGES),
    }
    for name, table in tables.items():
        table.write_parquet(tmp_path / f"{name}.parquet")
    frames.outcomes(case).write_parquet(tmp_path / "outcomes.parquet")
    calls = [
        (plot_rates, "rates", {"headline_levels": ["out_of_domain"]}),
        (plot_probes, "rates", {"metrics": ["standard", "strict", "soft"]}),
        (plot_controls, "rates", {"headline_levels": ["out_of_domain", "trigger"]}),
        (plot_scores, "outcomes", frames.names(case) | {"definition": "D3"}),
        (plot_thresholds, "thresholds", frames.names(case) | {"definition": "D4"}),
        (plot_tiers, "tiers", {"tiers": {"topic_out_of_place": "domain_overfitting"}}),
        (plot_losses, "training", {}),
        (plot_agreement, "agreement", {}),
        (plot_dose, "rates", {"training": tmp_path / "training.parquet", "dose": "tokens"}),
    ]
    for module, table, more in calls:
        files = {kind: tmp_path / f"{module.__name__}.{kind}" for kind in ("png", "csv")}
        module.main(table=tmp_path / f"{table}.parquet", figures=files, **more)
        assert files["png"].read_bytes().startswith(b"\x89PNG")
        assert len(files["csv"].read_text().splitlines()) > 1
