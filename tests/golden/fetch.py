"""Golden data: public files that validity tests reproduce published numbers from.

    python tests/golden/fetch.py [FOLDER]

Downloads the files of sources.yaml with the project's own downloader and checks each SHA-256.
"""

import shutil
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from em_tiers.download.http import PATIENT, Patience  # noqa: E402
from em_tiers.download.sources import download  # noqa: E402
from em_tiers.errors import UserError  # noqa: E402
from em_tiers.files import sha256_of_file  # noqa: E402

CACHE = ROOT / ".cache" / "golden"


class Golden:
    """A folder of golden files. A test that needs a file which is not there is skipped."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __truediv__(self, name: str) -> Path:
        (path,) = self.glob(name)
        return path

    def glob(self, pattern: str) -> list[Path]:
        """The files that fit a pattern; skips the test where there is none."""
        found = sorted(self.folder.glob(pattern))
        if not found:
            pytest.skip(f"no golden data: {self.folder / pattern}: run make golden")
        return found


def read_sources() -> dict[str, dict]:
    """File name -> {what, url, sha256}; the url is null where no public address is known."""
    return yaml.safe_load(Path(__file__).with_name("sources.yaml").read_text(encoding="utf-8"))


def fetch(sources: dict[str, dict], folder: Path, patience: Patience = PATIENT) -> list[str]:
    """Download what is missing into `folder`; return the names that have no address.

    Raises:
        UserError: a server fails, or sends something else than the pinned content.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, entry in sources.items():
        if entry["url"] is None or is_whole(folder / name, entry["sha256"]):
            continue
        arrived = folder / ".downloads" / name
        source = {"type": "url", "url": entry["url"], "sha256": entry["sha256"]}
        download(source, arrived, "dataset", list, patience=patience)
        (file,) = (path for path in arrived.iterdir() if path.name != "manifest.json")
        file.replace(folder / name)
    shutil.rmtree(folder / ".downloads", ignore_errors=True)
    return [name for name, entry in sources.items() if not (folder / name).is_file()]


def is_whole(path: Path, sha256: str) -> bool:
    """Whether a file is there with the pinned content."""
    return path.is_file() and sha256_of_file(path) == sha256


def changed_files(sources: dict[str, dict], folder: Path) -> list[str]:
    """Files of `folder` whose content is not the pinned one."""
    there = {name: entry for name, entry in sources.items() if (folder / name).is_file()}
    return [name for name, entry in there.items() if not is_whole(folder / name, entry["sha256"])]


def main(folder: Path = CACHE) -> None:
    """Download the golden data and say what is missing."""
    missing = fetch(read_sources(), folder)
    print(f"golden data: {folder}")
    for name in missing:
        print(f"  {name}: no public address is known: add a copy to run its tests")


if __name__ == "__main__":
    try:
        main(*map(Path, sys.argv[1:2]))
    except UserError as error:
        sys.exit(f"golden data: {error}")
