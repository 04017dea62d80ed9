"""Fixtures that several folders of tests share."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".cache"


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of outside data files (see tests/README.md); skips where there is none."""
    folder = Path(os.environ.get("EM_TIERS_GOLDEN", ROOT.parent / "shared" / "data"))
    if not (folder / "SOURCES.md").exists():
        pytest.skip(f"no outside data at {folder}; name the folder in EM_TIERS_GOLDEN")
    return folder


@pytest.fixture(scope="session")
def embedded_model() -> Path:
    """The embedded model as a transformers folder, converted once for all test sessions."""
    named = os.environ.get("EM_TIERS_EMBEDDED_MODEL")
    folder = Path(named) if named else CACHE / "embedded-model"
    if not (folder / "model.safetensors").exists():
        code = (
            "import sys; sys.path.insert(0, 'scripts'); import yaml; from pathlib import Path\n"
            "from em_tiers.logs import run_script\nfrom download_model import main\n"
            "source = yaml.safe_load(open('config/models.yaml'))['smollm2-135m']['source']\n"
            f"run_script(main, None, source=source, folder=Path({str(folder)!r}))"
        )
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    return folder
