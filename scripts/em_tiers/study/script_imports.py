"""Which modules a script uses, so that a rule can declare them as input.

Snakemake sees a change of a rule's script, not of the modules that it imports. Each rule therefore
lists them: an edited helper reruns what depends on it (journals keep that from repeating any
request).
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
