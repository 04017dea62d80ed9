"""The user's own files in an archive: configurations, and the files that they name.

The same rule is kept when an archive is made and when it is restored: an archive from elsewhere can
add only what its own configuration names, and nothing that other experiments would load.
"""

import re
import zipfile
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from em_tiers.archive.contents import PRIVATE, code_files
from em_tiers.archive.zip_file import DAMAGE
from em_tiers.download.data_files import COMPRESSIONS, FORMATS

STUDY_SUFFIXES = frozenset({".yaml", ".yml", ".jinja", *FORMATS, *COMPRESSIONS})
# Rubrics that every experiment loads.
SHARED = "config/rubrics/"
# What Snakemake would take for a profile, and so for options that it runs with.
SNAKEMAKE_PROFILES = re.compile(r"(?:.*/)?profiles/|slurm/|workflow/|(?:.*/)?config\.v[^/]*$")


def study_files(
    root: Path, workdir: Path, configfiles: list[str], settings: list[Any]
) -> dict[str, Path]:
    """The user's files, keyed by path relative to `workdir`: configurations and files they name.

    A text in `settings` that is the relative path (or pattern) of a file below `workdir` names one;
    files of the workflow that git tracks are not among them. Files elsewhere stay out.
    """
    code = {root / name for name in code_files(root, tracked_only=True)}
    found = {}
    for text in [*configfiles, *(t for value in settings for t in _texts(value))]:
        for path in _files_named(workdir, text):
            inside = path.relative_to(workdir).as_posix()
            plain = not any(part.startswith(".") for part in Path(inside).parts)
            if (
                plain
                and path not in code
                and not inside.startswith(("results/", *PRIVATE))
                and path.suffix in STUDY_SUFFIXES
            ):
                found[inside] = path
    return dict(sorted(found.items()))


def _files_named(workdir: Path, text: str) -> list[Path]:
    if len(text) > 400 or "\n" in text or ".." in Path(text).parts:
        return []
    path = Path(text)
    if path.is_absolute():
        if not path.is_relative_to(workdir):
            return []
        text = path.relative_to(workdir).as_posix()
    if Path(text).suffix not in STUDY_SUFFIXES:
        return []
    return sorted(p for p in workdir.glob(text) if p.is_file() and not p.is_symlink())


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for below in value.values():
            yield from _texts(below)
    elif isinstance(value, list):
        for below in value:
            yield from _texts(below)


class NamedFiles:
    """Which entries of an archive's `study/` its configuration accounts for.

    Args:
        config: provenance/config.json.
        catalogues: entries by id of each catalogue.
        in_checkout: whether the files go into the workflow's own folder.
    """

    def __init__(self, config: dict[str, Any], catalogues: dict[str, Any], in_checkout: bool):
        self._closed = ("results/", SHARED) if in_checkout else ("results/",)
        self._keys = config.keys()
        # Absolute paths of the machine that made it begin with @WORKDIR@ or @ROOT@.
        self._patterns = {re.sub("^@[A-Z]+@/", "", t) for t in _texts([config, catalogues])}

    def allows(self, archive: zipfile.ZipFile, name: str) -> bool:
        """Whether the entry study/INSIDE may be written."""
        inside = name.removeprefix("study/")
        if (
            any(piece.startswith(".") for piece in PurePosixPath(inside).parts)
            or PurePosixPath(inside).suffix not in STUDY_SUFFIXES
            or inside.startswith(self._closed)
            or SNAKEMAKE_PROFILES.match(inside)
        ):
            return False
        named = any(inside == pattern or fnmatch(inside, pattern) for pattern in self._patterns)
        return named or self._is_configuration(archive, name)

    def _is_configuration(self, archive: zipfile.ZipFile, name: str) -> bool:
        """Whether the entry is a configuration file: all its keys are of the configuration."""
        if PurePosixPath(name).suffix not in (".yaml", ".yml", ".json"):
            return False
        try:
            content = yaml.safe_load(archive.read(name))
        except (yaml.YAMLError, ValueError, RecursionError, *DAMAGE):
            return False
        return isinstance(content, dict) and content.keys() <= self._keys
