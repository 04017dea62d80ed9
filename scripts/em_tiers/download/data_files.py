"""Which files of a source are fetched for a data set or a question set."""

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from em_tiers.errors import UserError

# What the suffix of a raw data file says about its format.
FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".eval": "eval",  # a log of Inspect
}
# Endings of compressed files, after that of the format.
COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")
# Descriptions that the hub's own tools leave among the data.
_NO_DATA = ("dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json")


def format_of(name: str) -> str | None:
    """The format that a file's name states, as in FORMATS, compressed or not; None if unknown."""
    name = name.lower()
    plain = name.removesuffix(compression_of(name))
    found = FORMATS.get(Path(plain).suffix)
    return None if found in ("parquet", "eval") and plain != name else found


def compression_of(name: str) -> str:
    """The ending that says how a file is compressed; empty for none."""
    suffix = _suffix(name)
    return suffix if suffix in COMPRESSIONS else ""


def globs_of(source: dict[str, Any]) -> list[str]:
    """The patterns of wanted files that a hub source names; every file for other sources.

    In a pattern `*` also crosses folders.
    """
    return source["files"] if source["type"] == "hub" and source.get("files") else ["*"]


def choose_data_files(globs: list[str], names: list[str]) -> list[str]:
    """The data files among `names` that match one of `globs`.

    Raises:
        UserError: none does, or the files are of several formats: often the same rows twice.
    """
    data = sorted(name for name in names if _is_data(name))
    chosen = [name for name in data if any(fnmatchcase(name, glob) for glob in globs)]
    if not chosen:
        raise UserError(
            f"data set: no file matches {', '.join(globs)}; the source has "
            f"{_first_names(data or names)}; "
            f"use {', '.join(sorted(FORMATS))} files, alone or compressed as .gz, .bz2, .xz or "
            ".zst (unpack an archive and give its path)"
        )
    if len({format_of(name) for name in chosen}) > 1:
        raise UserError(
            f"data set: files of several formats: {_first_names(chosen)}; they may hold the same "
            "rows: name those of one format under source.files, or one file under source.path"
        )
    return chosen


def choose_question_file(globs: list[str], names: list[str]) -> list[str]:
    """The one question file among `names` that matches one of `globs`; YAML goes first.

    Raises:
        UserError: none or several do.
    """
    named = [name for name in names if any(fnmatchcase(name, glob) for glob in globs)]
    yaml = [name for name in named if name.lower().endswith((".yaml", ".yml"))]
    chosen = yaml or [name for name in named if _is_data(name) and format_of(name) != "eval"]
    if len(chosen) != 1:
        raise UserError(
            f"question set: {len(chosen)} question files ({', '.join(sorted(chosen)[:6]) or 'none'}"
            "): a question set is one YAML, JSON, JSONL, CSV or Parquet file: name it under "
            "source.files, or give its source.path"
        )
    return chosen


def _suffix(name: str) -> str:
    return Path(name).suffix.lower()


def _is_data(name: str) -> bool:
    parts = name.split("/")
    hidden = any(part.startswith(".") for part in parts)
    return format_of(name) is not None and parts[-1] not in _NO_DATA and not hidden


def _first_names(names: list[str]) -> str:
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return (", ".join(names[:6]) or "no files") + more
