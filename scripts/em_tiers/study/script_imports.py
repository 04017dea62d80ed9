"""The modules that a script imports, which its rule declares as input.

Snakemake notices a changed script, but not changed modules that the script imports. Each rule
therefore lists them, so that an edited module reruns the jobs that depend on it. Journals keep
these jobs from repeating requests.
"""

import ast
from functools import cache
from pathlib import Path

SCRIPTS = Path(__file__).parents[2]


@cache
def imported_modules(script: Path) -> frozenset[Path]:
    """Files below scripts/ that `script` imports, directly or through others."""
    found: set[Path] = set()
    waiting = [script]
    while waiting:
        for path in _direct_imports(waiting.pop()):
            if path not in found:
                found.add(path)
                waiting.append(path)
    return frozenset(found)


@cache
def _direct_imports(path: Path) -> frozenset[Path]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    candidates = (SCRIPTS / f"{name.replace('.', '/')}.py" for name in names)
    return frozenset(candidate for candidate in candidates if candidate.exists())
