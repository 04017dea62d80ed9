"""An archive back into a checkout, so that Snakemake finds nothing to do.

Everything is checked before anything is written. All restored outputs get one and the same time,
the moment of the restore, and Snakemake's records are put back beside them. The study's edits of
the workflow's config/ are restored too. A file of the workflow that still differs from the archived
one gets a later time: Snakemake then reruns what depends on it.
"""

import json
import os
import shutil
import tempfile
import time
import zipfile
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from em_tiers.archive.checkout import compare_code
from em_tiers.archive.contents import CODE_SUFFIXES, is_resource, is_result
from em_tiers.archive.places import Places
from em_tiers.archive.records import write_records
from em_tiers.archive.study_files import SNAKEMAKE_PROFILES, NamedFiles
from em_tiers.archive.verify import verify_archive
from em_tiers.archive.zip_file import DAMAGE, chunks, open_archive, printable
from em_tiers.errors import UserError
from em_tiers.files import read_record, sha256_of_file
from em_tiers.placeholders import PLACEHOLDER, PLACEHOLDER_TEXT, write_placeholder

TIMESTAMP = ".snakemake_timestamp"
LATER_S = 0.01


@dataclass
class Restored:
    """What a restore did.

    Attributes:
        files: how many were written.
        replaced: workflow files that the archived ones replaced; git has their old content.
        differing: workflow files that differ from the archived ones.
        absent: workflow files that the checkout lacks.
        placeholders: folders of which the archive holds the manifest only, and training rows that
            it leaves out.
        config: the configuration to run with.
        revision: git revision of the archived workflow, and whether it had been changed.
        endpoints: who is sent texts, as (entry, host, variable of the key or None).
    """

    experiment: str
    files: int = 0
    replaced: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    placeholders: list[str] = field(default_factory=list)
    config: str = ""
    revision: str = "none"
    endpoints: list[tuple[str, str, str | None]] = field(default_factory=list)


def restore_archive(
    path: Path, root: Path, workdir: Path, with_code: bool = False, most_bytes: int | None = None
) -> Restored:
    """Unpack an archive.

    Args:
        root: the checkout of the workflow.
        workdir: the folder that gets results/; mostly `root`.
        with_code: write all archived workflow files, and not only the study's edits of config/.
        most_bytes: refuse to unpack more; default: the free space of the disk.

    Raises:
        UserError: the archive is unsound or unsafe, or would overwrite other files; nothing is
            written.
    """
    path, root, workdir = (p.absolute() for p in (path, root, workdir))
    check = verify_archive(path)
    if not check.sound:
        raise UserError(
            f"archive {path} is not sound; nothing was written: " + "; ".join(check.lines()[:20])
        )
    with open_archive(path) as archive:
        facts = _facts(archive)
        done = Restored(facts["experiment"])
        _check_size(archive, workdir, most_bytes)
        revision = _revision(archive)
        code = compare_code(archive, root, revision, with_code)
        targets = _targets(archive, facts["experiment"], root, workdir, code.written)
        state = _state(archive)
        places = Places(root, workdir, Path.home(), frozenset(code.all))
        with tempfile.TemporaryDirectory(dir=_existing(workdir), prefix=".restore-") as temporary:
            unpacked = _unpack(archive, targets, Path(temporary), places)
            replaced = {root / name for name in code.written if name in code.differing}
            _check_overwriting(unpacked, replaced)
            now = _moment(root, code.all)
            _place_all(unpacked, now, replaced)
        done.files = len(unpacked)
        done.endpoints = _endpoints(archive)
        done.revision = _words_of(revision)
    done.replaced = [name for name in code.differing if name in code.written]
    done.differing = [name for name in code.differing if name not in code.written]
    done.absent = [name for name in code.absent if name not in code.written]
    _make_folders(workdir, state["folders"], now, done)
    _placeholders_for_rows(workdir, state["records"], now, done)
    write_records(workdir, places.show(state["records"]))
    for name in done.differing:
        os.utime(root / name, (now + LATER_S, now + LATER_S))
    done.config = f"results/{done.experiment}/provenance/config.json"
    return done


def _facts(archive: zipfile.ZipFile) -> dict[str, Any]:
    facts = _read_object(archive, "provenance/archive.json")
    experiment = str(facts.get("experiment", ""))
    named = experiment and all(c.isalnum() or c == "-" for c in experiment)
    if not named or experiment == "resources":
        raise UserError(f"archive {archive.filename}: experiment {experiment!r}: not a valid name")
    return facts | {"experiment": experiment}


