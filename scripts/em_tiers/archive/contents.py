"""What goes into an archive: an allow-list. A file that no line here names stays out.

In the archive: `code/` the workflow's own files, `study/` the user's configuration and catalogue
files, `results/` what was computed, `provenance/` the configuration as it took effect, versions,
git revision and Snakemake's records.

Left out on purpose: model weights (their manifests go in), and by default adapters and training
text, which may be restricted. In-domain probes are prompts held out of a data set: they go in,
because the tables rest on them.
"""

import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from em_tiers.archive.zip_file import Entry
from em_tiers.download.data_files import COMPRESSIONS, FORMATS
from em_tiers.placeholders import is_placeholder

RESULTS = (
    "questions/*.parquet",
    "prompts/*.jinja",
    "prompts/*/*.csv",
    "with_system/*/questions/*.parquet",
    "with_system/*/datasets/*/*.parquet",
    "datasets/*/card.json",
    "datasets/*/in_domain.parquet",
    "datasets/*/trigger.parquet",
    "datasets/*/trigger.json",
    "imports/*.parquet",
    "imports/*.rejected.jsonl",
    "imports/*.warnings.json",
    "training/*/metrics.json",
    "training/*/loss.csv",
    "adapters/*/manifest.json",
    "kept_adapters/*/manifest.json",
    "kept_adapters/*/*/manifest.json",
    "responses/*.parquet",
    "judge_cases/base.parquet",
    "judge_cases/*.truth.parquet",
    "judge_cards/*/*.parquet",
    "judge_cards/*/*.csv",
    "judge_cards/*/*.html",
    "verdicts/*/*.parquet",
    "verdicts/*/*.failed.json",
    "journals/**/*.jsonl",
    "outcomes/*.parquet",
    "text_marks.parquet",
    "labels/*.csv",
    "labels/*.md",
    "tables/*.parquet",
    "tables/*.csv",
    "tables/*.md",
    "tables/*.tex",
    "tables/*.html",
    "figures/*.pdf",
    "figures/*.svg",
    "figures/*.png",
    "figures/*.csv",
    "report.zip",
    "model_cards/*.md",
    "overview.html",
    "method.html",
    "method.md",
    "browser/*.html",
    "browser/*.css",
    "browser/*.js",
    "browser/data/*.js",
    "browser/data/*.json",
    "logs/**/*.log",
    "benchmarks/**/*.tsv",
)
ADAPTERS = tuple(
    f"{folder}/{pattern}"
    for folder in ("adapters/*", "kept_adapters/*", "kept_adapters/*/*")
    for pattern in ("*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "README.md")
)
TRAINING_TEXT = (
    "datasets/*/train.jsonl",
    "datasets/*/rejected.jsonl",
    "judge_cases/written.parquet",  # answers of training rows are among them
)
# The archive's own log changes while it is written.
NEVER = ("logs/archive",)

CODE = ("Snakefile", "rules", "scripts", "envs", "config", "slurm/config.yaml", "pyproject.toml",
        "LICENSE", "CITATION.cff", "README.md")  # fmt: skip
CODE_SUFFIXES = frozenset(
    {"", ".smk", ".py", ".yaml", ".yml", ".txt", ".in", ".rst", ".md", ".toml", ".cff",
     ".html", ".css", ".js", ".json", ".jsonl"}
)  # fmt: skip
PRIVATE = ("config/data/private/", "config/local", "slurm/site")
# Of models the manifest alone; of data sets and question sets the files that hold text.
RESOURCES = ("*/*/manifest.json",)
TEXT_SUFFIXES = frozenset({".yaml", ".yml", ".txt", ".md", *FORMATS, *COMPRESSIONS})


def is_result(inside: str) -> bool:
    """Whether a file of results/EXPERIMENT is one that an archive may hold."""
    return _matches(inside, (*RESULTS, *ADAPTERS, *TRAINING_TEXT))


def is_resource(inside: str) -> bool:
    """Whether a file of results/resources is one that an archive may hold."""
    kind = inside.partition("/")[0]
    text = kind in ("datasets", "questions") and Path(inside).suffix in TEXT_SUFFIXES
    return text or _matches(inside, RESOURCES)


def _matches(inside: str, patterns: Iterable[str]) -> bool:
    return any(_pattern(pattern).fullmatch(inside) for pattern in patterns)


@cache
def _pattern(pattern: str) -> re.Pattern:
    """A glob of the lists above as an expression: `*` stays within a folder, `**/` does not."""
    escaped = re.escape(pattern).replace(r"\*\*/", "(?:[^/]+/)*")
    return re.compile(escaped.replace(r"\*", "[^/]*"))


def result_entries(
    workdir: Path, experiment: str, adapters: bool = False, training_text: bool = False
) -> Iterator[Entry]:
    """Files of results/EXPERIMENT that the allow-list names."""
    folder = workdir / "results" / experiment
    patterns = [*RESULTS, *(ADAPTERS if adapters else ())]
    patterns += TRAINING_TEXT if training_text else ()
    for path in sorted({p for pattern in patterns for p in folder.glob(pattern)}):
        inside = path.relative_to(folder).as_posix()
        if path.is_symlink() or inside.startswith(NEVER) or is_placeholder(path):
            continue
        if path.is_file():
            yield Entry(f"results/{experiment}/{inside}", path)


def resource_entries(
    workdir: Path, records: dict[str, Any], training_text: bool = False
) -> Iterator[Entry]:
    """Manifests of the models and data sets in use, question files, and training text by choice."""
    for key in sorted(k for k in records if k.startswith("results/resources/")):
        folder = workdir / key
        whole = "/questions/" in key or (training_text and "/datasets/" in key)
        for path in sorted(folder.rglob("*") if whole else folder.glob("manifest.json")):
            if path.is_file() and not path.is_symlink() and not path.name.startswith("."):
                yield Entry(f"{key}/{path.relative_to(folder).as_posix()}", path)


def output_folders(workdir: Path, records: dict[str, Any], names: set[str]) -> dict[str, bool]:
    """Outputs that are folders, and whether all their files are in the archive."""
    found = {}
    for key in sorted(records):
        folder = workdir / key
        if folder.is_dir():
            files = [p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")]
            found[key] = all(p.relative_to(workdir).as_posix() in names for p in files)
    return found


def code_files(root: Path, tracked_only: bool = False) -> list[str]:
    """The workflow's files relative to `root`: those that git tracks or would track.

    Outside of a git checkout, files of known kinds in the known folders.
    """
    which = "-c" if tracked_only else "-co"
    try:
        listed = git(root, "ls-files", which, "--exclude-standard", "-z", "--", *CODE).split("\0")
    except (OSError, subprocess.CalledProcessError):
        places = [root / name for name in CODE]
        files = [p for place in places for p in ([place] if place.is_file() else place.rglob("*"))]
        listed = [p.relative_to(root).as_posix() for p in files]
    return sorted(
        name
        for name in set(listed)
        if name
        and (root / name).is_file()
        and not (root / name).is_symlink()
        and Path(name).suffix in CODE_SUFFIXES
        and "__pycache__" not in name
        and not name.startswith(PRIVATE)
    )


def git(root: Path, *arguments: str) -> str:
    """Output of a git command in `root`; nothing in the environment redirects it elsewhere."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    done = subprocess.run(
        ["git", "-C", str(root), *arguments],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    return done.stdout


def revision_of(root: Path) -> dict[str, Any]:
    """Git revision of the workflow, and which of its files differ from it."""
    try:
        revision = git(root, "rev-parse", "HEAD").strip()
        status = git(root, "status", "--porcelain", "-z", "--", *CODE)
    except (OSError, subprocess.CalledProcessError):
        return {"revision": None, "dirty": None, "changed": []}
    changed = sorted(line[3:] for line in status.split("\0") if len(line) > 3)
    return {"revision": revision, "dirty": bool(changed), "changed": changed}
