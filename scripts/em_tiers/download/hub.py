"""The model hub: what a repository holds at a pinned commit, through the hub's own client.

`HF_ENDPOINT` names another hub or a mirror; `HF_TOKEN` opens gated repositories, and so does
`HF_TOKEN_PATH`, the file of a stored login. They come from the environment only: a login that is
stored on the machine is used only where HF_TOKEN_PATH asks for it.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from em_tiers.download.http import Expected, Patience, check_status, retried, translated
from em_tiers.download.manifests import check_names
from em_tiers.errors import TemporaryError, UserError


@dataclass(frozen=True)
class Listing:
    """The files of a repository at one commit, and the licence that its card names."""

    files: dict[str, Expected]
    licence: str | None


def list_files(repo: str, revision: str, repo_type: str, patience: Patience) -> Listing:
    """List a repository.

    Args:
        repo: `owner/name`.
        revision: a full commit, 40 hex digits.
        repo_type: `model` or `dataset`.

    Raises:
        UserError: the hub does not give the listing, or gives one of another commit.
    """
    what = f"hub {repo_type} {repo} at {revision}"
    info = retried(lambda: _info(repo, revision, repo_type, what, patience), what, patience)
    if info.sha != revision:
        raise UserError(
            f"{what}: the hub answered with commit {info.sha}: write the full commit of 40 hex "
            'digits as revision (on the repository\'s page: "Files and versions", "History")'
        )
    siblings = {sibling.rfilename: sibling for sibling in info.siblings or []}
    return Listing({name: _expected(s, what) for name, s in siblings.items()}, _licence(info))


def latest_commit(repo: str, repo_type: str, patience: Patience) -> str:
    """The commit that a repository's main branch has now.

    Raises:
        UserError: the hub does not give the repository.
    """
    what = f"hub {repo_type} {repo}"
    info = retried(lambda: _info(repo, "main", repo_type, what, patience), what, patience)
    return info.sha


def file_url(repo: str, revision: str, repo_type: str, name: str) -> str:
    """The address of one file."""
    from huggingface_hub import hf_hub_url

    (name,) = check_names([name], f"hub {repo_type} {repo}")
    return hf_hub_url(repo, name, repo_type=repo_type, revision=revision, endpoint=endpoint())


def cached_files(
    repo: str, revision: str, repo_type: str, listed: Mapping[str, Expected]
) -> Iterator[tuple[str, Path]]:
    """Yield (name, path) of the files that the user's own cache of the hub has, at any commit.

    The cache is where `HF_HOME` or `HF_HUB_CACHE` says, as for every program that uses the hub.
    """
    from huggingface_hub import constants, try_to_load_from_cache
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type=repo_type)
    for name, expected in listed.items():
        # Large files are called by their SHA-256 there, others by the id of their git blob.
        blob = folder / "blobs" / str(expected.sha256 or expected.git_sha1)
        if blob.is_file():
            yield name, blob
            continue
        found = try_to_load_from_cache(repo, name, revision=revision, repo_type=repo_type)
        if isinstance(found, str) and Path(found).is_file():
            yield name, Path(found)


def request_headers() -> dict[str, str]:
    """Headers for file requests: the token, when the environment holds one."""
    token = _token()
    return {"Authorization": f"Bearer {token}"} if token else {}


def _info(repo: str, revision: str, repo_type: str, what: str, patience: Patience) -> Any:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    api = HfApi(endpoint=endpoint(), token=_token(), library_name="em-tiers")
    try:
        with translated(what):
            return api.repo_info(
                repo,
                revision=revision,
                repo_type=repo_type,
                files_metadata=True,
                timeout=patience.timeout_s,
            )
    except OfflineModeIsEnabled as error:
        raise UserError(
            f"{what}: HF_HUB_OFFLINE is set: unset it where downloads run (the login node), or "
            "give a path in the catalogue entry"
        ) from error
    except HFValidationError as error:
        raise UserError(f"{what}: not an id that a hub can have: write OWNER/NAME") from error
    except HfHubHTTPError as error:
        raise _explained(error, repo, repo_type, what) from error
    except ValueError as error:
        raise TemporaryError(f"the answer is no JSON ({error})") from error


def _explained(error: Any, repo: str, repo_type: str, what: str) -> Exception:
    from huggingface_hub import errors

    folder = "datasets/" if repo_type == "dataset" else ""
    page = f"{endpoint() or 'https://huggingface.co'}/{folder}{repo}"
    if isinstance(error, errors.GatedRepoError):
        return UserError(f"{what}: gated: accept its terms on {page} and set HF_TOKEN")
    if isinstance(error, errors.RevisionNotFoundError):
        return UserError(f"{what}: no such revision: copy a full commit from {page}/commits/main")
    if isinstance(error, errors.RepositoryNotFoundError):
        return UserError(
            f"{what}: no such repository, or a private one: correct the id, or set HF_TOKEN"
        )
    try:
        check_status(error.response, what)
    except UserError as explained:
        return explained
    return UserError(f"{what}: {error}")


def _expected(sibling: Any, what: str) -> Expected:
    if sibling.lfs is not None:
        return Expected(sha256=sibling.lfs.sha256, size=sibling.lfs.size)
    if sibling.blob_id is None or sibling.size is None:
        raise UserError(
            f"{what}: {sibling.rfilename}: the listing holds no checksum: use a hub or mirror that "
            "states them (see HF_ENDPOINT)"
        )
    return Expected(git_sha1=sibling.blob_id, size=sibling.size)


def _licence(info: Any) -> str | None:
    licence = info.card_data.get("license") if info.card_data else None
    return ", ".join(licence) if isinstance(licence, list) else licence


def endpoint() -> str | None:
    """The address of the hub where HF_ENDPOINT names another one."""
    return (os.environ.get("HF_ENDPOINT") or "").rstrip("/") or None


def _token() -> str | bool:
    """The token, or False: with None the client would look for one stored on the machine.

    Raises:
        UserError: HF_TOKEN_PATH names a file that cannot be read.
    """
    if token := os.environ.get("HF_TOKEN"):
        return token
    stored = os.environ.get("HF_TOKEN_PATH")
    if not stored:
        return False
    try:
        return Path(stored).expanduser().read_text(encoding="utf-8").strip() or False
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"HF_TOKEN_PATH: {stored} cannot be read ({error}): log in with hf auth login, or "
            "unset it"
        ) from error
