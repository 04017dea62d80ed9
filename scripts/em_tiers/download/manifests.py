"""The manifest that each download leaves in its folder, and the file names it may hold.

`manifest.json` is {source, revision, files: [{path, bytes, sha256}], licence, licence_on_hub}. It
holds no time and no machine, so the same source gives the same bytes.
"""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from em_tiers.errors import UserError
from em_tiers.files import read_record, sha256_of_file, write_json
from em_tiers.hashing import hash_of
from em_tiers.placeholders import check_complete

MANIFEST = "manifest.json"


def check_name(name: str, origin: str) -> str:
    """Return `name` when it may be a file inside the download folder.

    Names in a listing come from strangers: one that leaves the folder, hides, or would read
    differently on another system is refused.

    Raises:
        UserError: the name is not a plain relative path.
    """
    parts = PurePosixPath(name).parts
    plain = name == "/".join(parts) and all(c.isprintable() for c in name)
    steps_out = any(part.startswith(".") or part.endswith((" ", ".")) for part in parts)
    if not name or not plain or name.startswith("/") or steps_out or set(name) & set('\\:*?"<>|'):
        raise UserError(
            f"{origin}: file name {name!r}: not a plain relative path, so it is not fetched: "
            "name other files, or another source"
        )
    if name == MANIFEST or name.endswith(".part"):
        raise UserError(
            f"{origin}: file name {name!r}: kept for the download itself: name other files"
        )
    return name


def check_names(names: Iterable[str], origin: str) -> list[str]:
    """Return the names, sorted, when each is plain and none differ by letter case only."""
    checked = sorted(check_name(name, origin) for name in names)
    folded: dict[str, str] = {}
    for name in checked:
        other = folded.setdefault(name.casefold(), name)
        if other is not name:
            raise UserError(f"{origin}: file names {other!r} and {name!r}: differ by case only")
    return checked


def write_manifest(
    folder: Path,
    source: dict[str, Any],
    names: Iterable[str],
    revision: str | None = None,
    licence_on_hub: str | None = None,
) -> dict[str, Any]:
    """Write and return the manifest of the files `names` in `folder`.

    Raises:
        UserError: a file is empty.
    """
    manifest = {
        "source": source,
        "revision": revision,
        "licence": source.get("licence") or licence_on_hub,
        "licence_on_hub": licence_on_hub,
        "files": [_describe(folder, name) for name in sorted(names)],
    }
    write_json(folder / MANIFEST, manifest)
    return manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read a download's manifest.

    Raises:
        UserError: the folder holds none, since its download did not end well, or a damaged one.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise UserError(f"{folder}: no {MANIFEST}: run its download again")
    manifest = read_record(path, {"files": list})
    if not all(isinstance(f, dict) and {"path", "sha256"} <= f.keys() for f in manifest["files"]):
        raise UserError(f"{path}: damaged, files malformed: delete the folder and run again")
    return manifest


def content_identity(identity: Any, folder: Path) -> Any:
    """What tells a model from others: for one from a path, its files, wherever they are.

    Other weights may be put at the same path, and must not be taken for the old ones.
    """
    if "path" not in identity:
        return identity
    files = read_manifest(folder)["files"]
    return {"files": hash_of([[entry["path"], entry["sha256"]] for entry in files])}


def files_of(folder: Path) -> list[Path]:
    """Paths of the downloaded files, in the manifest's order.

    Raises:
        UserError: no manifest, or a manifest restored from an archive without the files.
    """
    check_complete(folder)
    return [Path(folder) / entry["path"] for entry in read_manifest(folder)["files"]]


def _describe(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    size = path.stat().st_size
    if size == 0:
        raise UserError(f"{name}: an empty file: check the source, then run the download again")
    return {"path": name, "bytes": size, "sha256": sha256_of_file(path)}