def _read_object(archive: zipfile.ZipFile, name: str) -> dict[str, Any]:
    try:
        found = json.loads(archive.read(name))
    except (KeyError, ValueError, RecursionError, *DAMAGE) as error:
        raise UserError(
            f"archive {archive.filename}: {name}: missing or unreadable; it is not an archive of "
            "this workflow"
        ) from error
    if not isinstance(found, dict):
        raise UserError(f"archive {archive.filename}: {name}: not a JSON object")
    return found


def _state(archive: zipfile.ZipFile) -> dict[str, Any]:
    """Snakemake's records, and which outputs are folders; each is checked to be in results/."""
    _read_object(archive, "provenance/config.json")
    state = _read_object(archive, "provenance/snakemake.json")
    folders, records = state.get("folders"), state.get("records")
    if not (
        isinstance(folders, dict)
        and isinstance(records, dict)
        and all(isinstance(record, dict) for record in records.values())
    ):
        raise UserError(
            f"archive {archive.filename}: provenance/snakemake.json: holds no records; it is "
            "not an archive of this workflow"
        )
    for name in [*folders, *records]:
        parts = PurePosixPath(name).parts
        if parts[:1] != ("results",) or ".." in parts:
            raise UserError(f"archive {archive.filename}: {name!r}: not an output in results/")
    return state


def _read_study(archive: zipfile.ZipFile) -> tuple[dict[str, Any], dict[str, Any]]:
    """The configuration and the catalogues as they took effect."""
    has_catalogues = "provenance/catalogues.json" in archive.namelist()
    catalogues = _read_object(archive, "provenance/catalogues.json") if has_catalogues else {}
    return _read_object(archive, "provenance/config.json"), catalogues


def _endpoints(archive: zipfile.ZipFile) -> list[tuple[str, str, str | None]]:
    """Each entry with an endpoint: its name, its host, and the variable of its key."""
    found = []
    for kind, entries in sorted(_read_study(archive)[1].items()):
        for name, entry in sorted(entries.items()) if isinstance(entries, dict) else ():
            endpoint = entry.get("endpoint") if isinstance(entry, dict) else None
            if isinstance(endpoint, dict):
                host = urlsplit(str(endpoint.get("base_url"))).netloc
                found.append((f"{kind}.{name}", host, endpoint.get("key_env")))
    return found


def _revision(archive: zipfile.ZipFile) -> dict[str, Any]:
    """Git revision of the archived workflow, and which of its files differed from it."""
    if "provenance/revision.json" not in archive.namelist():
        return {"revision": None, "dirty": None, "changed": []}
    found = _read_object(archive, "provenance/revision.json")
    if not isinstance(found.get("changed"), list) or "revision" not in found:
        raise UserError(f"archive {archive.filename}: provenance/revision.json: names no revision")
    return found


def _words_of(revision: dict[str, Any]) -> str:
    if not revision["revision"]:
        return "of no known revision"
    return f"{revision['revision']}{' with changes' if revision['changed'] else ''}"


def _check_size(archive: zipfile.ZipFile, workdir: Path, most_bytes: int | None) -> None:
    needed = sum(info.file_size for info in archive.infolist())
    room = shutil.disk_usage(_existing(workdir)).free if most_bytes is None else most_bytes
    if needed > room:
        raise UserError(
            f"archive {archive.filename}: unpacks to {needed:,} bytes, but there is room for "
            f"{room:,}: make room, or raise --max-gib"
        )


