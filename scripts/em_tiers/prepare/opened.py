"""Data files as streams, compressed or not; the ending of the name says how."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import BinaryIO, TextIO

from em_tiers.download.data_files import compression_of
from em_tiers.errors import UserError

_OPENERS = {"": open, ".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_DAMAGED = (EOFError, zlib.error, lzma.LZMAError, OSError)
_MAGIC = {".gz": b"\x1f\x8b", ".bz2": b"BZh", ".xz": b"\xfd7zXZ", ".zst": b"\x28\xb5\x2f\xfd"}


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """A file's bytes, unpacked.

    Raises:
        UserError: the file is not compressed as its name says, or is damaged.
    """
    suffix = compression_of(path.name)
    if suffix == ".zst":
        import pyarrow

        stream = BufferedReader(pyarrow.CompressedInputStream(pyarrow.OSFile(str(path)), "zstd"))
    else:
        stream = _OPENERS[suffix](path, "rb")
    with stream as file:
        try:
            yield file
        except _DAMAGED as error:
            if not suffix:
                raise
            raise UserError(
                f"{path.name}: cannot be unpacked ({error}): it may be incomplete; download it "
                "again"
            ) from error


@contextmanager
def open_text(path: Path, newline: str | None = None) -> Iterator[TextIO]:
    """A file's text in UTF-8, unpacked; bytes that are not UTF-8 become lone surrogates."""
    with open_bytes(path) as file:
        yield TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline=newline)


def packed_as(start: bytes) -> str:
    """The ending that a file with these first bytes should have; empty if it is not compressed."""
    return next((suffix for suffix, magic in _MAGIC.items() if start.startswith(magic)), "")
