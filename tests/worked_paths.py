"""The worked paths of the documentation: the files and the commands of a section, as printed."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from workdir import ROOT, copy_workflow

FILE = re.compile(r'^```\w+ title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
SHELL = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def worked_paths() -> dict[str, str]:
    """Text of each section "My ..." of docs/own-*.md, by its title."""
    sections: dict[str, str] = {}
    for page in sorted((ROOT / "docs").glob("own-*.md")):
        parts = re.split(r"^## (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
        sections |= dict(zip(parts[1::2], parts[2::2], strict=True))
    return {title: text for title, text in sections.items() if title.startswith("My ")}


def commands(text: str) -> list[str]:
    """The lines of a section's shell blocks."""
    lines = "".join(SHELL.findall(text)).splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def write_files(text: str, folder: Path, change: Callable[[str], str] = str) -> Path:
    """A checkout of the workflow with the files that a section prints; returns it."""
    copy_workflow(folder)
    for name, content in FILE.findall(text):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(change(content), encoding="utf-8")
    return folder


def run_line(line: str, folder: Path, **environment: str) -> subprocess.CompletedProcess:
    """Run a line in a checkout, with this environment's programs."""
    paths = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env={**os.environ, "PATH": paths, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done
