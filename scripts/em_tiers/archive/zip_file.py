"""The archive file: a zip whose bytes depend on its contents only, and how it is read safely.

Entries are sorted, dated 1980-01-01, of mode 0644, and already compressed kinds are stored as they
are. `manifest-sha256.txt` comes last and names every other file: `SHA-256  NAME`, as sha256sum
writes it.
"""

import hashlib
import json
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from em_tiers.errors import UserError
from em_tiers.files import atomic_path, sha256_of_file

HASH_LIST = "manifest-sha256.txt"
CHUNK = 1 << 20
COMPRESSED = frozenset({".parquet", ".png", ".zip", ".safetensors", ".pdf", ".gz"})
LARGEST_RATIO = 500
SMALL_ENOUGH = 100 << 20
_SHOWN = 80  # characters of a line in a message
# What reading a damaged, cut or encrypted entry raises.
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


@dataclass(frozen=True)
class Entry:
    """A file of the archive: its name there, and where its bytes come from (path or content)."""

    name: str
    path: Path | None = None
    content: bytes | None = None

    @property
    def size(self) -> int:
        """Bytes."""
        return self.path.stat().st_size if self.content is None else len(self.content)

    def sha256(self) -> str:
        """Hex SHA-256 of the bytes."""
        if self.content is None:
            return sha256_of_file(self.path)
        return hashlib.sha256(self.content).hexdigest()


def printable(name: str) -> str:
    """A name from an archive as a terminal may show it: control characters as their codes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)


def json_bytes(value: Any) -> bytes:
    """Indented JSON with sorted keys: the same value gives the same bytes."""
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def hash_list_of(hashes: dict[str, str]) -> bytes:
    """The manifest's text from the SHA-256 of each name."""
    return "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes)).encode()


def write_archive(entries: Iterable[Entry], hashes: dict[str, str], target: Path) -> None:
    """Write the archive whole or not at all.

    Raises:
        UserError: two entries of one name, or a file changed since its hash was taken.
    """
    ordered = sorted(entries, key=lambda entry: entry.name)
    names = [entry.name for entry in ordered]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise UserError(f"archive: {twice}: two entries of one name: rename one of each")
    with atomic_path(target) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for entry in [*ordered, Entry(HASH_LIST, content=hash_list_of(hashes))]:
            found = _write(archive, entry)
            if hashes.get(entry.name, found) != found:
                raise UserError(
                    f"archive: {entry.path}: changed while it was archived, because a job "
                    "still writes it; archive again when the run has ended"
                )


def _write(archive: zipfile.ZipFile, entry: Entry) -> str:
    info = zipfile.ZipInfo(entry.name, (1980, 1, 1, 0, 0, 0))
    info.create_system = 3
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    packed = PurePosixPath(entry.name).suffix in COMPRESSED
    info.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
    info.file_size = entry.size
    digest = hashlib.sha256()
    with archive.open(info, "w") as target:
        for chunk in _chunks_of(entry):
            digest.update(chunk)
            target.write(chunk)
    return digest.hexdigest()


def _chunks_of(entry: Entry) -> Iterator[bytes]:
    if entry.content is not None:
        yield entry.content
        return
    with entry.path.open("rb") as file:
        yield from chunks(file)


def chunks(file: BinaryIO) -> Iterator[bytes]:
    """Bytes of an open file, a mebibyte at a time."""
    while chunk := file.read(CHUNK):
        yield chunk


def open_archive(path: Path) -> zipfile.ZipFile:
    """Open an archive for reading.

    Raises:
        UserError: the file does not exist, or it is not a readable zip.
    """
    if not path.is_file():
        raise UserError(f"archive {path}: no such file: correct the path")
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(
            f"archive {path}: {error}: it is cut off or not an archive; get it again"
        ) from (error)


def why_unsafe(info: zipfile.ZipInfo) -> str | None:
    """Why an entry may not be unpacked, or None: links, odd names, and declared sizes of a bomb."""
    name = info.orig_filename
    parts = PurePosixPath(name).parts
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        return "not a plain file"
    if name.startswith("/") or "\\" in name or ":" in name or "\0" in name:
        return "not a relative path"
    if not name or name != "/".join(parts) or ".." in parts or "." in parts:
        return "leaves its folder or is not in plain form"
    if info.file_size > SMALL_ENOUGH and info.file_size > LARGEST_RATIO * info.compress_size:
        return f"would grow from {info.compress_size:,} to {info.file_size:,} bytes"
    return None


def read_hashes(archive: zipfile.ZipFile) -> dict[str, str]:
    """The SHA-256 of each name.

    Raises:
        UserError: the manifest is missing, malformed or a bomb.
    """
    for info in archive.infolist():
        if info.orig_filename == HASH_LIST and (why := why_unsafe(info)):
            raise UserError(
                f"archive {archive.filename}: {HASH_LIST}: {why}; it is not an archive of this "
                "workflow: do not unpack it"
            )
    try:
        lines = archive.read(HASH_LIST).decode().splitlines()
    except (KeyError, *DAMAGE, UnicodeDecodeError, OSError) as error:
        raise UserError(
            f"archive {archive.filename}: {HASH_LIST}: missing or unreadable; it is not an archive "
            "of this workflow, or it is damaged; get it again"
        ) from error
    hashes = {}
    for line in lines:
        digest, gap, name = line.partition("  ")
        if not gap or len(digest) != 64 or name in hashes:
            raise UserError(
                f"archive {archive.filename}: {HASH_LIST}: line {line[:_SHOWN]!a} is malformed"
            )
        hashes[name] = digest
    return hashes
