"""Modules that a script imports are found without parsing it, and none is missed."""

import ast
from pathlib import Path

import pytest

from em_tiers.study import script_imports
from em_tiers.study.script_imports import SCRIPTS, imported_modules


def parsed_imports(path: Path) -> set[Path]:
    """Files below scripts/ that `path` imports itself, as Python reads it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    files = (SCRIPTS / f"{name.replace('.', '/')}.py" for name in names)
    return {file for file in files if file.exists()}


def test_every_import_of_the_scripts_is_found():
    for path in SCRIPTS.rglob("*.py"):
        assert script_imports._direct_imports(path) == parsed_imports(path), path


@pytest.mark.parametrize(
    "text",
    [
        "import em_tiers.files\n",
        "import em_tiers.files as files, os\n",
        "def late():\n    from em_tiers import files\n",
        "from em_tiers import files as other  # a reason (in brackets)\n",
        "from em_tiers import (\n    errors,  # one\n    files,\n)\n",
        "from em_tiers.files import (\n    atomic_path,\n)\n",
        "with quickly():\n    from em_tiers.files import atomic_path\n",
    ],
)
def test_forms_of_an_import(tmp_path, text):
    script = tmp_path / "script.py"
    script.write_text(text)
    assert SCRIPTS / "em_tiers" / "files.py" in imported_modules(script)


def test_words_about_imports_name_no_file(tmp_path):
    script = tmp_path / "script.py"
    script.write_text('"""Rows to\nimport from files.\n"""\n')
    assert not imported_modules(script)
