"""Downloads: from the hub, a URL or a path into one verified folder with a manifest.

A download appears whole or not at all. What has arrived of an unfinished one waits in
`.partial/` beside the folder, under a name made from the source, and the next run continues it.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import httpx2

from em_tiers.download import hub
from em_tiers.download.http import PATIENT, Expected, Patience, complaint_about
from em_tiers.download.manifests import check_names, write_manifest
from em_tiers.download.parallel import fetch_all
from em_tiers.errors import TemporaryError, UserError
from em_tiers.files import atomic_directory, sha256_of_file, sha256_of_folder
from em_tiers.hashing import hash_of
from em_tiers.lease import Lease
from em_tiers.logs import LOG

# From the names that a source offers to those that are wanted; raises UserError when none is.
ChooseFiles = Callable[[list[str]], list[str]]
# Looks at the finished folder before it gets its name; raises UserError when it cannot be used.
CheckFolder = Callable[[Path, list[str]], None]


def download(
    source: dict[str, Any],
    folder: Path,
    repo_type: str,
    choose: ChooseFiles,
    check: CheckFolder | None = None,
    patience: Patience = PATIENT,
) -> None:
    """Fill `folder` with the files that `choose` takes of `source`, and its manifest.

    Args:
        source: {type: hub, id, revision, subfolder?} or {type: url, url, sha256} (several files:
            {type: url, url: the common beginning, files: {name: sha256}}) or {type: path, path,
            sha256?}; each may hold a licence.
        repo_type: `model` or `dataset`, for the hub.

    Raises:
        UserError: nothing is left that looks finished.
    """
    kind = source["type"]
    if kind == "path":
        _from_path(source, folder, choose, check)
    elif kind == "url":
        files = url_files(source)
        names = choose(list(files))
        urls = {name: files[name][0] for name in names}
        expected = {name: files[name][1] for name in names}
        _from_web(source, folder, urls, expected, {}, None, check, patience)
    elif kind == "hub":
        repo, revision = source["id"], source["revision"]
        listing = hub.list_files(repo, revision, repo_type, patience)
        start = f"{source['subfolder'].strip('/')}/" if source.get("subfolder") else ""
        listed = {n.removeprefix(start): e for n, e in listing.files.items() if n.startswith(start)}
        if not listed:
            raise UserError(f"hub {repo_type} {repo}: no folder {start!r} in it: correct subfolder")
        names = check_names(choose(list(listed)), f"hub {repo_type} {repo}")
        urls = {name: hub.file_url(repo, revision, repo_type, start + name) for name in names}
        at_hub = {start + name: listed[name] for name in names}
        cached = {
            name.removeprefix(start): path
            for name, path in hub.cached_files(repo, revision, repo_type, at_hub)
        }
        headers = hub.request_headers()
        _from_web(source, folder, urls, listed, headers, listing.licence, check, patience, cached)
    else:
        raise UserError(f"source type {kind!r}: not for this download: use hub, url or path")


def url_files(source: dict[str, Any]) -> dict[str, tuple[str, Expected]]:
    """Name, address and checksum of each file of a `url` source."""
    base = source["url"]
    if urlsplit(base).scheme not in ("http", "https"):
        raise UserError(f"url {base}: not http or https: use type: path for a file on this machine")
    if "files" not in source:
        name = unquote(urlsplit(base).path.rsplit("/", 1)[-1])
        listed = {name: base}
        hashes = {name: source["sha256"]}
    else:
        hashes = source["files"]
        listed = {name: f"{base.rstrip('/')}/{quote(name)}" for name in hashes}
    check_names(listed, f"url {base}")
    return {name: (url, Expected(sha256=hashes[name])) for name, url in listed.items()}


def place(source: Path, target: Path, link: bool) -> None:
    """Put a file at `target`, as a hard link when asked for and possible, else as a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if link:
        try:
            os.link(source, target)
            return
        except OSError:
            LOG.info("%s: cannot be linked from here: it is copied", source)
    shutil.copyfile(source, target)


