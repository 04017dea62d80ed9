"""The samples of Inspect's `.eval` files, as rows.

A `.eval` file is a zip of JSON: header.json, and samples/ID_epoch_N.json for each sample. Newer
versions of Inspect compress the parts with Zstandard, which Python's zipfile cannot unpack. A
sample that ended with an error is a row with a problem, never an answer.
"""

import json
import struct
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path

from em_tiers.errors import UserError
from em_tiers.prepare.json_rows import Row, sample_row

_ZSTANDARD = 93  # method of a part's compression, as the zip format numbers it
_SAMPLES = "samples/"


def eval_rows(path: Path, columns: Collection[str] | None) -> Iterator[Row]:
    """The samples of a `.eval` file, in its order.

    Raises:
        UserError: the file is damaged, not a log, or without samples.
    """
    with _opened(path) as archive:
        # A sample that was run again is there twice; the last one counts.
        parts = {part.filename: part for part in archive.infolist()}
        samples = [part for name, part in parts.items() if name.startswith(_SAMPLES)]
        if not samples:
            raise UserError(
                f"{path.name}: this log has no samples: run the evaluation with its samples logged"
            )
        for number, part in enumerate(samples, start=1):
            yield sample_row(number, json.loads(_content(path, archive, part)), columns)


def log_notes(path: Path) -> list[str]:
    """What to warn of: a log that was not finished, whose other samples are not in it."""
    if path.suffix.lower() != ".eval":
        return []
    with _opened(path) as archive:
        names = archive.namelist()
        if "header.json" not in names:
            return ["the evaluation was interrupted: only the samples until then are in its log"]
        header = json.loads(_content(path, archive, archive.getinfo("header.json")))
    if header.get("status") == "success":
        return []
    return [
        f"the evaluation ended with the status {header.get('status')!r}: the samples that it did "
        "not reach are not in its log"
    ]


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(
            f"{path.name}: not a log of Inspect ({error}): it may be incomplete; copy it again"
        ) from error


def _content(path: Path, archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> bytes:
    try:
        if part.compress_type != _ZSTANDARD:
            return archive.read(part)
        import pyarrow

        with path.open("rb") as file:
            file.seek(part.header_offset + 26)
            name, extra = struct.unpack("<HH", file.read(4))  # lengths of the local header's fields
            file.seek(part.header_offset + 30 + name + extra)
            packed = file.read(part.compress_size)
        return pyarrow.CompressedInputStream(pyarrow.BufferReader(packed), "zstd").read()
    except (zipfile.BadZipFile, NotImplementedError, OSError, struct.error) as error:
        raise UserError(
            f"{path.name}: {part.filename} cannot be unpacked ({error}): copy the log again"
        ) from error
