"""The workflow's own files in a checkout, beside those of an archive.

Users describe a study by editing the workflow's `config/` too: an engine, a recipe, a rubric. Those
edits are part of the study, so a restore brings them back. It replaces a file only if git has
the content that is replaced.
"""

import hashlib
import subprocess
import zipfile
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from em_tiers.archive.contents import git
from em_tiers.files import sha256_of_file

_STUDY = "config/"


@dataclass
class Comparison:
    """Archived workflow files, by path relative to the checkout, in sorted order.

    Attributes:
        all: every archived one.
        absent: those that the checkout lacks.
        differing: those that the checkout has with other content.
        written: those that the restore writes: absent or differing ones.
    """

    all: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)


def compare_code(
    archive: zipfile.ZipFile, root: Path, revision: dict[str, Any], with_code: bool
) -> Comparison:
    """Compare the archived workflow files with those of a checkout.

    Args:
        revision: as `contents.revision_of` described the archived checkout.
        with_code: write every archived file, rather than the study's edits of config/ only.
    """
    found = Comparison()
    for info in sorted(archive.infolist(), key=lambda info: info.filename):
        part, _, name = info.filename.partition("/")
        if part != "code" or not name:
            continue
        found.all.append(name)
        if not (root / name).is_file():
            found.absent.append(name)
        elif hashlib.sha256(archive.read(info)).hexdigest() != sha256_of_file(root / name):
            found.differing.append(name)
    replaceable = _unchanged_in_git(root, found.differing)
    found.written = [
        name
        for name in sorted(found.absent + found.differing)
        if (name in found.absent or name in replaceable)
        and (with_code or (name.startswith(_STUDY) and _is_edit(name, revision, root)))
    ]
    return found


def _is_edit(name: str, revision: dict[str, Any], root: Path) -> bool:
    """Whether an archived file is an edit of its user, and not that of another version."""
    return name in revision["changed"] or revision["revision"] in (None, _head(root))


def _head(root: Path) -> str:
    try:
        return git(root, "rev-parse", "HEAD").strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _unchanged_in_git(root: Path, names: Collection[str]) -> set[str]:
    """Files that git tracks and that are as its last commit has them."""
    if not names:
        return set()
    try:
        tracked = git(root, "ls-files", "-z", "--", *names).split("\0")
        changed = git(root, "diff", "HEAD", "--name-only", "-z", "--relative", "--", *names)
    except (OSError, subprocess.CalledProcessError):
        return set()
    return (set(tracked) & set(names)) - set(changed.split("\0"))
