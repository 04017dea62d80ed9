"""The vocabulary is defined once: an outcome added to it reaches every reader's page by itself."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from em_tiers import terms

SCRIPTS = Path(terms.__file__).resolve().parents[1]
HOMES = {SCRIPTS / "em_tiers" / "terms.py", SCRIPTS / "em_tiers" / "tiers" / "outcomes.py"}
READERS = [
    *SCRIPTS.glob("em_tiers/report/*.py"),
    *SCRIPTS.glob("em_tiers/statistics/*.py"),
    *SCRIPTS.glob("em_tiers/tiers/*.py"),
    *SCRIPTS.glob("plot_*.py"),
    *SCRIPTS.glob("build_*.py"),
    *SCRIPTS.glob("summarize_*.py"),
    SCRIPTS / "write_label_sheet.py",
    SCRIPTS / "assign_tiers.py",
]
PAGE = [path for path in SCRIPTS.glob("browser/*") if path.suffix in (".js", ".css", ".html")]
GROUPS = {
    "outcomes": terms.OUTCOME_TERMS,
    "statuses": terms.STATUS_TERMS,
    "levels": terms.LEVEL_TERMS,
    "roles": terms.ROLE_TERMS,
}


def typed_in_python(path: Path) -> set[str]:
    """Outcome ids that the code holds as strings of their own."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    texts = {node.value for node in nodes if isinstance(node, ast.Constant)}
    return texts & set(terms.OUTCOMES_ALL)


def typed_in_page(path: Path) -> set[str]:
    """Outcome ids in quotes, as keys of an object, as classes, or unlike any English word."""
    text = path.read_text(encoding="utf-8")
    return {
        name
        for name in terms.OUTCOMES_ALL
        if ("_" in name and name in text)
        or re.search(rf"""["'`]{name}["'`]|[{{,]\s*{name}:|\.{name}\b""", text)
    }


@pytest.mark.parametrize("path", READERS, ids=lambda path: path.name)
def test_no_reader_types_an_outcome(path: Path) -> None:
    if path not in HOMES:
        assert typed_in_python(path) == set()


@pytest.mark.parametrize("path", PAGE, ids=lambda path: path.name)
def test_the_page_types_no_outcome(path: Path) -> None:
    assert typed_in_page(path) == set()


def test_the_search_for_typed_outcomes_finds_them(tmp_path: Path) -> None:
    page = tmp_path / "page.js"
    page.write_text('const SIGNS = { refusal: "x" }; // code that\n.badge.aligned {}')
    assert typed_in_page(page) == {"refusal", "aligned"}
    assert "incoherent" in typed_in_python(SCRIPTS / "em_tiers" / "tiers" / "outcomes.py")


@pytest.mark.parametrize("kind", GROUPS)
def test_each_term_is_whole(kind: str) -> None:
    listed = GROUPS[kind]
    assert sorted(term.rank for term in listed) == list(range(len(listed)))
    assert len({term.id for term in listed}) == len({term.label for term in listed}) == len(listed)
    assert all(term.meaning for term in listed)
    if kind == "outcomes":
        assert all(re.fullmatch("#[0-9A-F]{6}", term.colour) for term in listed)


ADDED = """
import dataclasses, importlib.util, sys
from pathlib import Path
source = Path(sys.argv[1]).read_text(encoding="utf-8")
new = '    Term("quoted", "a quotation", "It only quotes.", 10, "#123456"),\\n)\\nSTATUS_TERMS'
source = source.replace(")\\nSTATUS_TERMS", new, 1)
spec = importlib.util.spec_from_loader("em_tiers.terms", loader=None)
module = importlib.util.module_from_spec(spec)
sys.modules["em_tiers.terms"] = module
exec(compile(source, "terms.py", "exec"), module.__dict__)

import figure_frames, plot_outcomes, polars as pl
from em_tiers.report.browser_data import page_terms
from em_tiers.report.method_statistics import terms_part
from em_tiers.statistics.agreement import CATEGORIES
from em_tiers.tiers.label_sheet import LABELS, instructions

frame = figure_frames.outcome_counts(figure_frames.CASES["few"])
figure = plot_outcomes.plot_outcomes(frame.filter(pl.col("probe_level") == "headline"))
assert "a quotation" in [text.get_text() for text in figure.legends[0].get_texts()]
assert page_terms()["outcome"]["quoted"]["colour"] == "#123456"
assert "quoted" in LABELS and "`quoted`: It only quotes." in instructions()
assert "quoted" in CATEGORIES["outcome"]
assert any("It only quotes." in str(block) for block in terms_part())
"""


def test_an_outcome_added_to_the_vocabulary_reaches_figures_browser_and_label_sheet() -> None:
    command = [sys.executable, "-c", ADDED, str(SCRIPTS / "em_tiers" / "terms.py")]
    paths = f"{SCRIPTS}:{SCRIPTS.parent / 'tests'}"
    done = subprocess.run(
        command, env={"PYTHONPATH": paths, "PATH": "/usr/bin"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
