"""Caches of a job are beside its results, or where the user wants them."""

from pathlib import Path

from em_tiers.caches import FOLDER, use_own_caches

NAMES = {
    "VLLM_CACHE_ROOT",
    "TRITON_CACHE_DIR",
    "TORCHINDUCTOR_CACHE_DIR",
    "FLASHINFER_WORKSPACE_BASE",
    "CUDA_CACHE_PATH",
}


def test_caches_go_beside_the_results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    environ = {"HOME": "/home/me"}
    folder = use_own_caches(environ)
    assert folder == tmp_path / FOLDER
    assert environ["XDG_CACHE_HOME"] == str(folder)
    assert {environ[name] for name in NAMES} == {
        str(folder / name) for name in ("vllm", "triton", "torchinductor", "flashinfer", "cuda")
    }


def test_a_folder_of_the_user_serves_all():
    environ = {"XDG_CACHE_HOME": "/local/scratch", "TRITON_CACHE_DIR": "/ram/triton"}
    assert use_own_caches(environ) == Path("/local/scratch")
    assert environ["VLLM_CACHE_ROOT"] == "/local/scratch/vllm"
    assert environ["TRITON_CACHE_DIR"] == "/ram/triton"


def test_an_empty_variable_counts_as_unset():
    environ = {"XDG_CACHE_HOME": "", "TRITON_CACHE_DIR": ""}
    folder = use_own_caches(environ)
    assert environ["TRITON_CACHE_DIR"] == str(folder / "triton")


def test_a_second_call_changes_nothing():
    environ: dict[str, str] = {}
    use_own_caches(environ)
    before = dict(environ)
    use_own_caches(environ)
    assert environ == before