def _existing(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _targets(
    archive: zipfile.ZipFile,
    experiment: str,
    root: Path,
    workdir: Path,
    code_written: Collection[str],
) -> dict[str, Path]:
    """The target of each entry by its name; entries without a place in a checkout are refused."""
    targets = {}
    config, catalogues = _read_study(archive)
    study = NamedFiles(config, catalogues, in_checkout=root == workdir)
    for name in sorted(archive.namelist()):
        part, _, inside = name.partition("/")
        suffix = PurePosixPath(name).suffix
        hidden = any(piece.startswith(".") for piece in PurePosixPath(name).parts)
        below, _, rest = inside.partition("/")
        known = (below == experiment and is_result(rest)) or (
            below == "resources" and is_resource(rest)
        )
        if part == "results" and known and not hidden:
            targets[name] = workdir / name
        elif part == "study" and study.allows(archive, name):
            targets[name] = workdir / inside
        elif part == "provenance" or not inside:
            targets[name] = workdir / "results" / experiment / "provenance" / (inside or name)
        elif part == "code" and not hidden and suffix in CODE_SUFFIXES:
            if inside in code_written and not SNAKEMAKE_PROFILES.match(inside):
                targets[name] = root / inside
        else:
            shown = printable(name)
            raise UserError(f"archive {archive.filename}: {shown}: has no place in a checkout")
    for name, target in targets.items():
        _check_no_links(name, target, root if name.startswith("code/") else workdir)
    return targets


def _check_no_links(name: str, target: Path, folder: Path) -> None:
    """Refuse to write through a link, save results/ itself, which may lie on another disk."""
    inside = target.relative_to(folder)
    for parent in [inside, *inside.parents]:
        if (folder / parent).is_symlink() and str(parent) not in (".", "results"):
            raise UserError(
                f"{folder / parent}: a link: remove it, because {name} would be written through it"
            )


def _unpack(
    archive: zipfile.ZipFile, targets: dict[str, Path], folder: Path, places: Places
) -> dict[Path, Path]:
    """Unpack to numbered files in `folder`; returns their final places."""
    unpacked = {}
    for number, (name, target) in enumerate(targets.items()):
        source = folder / str(number)
        with archive.open(name) as packed, source.open("wb") as file:
            for chunk in chunks(packed):
                file.write(chunk)
        if _has_places(name):
            text = source.read_text(encoding="utf-8", errors="surrogateescape")
            source.write_text(places.show(text), encoding="utf-8", errors="surrogateescape")
        unpacked[source] = target
    return unpacked


def _has_places(name: str) -> bool:
    path = PurePosixPath(name)
    is_text = path.suffix in (".yaml", ".yml", ".json", ".jinja")
    return (path.parts[0] == "study" and is_text) or name in (
        "provenance/config.json",
        "provenance/catalogues.json",
    ) or (path.name == "manifest.json" and path.parts[0] == "results")  # fmt: skip


def _check_overwriting(unpacked: dict[Path, Path], replaced: Collection[Path]) -> None:
    other = [
        str(target)
        for source, target in unpacked.items()
        if target not in replaced
        and (target.exists() or target.is_symlink())
        and not (target.is_file() and sha256_of_file(target) == sha256_of_file(source))
    ]
    if other:
        shown = ", ".join(other[:20]) + (f" and {len(other) - 20} more" if other[20:] else "")
        raise UserError(
            f"restore: {shown}: already there with other content; nothing was written; move these "
            "files away, or restore into another checkout"
        )


def _moment(root: Path, code: list[str]) -> float:
    """A time later than that of every workflow file, now if the clocks agree."""
    newest = max(((root / n).stat().st_mtime for n in code if (root / n).exists()), default=0.0)
    return max(time.time(), newest + LATER_S)


def _place_all(unpacked: dict[Path, Path], now: float, replaced: Collection[Path]) -> None:
    """Move every file to its place; takes new ones away again if one cannot be placed."""
    new = [target for target in unpacked.values() if not target.exists()]
    try:
        for source, target in unpacked.items():
            _place(source, target, now, target in replaced)
    except OSError:
        for target in new:
            target.unlink(missing_ok=True)
        raise


def _place(source: Path, target: Path, now: float, replace: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if replace or not target.exists():
        source.chmod(0o644)
        shutil.move(source, target)
    if "results" in target.parts:
        os.utime(target, (now, now))


def _make_folders(workdir: Path, folders: dict[str, bool], now: float, done: Restored) -> None:
    """Outputs that are folders, with the file by whose time Snakemake dates a folder."""
    for name, complete in sorted(folders.items()):
        folder = workdir / name
        folder.mkdir(parents=True, exist_ok=True)
        if not complete and not _is_complete(folder):
            (folder / PLACEHOLDER).write_text(PLACEHOLDER_TEXT, encoding="utf-8")
            done.placeholders.append(name)
        stamp = folder / TIMESTAMP
        stamp.touch()
        os.utime(stamp, (now, now))


def _placeholders_for_rows(
    workdir: Path, records: Collection[str], now: float, done: Restored
) -> None:
    """Put a file in the place of training rows, so that they are not made again, and trained on."""
    for name in sorted(records):
        path = workdir / name
        if PurePosixPath(name).match("results/*/datasets/*/train.jsonl") and not path.exists():
            _check_no_links(name, path, workdir)
            write_placeholder(path)
            os.utime(path, (now, now))
            done.placeholders.append(name)


def _is_complete(folder: Path) -> bool:
    """Whether the files that a download's or an adapter's manifest names are there."""
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        return False
    listed = read_record(manifest, {}).get("files")
    names = listed if isinstance(listed, dict) else [entry["path"] for entry in listed or []]
    return bool(names) and all((folder / name).is_file() for name in names)
