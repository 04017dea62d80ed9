"""Which GPUs each of several engines gets."""

import pytest

from em_tiers.errors import UserError
from em_tiers.gpu_memory import gpus_of
from em_tiers.gpus import VISIBLE
from em_tiers.inference.engine_settings import complete_settings
from em_tiers.inference.replicas import gpu_shares

PAIRS = complete_settings({"device": "cuda", "tensor_parallel": 2, "data_parallel": 3})


def test_each_engine_has_gpus_of_its_own(monkeypatch):
    assert gpus_of(PAIRS) == 6
    monkeypatch.setenv(VISIBLE, "GPU-a,GPU-b,2,3,4,5")
    assert gpu_shares(PAIRS) == [["GPU-a", "GPU-b"], ["2", "3"], ["4", "5"]]


def test_too_few_gpus_are_named(monkeypatch):
    monkeypatch.setenv(VISIBLE, "0,1,2,3")
    with pytest.raises(UserError, match="3 engines of 2 GPUs need 6, but this job sees 4"):
        gpu_shares(PAIRS)


def test_no_gpus_on_a_cpu():
    assert gpu_shares(complete_settings({"device": "cpu", "data_parallel": 2})) == [[], []]
