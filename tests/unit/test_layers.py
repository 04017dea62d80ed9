"""Which packages may import which: no library imports a script, and stages go one way."""

import ast
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
RULE_SCRIPTS = {path.stem for path in SCRIPTS.glob("*.py")}
# The inference engine knows no judge, a judge no tier rules, statistics no pages.
FORBIDDEN = {
    "download": {"prepare", "train", "inference", "judge", "tiers", "statistics", "report"},
    "inference": {"judge", "tiers", "statistics", "report", "archive"},
    "judge": {"tiers", "statistics", "report", "archive"},
    "tiers": {"statistics", "report", "archive"},
    "statistics": {"report", "archive"},
}


def imported(path: Path) -> set[str]:
    """Dotted names of all modules that a file imports, inside of functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def test_no_library_imports_a_script_of_a_rule():
    for path in SCRIPTS.glob("em_tiers/**/*.py"):
        assert not imported(path) & RULE_SCRIPTS, path


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_go_one_way(package):
    modules = list(SCRIPTS.glob(f"em_tiers/{package}/*.py"))
    assert modules
    for path in modules:
        parts = {name.split(".")[1] for name in imported(path) if name.startswith("em_tiers.")}
        assert not parts & FORBIDDEN[package], path
