"""Nothing secret leaves in an archive: values of keys in the environment, and the user's home."""

import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import polars as pl

from em_tiers.archive.places import Places
from em_tiers.archive.zip_file import CHUNK, Entry
from em_tiers.errors import UserError
from em_tiers.secret_forms import spellings

SECRET_NAME = re.compile(r"(_KEY|_TOKEN|_SECRET|_PASSWORD)$", re.IGNORECASE)
SHORTEST = 8
SHORTEST_NAMED = 6  # of a variable that an endpoint names; local servers take "none" or "EMPTY"
# Keys of model hubs and APIs by their shape, for one that is no longer in the environment. Looked
# for in what people and jobs write, not in answers: models make such strings up.
KEY_SHAPE = re.compile(
    rb"\b(?:hf_[A-Za-z0-9]{30,}|sk-[A-Za-z0-9_-]{32,}|gh[pousr]_[A-Za-z0-9]{36,})"
)
LONGEST_KEY = 256
LOGS = (".log", ".tsv")
REPORT_TEXT = frozenset({".html", ".js", ".json", ".txt", ".rst", ".css", ".svg"})
HIDDEN_IN = ("manifest.json", "adapter_config.json", "metrics.json", "card.json")


def secrets_of(
    environment: Mapping[str, str], catalogues: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, str]:
    """Values that may not leave, by the name of their variable.

    A variable counts by its name, or because an endpoint of a catalogue names it.
    """
    named = {
        (entry.get("endpoint") or {}).get("key_env")
        for entries in (catalogues or {}).values()
        for entry in entries.values()
        if isinstance(entry, Mapping)
    }
    return {
        name: value
        for name, value in environment.items()
        if len(value) >= (SHORTEST_NAMED if name in named else SHORTEST)
        and (name in named or SECRET_NAME.search(name))
    }


def hide_places(entry: Entry, places: Places) -> Entry:
    """The entry without absolute paths, where it is a log, a manifest or a configuration."""
    name = PurePosixPath(entry.name)
    if name.suffix == ".zip":
        return _hide_in_zip(entry, places)
    is_log = name.suffix in LOGS
    if not is_log and name.name not in HIDDEN_IN and name.parts[0] != "study":
        return entry
    if name.suffix in (".parquet", ".csv", ".jsonl"):
        return entry
    content = entry.path.read_bytes() if entry.content is None else entry.content
    text = content.decode("utf-8", "surrogateescape")
    hidden = places.hide_in_log(text) if is_log else places.hide(text)
    if hidden == text:
        return entry
    return Entry(entry.name, entry.path, hidden.encode("utf-8", "surrogateescape"))


def _hide_in_zip(entry: Entry, places: Places) -> Entry:
    """Snakemake's report, without absolute paths, and with dates that do not change its bytes."""
    packed = io.BytesIO()
    with zipfile.ZipFile(entry.path) as old, zipfile.ZipFile(packed, "w") as new:
        for name in sorted(set(old.namelist())):
            content = old.read(name)
            if PurePosixPath(name).suffix in REPORT_TEXT:
                text = content.decode("utf-8", "surrogateescape")
                content = places.hide_in_log(text).encode("utf-8", "surrogateescape")
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.external_attr = 0o644 << 16
            new.writestr(info, content, zipfile.ZIP_DEFLATED)
    return Entry(entry.name, content=packed.getvalue())


def check_entries(entries: Iterable[Entry], home: Path, secrets: dict[str, str]) -> None:
    """Look through every entry.

    Raises:
        UserError: an entry holds the value of a secret variable or the path of the user's home, or
            a configuration, log or record something that looks like a key.
    """
    entries = list(entries)
    for entry in filter(_is_written_by_hand, entries):
        if _stream_matches(_blocks(entry), KEY_SHAPE):
            raise UserError(_refusal(entry, "what looks like a key"))
    forbidden = {f"the value of ${name}": spellings(value) for name, value in secrets.items()}
    # A home like /root is a word that a model may well say; /home/NAME is not.
    if len(home.parts) > 2:
        forbidden["the path of your home folder"] = [str(home)]
    if not forbidden:
        return
    for entry in entries:
        for what, texts in forbidden.items():
            if _holds(entry, texts):
                raise UserError(_refusal(entry, what))


def _refusal(entry: Entry, what: str) -> str:
    return (
        f"archive: {entry.path or entry.name}: holds {what}: nothing was written; remove it from "
        "the file, or the file, and archive again"
    )


def _is_written_by_hand(entry: Entry) -> bool:
    """A configuration, a log or a record: text that should never hold a key."""
    name = PurePosixPath(entry.name)
    if name.suffix in (".csv", ".jsonl", ".parquet"):
        return False
    return name.parts[0] in ("study", "code", "provenance") or name.suffix in LOGS


def _stream_matches(blocks: Iterable[bytes], shape: re.Pattern) -> bool:
    tail = b""
    for block in blocks:
        if shape.search(tail + block):
            return True
        tail = block[-LONGEST_KEY:]
    return False


def _holds(entry: Entry, texts: list[str]) -> bool:
    suffix = PurePosixPath(entry.name).suffix
    if suffix == ".safetensors":
        return False
    if suffix == ".parquet":
        return _table_holds(entry.path, texts)
    values = [text.encode("utf-8", "surrogateescape") for text in texts]
    if suffix == ".zip":
        return _zip_holds(entry, values)
    return _stream_holds(_blocks(entry), values)


def _blocks(entry: Entry) -> Iterator[bytes]:
    if entry.content is not None:
        yield entry.content
        return
    with entry.path.open("rb") as file:
        while block := file.read(CHUNK):
            yield block


def _stream_holds(blocks: Iterable[bytes], values: list[bytes]) -> bool:
    tail = b""
    for block in blocks:
        window = tail + block
        if any(value in window for value in values):
            return True
        tail = block[-max(map(len, values)) :]
    return False


def _zip_holds(entry: Entry, values: list[bytes]) -> bool:
    with zipfile.ZipFile(entry.path or io.BytesIO(entry.content)) as archive:
        for info in archive.infolist():
            with archive.open(info) as file:
                if _stream_holds(iter(lambda: file.read(CHUNK), b""), values):
                    return True
    return False


def _table_holds(path: Path, values: list[str]) -> bool:
    lazy = pl.scan_parquet(path)
    schema = lazy.collect_schema().items()
    texts = [text for name, kind in schema for text in _texts(pl.col(name), kind)]
    if not texts:
        return False
    found = lazy.select(
        text.str.contains_any(values).any().alias(str(number)) for number, text in enumerate(texts)
    )
    return any(found.collect(engine="streaming").row(0))


def _texts(column: pl.Expr, kind: pl.DataType) -> Iterator[pl.Expr]:
    """The texts of a column, those inside its lists and structs too, such as messages."""
    if kind == pl.String:
        yield column
    elif isinstance(kind, pl.List):
        yield from _texts(column.explode(), kind.inner)
    elif isinstance(kind, pl.Struct):
        for field in kind.fields:
            yield from _texts(column.struct.field(field.name), field.dtype)
