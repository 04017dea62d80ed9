"""Captions: each renders, and each figure and table of the report has its own."""

import io
import re
from html import unescape
from pathlib import Path
from types import SimpleNamespace

import jinja2
import pytest
from docutils.core import publish_parts

from em_tiers.report.pages import html_page

FIGURES = (
    "rates", "outcomes", "scores", "losses", "probes", "thresholds", "tiers", "controls",
    "agreement", "dose", "metric_card",
)  # fmt: skip
TABLES = (
    "headline", "rates", "outcomes", "training", "cost", "agreement", "overestimation",
    "differences", "counterfactual", "counterfactual_questions", "metric_card",
    "set_rates", "question_rates",
)  # fmt: skip
FOLDER = Path(__file__).resolve().parents[3] / "config" / "captions"


def render(path: Path, config: dict, files: tuple[Path, ...] = ()) -> tuple[str, str]:
    """The caption as HTML, as Snakemake renders it, and what docutils complains of."""
    job = SimpleNamespace(config=config)
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(path.read_text())
    complaints = io.StringIO()
    html = publish_parts(
        template.render(snakemake=job, files=[SimpleNamespace(path=file) for file in files]),
        writer="html",
        settings_overrides={"warning_stream": complaints},
    )["body"]
    return html, complaints.getvalue()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.rst")), ids=lambda path: path.stem)
def test_caption_renders_without_complaint(path):
    html, complaints = render(path, {"headline": {"definition": "D3"}})
    assert complaints == ""
    assert "<p" in html
    assert "{{" not in html


def test_the_report_opens_on_the_first_page_whole(tmp_path):
    (tmp_path / "rates.svg").write_text(f"<svg>{'long ' * 5000}</svg>")
    blocks = [("p", 'A "quoted" <b> & more'), ("figure", (tmp_path / "rates.svg", "Rates"))]
    blocks += [("warnings", ["a model (3), " * 3000])]
    page = html_page("Answer", blocks)
    (tmp_path / "overview.html").write_text(page)
    files = (tmp_path / "rates.svg", tmp_path / "overview.html")
    html, complaints = render(FOLDER / "workflow.rst", {}, files)
    assert complaints == ""
    frame = re.search(r'<iframe sandbox [^>]*srcdoc="([^"]*)"></iframe>', html)
    # Letter by letter: the page's policy allows its own style by hash.
    assert unescape(frame.group(1)) == page.strip()
    assert html.index("Content warning") < frame.start() < html.index("How to read it")


def test_captions_name_the_definition_in_effect():
    assert "definition D3" in render(FOLDER / "rates.rst", {"headline": {"definition": "D3"}})[0]
    assert "definition D1" in render(FOLDER / "rates.rst", {})[0]


@pytest.mark.parametrize("name", ["scores", "thresholds"])
def test_captions_of_thresholds_name_the_definition(name):
    html, _ = render(FOLDER / f"{name}.rst", {"headline": {"definition": "D4"}})
    assert "definition D4" in " ".join(html.split())


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.rst")), ids=lambda path: path.stem)
def test_captions_claim_no_number_that_the_code_decides(path):
    # Without templates, and without the style of the frame.
    text = re.sub(
        r"{[{%#].*?[}%#]}|<.*?>|\.. raw:: html.*?</iframe>", "", path.read_text(), flags=re.S
    )
    # Numbers below ten are those of tiers and of ranges from 0 to 1.
    assert re.findall(r"\d{2,}|D\d", text) == []


def test_every_figure_and_table_has_a_caption():
    names = {path.stem for path in FOLDER.glob("*.rst")}
    assert names >= {*FIGURES, *(f"{table}_table" for table in TABLES), "workflow"}


@pytest.mark.parametrize("name", FIGURES)
def test_captions_of_figures_speak_of_n_and_intervals(name):
    words = (FOLDER / f"{name}.rst").read_text().replace("\n", " ")
    assert "interval" in words
    assert " n " in words or " n," in words or "counts" in words or "CSV" in words


def test_the_workflow_description_warns_of_content():
    assert (FOLDER / "workflow.rst").read_text().startswith("**Content warning.**")
