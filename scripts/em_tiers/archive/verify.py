"""Whether an archive holds exactly what its manifest names."""

import hashlib
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from em_tiers.archive.zip_file import (
    DAMAGE,
    HASH_LIST,
    chunks,
    open_archive,
    printable,
    read_hashes,
    why_unsafe,
)


@dataclass
class ArchiveCheck:
    """What is wrong with an archive; names in sorted order.

    `content` is the SHA-256 of the manifest: two archives with one content are equal. A reader who
    has it from a trusted source (a paper, a colleague) can tell a forged archive.
    """

    content: str
    files: int
    missing: list[str] = field(default_factory=list)
    altered: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    unsafe: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Nothing is wrong."""
        return not (self.missing or self.altered or self.extra or self.unsafe)

    def lines(self) -> list[str]:
        """One line per fault."""
        kinds = ("missing", "altered", "extra", "unsafe")
        return [f"{kind}: {printable(name)}" for kind in kinds for name in getattr(self, kind)]


def verify_archive(path: Path) -> ArchiveCheck:
    """Read the whole archive and compare it with its manifest.

    Raises:
        UserError: it is not an archive, or it has no readable manifest.
    """
    with open_archive(path) as archive:
        hashes = read_hashes(archive)
        infos = archive.infolist()
        names = [info.orig_filename for info in infos]
        content = hashlib.sha256(archive.read(HASH_LIST)).hexdigest()
        check = ArchiveCheck(content, len(hashes))
        check.unsafe = sorted(
            f"{name}: {why}"
            for name, info in zip(names, infos, strict=True)
            if (why := why_unsafe(info))
        )
        check.missing = sorted(set(hashes) - set(names))
        twice = {name for name in names if names.count(name) > 1} if _repeats(names) else set()
        check.extra = sorted((set(names) - set(hashes) - {HASH_LIST}) | twice)
        check.altered = sorted(
            info.orig_filename
            for info in infos
            if info.orig_filename in hashes
            and not why_unsafe(info)
            and _sha256_of_member(archive, info) != hashes[info.orig_filename]
        )
    return check


def _repeats(names: list[str]) -> bool:
    return len(set(names)) < len(names)


def _sha256_of_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> str | None:
    """The member's hash; None where it cannot be read, which is one way of being altered."""
    digest = hashlib.sha256()
    try:
        with archive.open(info) as file:
            for chunk in chunks(file):
                digest.update(chunk)
    except DAMAGE:
        return None
    return digest.hexdigest()
