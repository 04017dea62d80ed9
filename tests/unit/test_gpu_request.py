"""A rule names a number of GPUs; the site's words for it reach the scheduler."""

import pytest

from em_tiers.errors import ConfigError
from em_tiers.gpu_request import get_gpu_request


def test_a_number_is_asked_for_as_gpu():
    assert get_gpu_request(2, {}) == {"gpu": 2}


def test_a_model_is_added():
    assert get_gpu_request(1, {"EM_TIERS_GPU_MODEL": "h100"}) == {"gpu": 1, "gpu_model": "h100"}


def test_gres_sites_get_one_string():
    assert get_gpu_request(2, {"EM_TIERS_GPU_WORD": "gres"}) == {"gres": "gpu:2"}
    site = {"EM_TIERS_GPU_WORD": "gres", "EM_TIERS_GPU_MODEL": "a100"}
    assert get_gpu_request(1, site) == {"gres": "gpu:a100:1"}


def test_a_function_of_the_wildcards_stays_one():
    site = {"EM_TIERS_GPU_WORD": "gres"}
    request = get_gpu_request(lambda wildcards: wildcards["gpus"], site)
    assert request["gres"]({"gpus": 4}) == "gpu:4"
    assert get_gpu_request(len, {}) == {"gpu": len}


def test_an_unknown_word_is_named():
    with pytest.raises(ConfigError, match="'gpus' in the site file: use gpu or gres"):
        get_gpu_request(1, {"EM_TIERS_GPU_WORD": "gpus"})
