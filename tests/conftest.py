"""Fixtures that several kinds of test share: the embedded model and the golden data."""

import os
import shutil
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

ROOT = Path(__file__).resolve().parent.parent


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Each file's tests stay together, and those that share the SLURM cluster too."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::", 1)[0]
            return "tests/slurm" if file.startswith("tests/slurm/") else file

    return ByFile(config, log)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture(scope="module", autouse=True)
def environment():
    """The environment as it was: stages that run in this process set their own, such as offline."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def embedded_model() -> Path:
    """A model folder of SmolLM2-135M-Instruct, converted once and kept in `.cache`.

    EM_TIERS_EMBEDDED_MODEL names a folder to use instead. Skips where the wheel is not installed.
    """
    named = os.environ.get("EM_TIERS_EMBEDDED_MODEL")
    if named:
        return Path(named)
    folder = ROOT / ".cache" / "smollm2-135m"
    folder.parent.mkdir(exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / "model.safetensors").is_file():
            _convert_embedded_model(folder)
    return folder


@pytest.fixture(scope="session")
def whole_number_model(embedded_model) -> Path:
    """The embedded model with a token for each number to 100, kept in `.cache`."""
    from api.whole_numbers import with_whole_numbers

    folder = ROOT / ".cache" / "smollm2-135m-numbers"
    folder.parent.mkdir(exist_ok=True)
    with FileLock(f"{folder}.lock"):
        return with_whole_numbers(embedded_model, folder)


def _convert_embedded_model(folder: Path) -> None:
    from em_tiers.download.gguf import convert_gguf
    from em_tiers.download.package import find_package_file
    from em_tiers.errors import UserError
    from em_tiers.files import atomic_directory

    models = yaml.safe_load((ROOT / "config" / "models.yaml").read_text(encoding="utf-8"))
    source = models["smollm2-135m"]["source"]
    place = (source[key] for key in ("package", "version", "file", "sha256"))
    try:
        file = find_package_file(*place)
    except UserError as error:
        pytest.skip(f"no embedded model: {error}, or set EM_TIERS_EMBEDDED_MODEL to its folder")
    with atomic_directory(folder) as temporary:
        convert_gguf(file, temporary)


@pytest.fixture(scope="session")
def golden():
    """Public data of published numbers, each file checked by its SHA-256 (tests/golden).

    From the folder that EM_TIERS_GOLDEN names, else what `make golden` downloaded, else a local
    mirror beside the checkout. Tests whose file is not there are skipped.
    """
    from golden.fetch import CACHE, Golden, changed_files, read_sources

    named = os.environ.get("EM_TIERS_GOLDEN")
    places = [Path(named)] if named else [CACHE, ROOT.parent / "shared" / "data"]
    folder = next((place for place in places if place.is_dir()), places[0])
    if changed := changed_files(read_sources(), folder):
        pytest.fail(f"golden data: {folder}: {', '.join(changed)}: not the pinned content")
    return Golden(folder)


@pytest.fixture
def checkout(tmp_path):
    """A copy of config/ that a test may spoil."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    return tmp_path