def _from_web(
    source: dict[str, Any],
    folder: Path,
    urls: dict[str, str],
    expected: dict[str, Expected],
    headers: dict[str, str],
    licence_on_hub: str | None,
    check: CheckFolder | None,
    patience: Patience,
    cached: Mapping[str, Path] | None = None,
) -> None:
    for name in urls:
        if expected[name].size == 0:
            raise UserError(f"{urls[name]}: an empty file: name other files, or another source")
    with (
        _partial_folder(folder, source) as partial,
        httpx2.Client(follow_redirects=True, timeout=patience.timeout_s) as client,
    ):
        here = _from_cache(cached or {}, partial, expected)
        missing = {name: url for name, url in urls.items() if name not in here}
        fetch_all(client, missing, partial, expected, patience, headers)
        with atomic_directory(folder) as new:
            for name in urls:
                # Linked, not moved: a kill here must not cost what has arrived.
                place(partial / name, new / name, link=True)
            if check:
                check(new, list(urls))
            write_manifest(new, source, urls, source.get("revision"), licence_on_hub)


def _from_cache(
    cached: Mapping[str, Path], partial: Path, expected: Mapping[str, Expected]
) -> set[str]:
    """Link the files of the user's cache that are whole into `partial`; returns their names."""
    here = set()
    for name, path in cached.items():
        if complaint := complaint_about(path, expected[name]):
            LOG.warning("%s: %s: it is downloaded instead", path, complaint)
            continue
        (partial / name).unlink(missing_ok=True)
        place(path.resolve(), partial / name, link=True)
        here.add(name)
    if here:
        LOG.info("%d files are in the cache of the hub and are not downloaded", len(here))
    return here


def _from_path(
    source: dict[str, Any], folder: Path, choose: ChooseFiles, check: CheckFolder | None
) -> None:
    path = Path(source["path"]).expanduser()
    if path.is_file():
        files = {path.name: path}
    elif path.is_dir():
        found = (p for p in path.rglob("*") if p.is_file() or p.is_symlink())
        files = {p.relative_to(path).as_posix(): p for p in found}
    else:
        raise UserError(f"path {path}: no such file or folder: correct it, or put the file there")
    names = check_names(choose(list(files)), f"path {path}")
    with atomic_directory(folder) as new:
        for name in names:
            if not files[name].is_file():
                raise UserError(f"path {files[name]}: a broken link: correct or remove it")
            # Weights are too large to hold twice; anything smaller is safer as a copy.
            place(files[name].resolve(), new / name, link=name.endswith(".safetensors"))
        _check_sha256(source, path, new, names)
        if check:
            check(new, names)
        write_manifest(new, source, names)


def _check_sha256(source: dict[str, Any], path: Path, new: Path, names: list[str]) -> None:
    wanted = source.get("sha256")
    if wanted is None:
        return
    found = sha256_of_file(new / names[0]) if path.is_file() else sha256_of_folder(new)
    if found != wanted:
        raise UserError(
            f"path {path}: SHA-256 is {found}, the catalogue says {wanted}: put the right file "
            "there, or correct the catalogue"
        )


@contextmanager
def _partial_folder(folder: Path, source: dict[str, Any]) -> Iterator[Path]:
    """Yield the hidden folder where the files of this source gather; remove it when all is well.

    One process per target: a second one, on this machine or another, is refused.
    """
    own = folder.parent / ".partial" / folder.name
    identity = {key: value for key, value in source.items() if key not in ("files", "licence")}
    partial = own / hash_of(identity, 16)
    partial.mkdir(parents=True, exist_ok=True)
    lease = Lease(own / "download.lease")
    try:
        lease.acquire()
    except TemporaryError as error:
        raise TemporaryError(f"download of {folder}: {error}") from error
    try:
        yield partial
        for old in own.iterdir():
            if old.is_dir():
                shutil.rmtree(old)
    finally:
        lease.release()
    own.rmdir()
