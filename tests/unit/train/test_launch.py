"""Where a training runs: never silently on the CPU of a node whose GPUs cannot be used."""

import pytest

from em_tiers.errors import UserError
from em_tiers.train.launch import choose_device

pytestmark = pytest.mark.heavy
RECIPE = {"gpus": 1, "strategy": "ddp"}


@pytest.fixture
def torch():
    torch = pytest.importorskip("torch", reason="no torch: make setup")
    if torch.cuda.device_count():
        pytest.skip("this machine has a GPU")
    return torch


def test_torch_of_cuda_without_a_gpu_is_an_error(torch, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with pytest.raises(UserError, match=r"no GPU is visible to torch, .* CUDA 13\.0: look at nvid"):
        choose_device("auto", RECIPE)
    assert choose_device("cpu", RECIPE) == "cpu"


def test_torch_of_the_cpu_trains_there(torch):
    assert choose_device("auto", RECIPE) == "cpu"


def test_fewer_gpus_than_the_recipe_asks_for_are_an_error(torch):
    with pytest.raises(UserError, match=r"recipe: gpus: 1: 0 visible: ask the scheduler"):
        choose_device("cuda", RECIPE)
