"""Imports between the packages of scripts/em_tiers go one way, modules stay short, names differ."""

import ast
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
LONGEST = 400  # lines of a module

# Package -> the packages that it may import. The shared modules beside them (errors, files, logs,
# ...) are open to all. A new arrow is a decision about the design, and must close no circle.
ARROWS = {
    "api": set(),
    "archive": {"download"},
    "download": set(),
    "inference": {"api"},
    "judge": {"api", "download", "inference"},
    "prepare": {"download"},
    "report": {"archive", "statistics", "study", "tiers"},
    "statistics": {"tiers"},
    "study": {"api", "download", "inference", "judge", "prepare", "tiers", "train"},
    "tiers": set(),
    "train": {"download", "inference"},
}


def name_of(path: Path) -> str:
    """Dotted name of a module below scripts/; a package has the name of its folder."""
    parts = path.relative_to(SCRIPTS).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted((SCRIPTS / "em_tiers").rglob("*.py"))}
RULE_SCRIPTS = {path.stem for path in SCRIPTS.glob("*.py")}
SHARED = {name.split(".")[1] for name in MODULES if name.count(".") == 1} - set(ARROWS)


def imported_names(source: str) -> set[str]:
    """Names that a module imports, at its top, inside functions or for type checking only."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import, line {node.lineno}: write the full name"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


IMPORTS = {name: imported_names(path.read_text("utf-8")) for name, path in MODULES.items()}


def part_of(module: str) -> str:
    """Package or shared module that a dotted name below em_tiers is in."""
    return module.split(".")[1]


def library_imports() -> dict[str, set[str]]:
    """Module -> modules of the library that it imports, without the packages' own files."""
    return {
        name: {other for other in found & MODULES.keys() if other.count(".") and other != name}
        for name, found in IMPORTS.items()
    }


def arrows() -> dict[tuple[str, str], set[str]]:
    """(importing part, imported part) -> the modules that draw this arrow."""
    found: dict[tuple[str, str], set[str]] = {}
    for name, others in library_imports().items():
        for other in others:
            if name.count(".") and part_of(name) != part_of(other):
                found.setdefault((part_of(name), part_of(other)), set()).add(name)
    return found


def assert_acyclic(graph: dict[str, set[str]]) -> None:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"imports in a circle: {' <- '.join(error.args[1])}")


def test_every_package_is_in_the_table():
    folders = {path.parent.name for path in (SCRIPTS / "em_tiers").glob("*/__init__.py")}
    assert folders == set(ARROWS)


def test_no_modules_import_each_other():
    assert_acyclic(library_imports())


def test_no_packages_import_each_other():
    graph: dict[str, set[str]] = {}
    for importing, imported in arrows():
        graph.setdefault(importing, set()).add(imported)
    assert_acyclic(graph)
    assert_acyclic(ARROWS)


def test_a_package_imports_only_those_that_the_table_allows():
    new = {
        arrow: sorted(names)
        for arrow, names in arrows().items()
        if arrow[1] in ARROWS and arrow[1] not in ARROWS.get(arrow[0], set())
    }
    assert not new, f"imports that the table ARROWS does not allow: {new}"


def test_shared_modules_import_no_package():
    found = {arrow for arrow in arrows() if arrow[0] in SHARED and arrow[1] in ARROWS}
    assert not found


@pytest.mark.parametrize(
    ("importing", "imported"),
    [("inference", "judge"), ("judge", "tiers"), ("statistics", "report"), ("tiers", "statistics")],
)
def test_what_the_design_rules_out(importing, imported):
    assert imported not in ARROWS[importing]
    assert (importing, imported) not in arrows()


def test_the_library_imports_no_script_of_a_rule():
    found = {name: sorted(names & RULE_SCRIPTS) for name, names in IMPORTS.items()}
    assert not {name: scripts for name, scripts in found.items() if scripts}


def test_modules_are_short():
    lengths = {
        path.relative_to(SCRIPTS).as_posix(): len(path.read_text("utf-8").splitlines())
        for path in SCRIPTS.rglob("*.py")
    }
    assert not {name: lines for name, lines in lengths.items() if lines > LONGEST}


def test_a_circle_and_a_hidden_import_are_found():
    """The test itself: TYPE_CHECKING and functions hide nothing."""
    source = """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from em_tiers.study.study import Study
def late():
    import em_tiers.judge.local
"""
    assert imported_names(source) >= {"em_tiers.study.study", "em_tiers.judge.local"}
    with pytest.raises(pytest.fail.Exception, match="a <- b <- a"):
        assert_acyclic({"a": {"b"}, "b": {"a"}})


def test_test_files_have_different_names():
    """Pytest imports them without their folders: a whole run could not collect two of one name."""
    names = Counter(path.name for path in (SCRIPTS.parent / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []
