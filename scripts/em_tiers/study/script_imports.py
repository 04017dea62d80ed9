"""The modules that a script imports, which its rule declares as input.

Snakemake notices a changed script, but not changed modules that the script imports. Each rule
therefore lists them, so that an edited module reruns the jobs that depend on it. Journals keep
these jobs from repeating requests.
"""

import re
from functools import cache
from pathlib import Path

SCRIPTS = Path(__file__).parents[2]
# Each start of Snakemake reads some 240 files, that of a cluster's job too: 0.05 s with a pattern,
# 1.2 s with a parser. Prose that looks like an import names no file of scripts/.
_IMPORT = re.compile(r"^[ \t]*(?:from +([\w.]+) +)?import +(\([^)]*\)|[^\n]+)", re.MULTILINE)
_COMMENT = re.compile("#.*")


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
    for module, listed in _IMPORT.findall(path.read_text(encoding="utf-8")):
        listed = _COMMENT.sub("", listed).strip("()").split(",")
        imported = [words[0] for words in map(str.split, listed) if words]  # "name as other"
        names.update((module, *(f"{module}.{name}" for name in imported)) if module else imported)
    modules = _modules()
    return frozenset(modules[name] for name in names if name in modules)


@cache
def _modules() -> dict[str, Path]:
    """The files below scripts/ by the name under which they are imported."""
    return {
        ".".join(path.relative_to(SCRIPTS).with_suffix("").parts): path
        for path in SCRIPTS.rglob("*.py")
    }
