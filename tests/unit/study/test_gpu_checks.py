"""What `check_gpu` compares nodes with, for the study that is shipped."""

import pytest

from configurations import demo, load
from em_tiers.study.gpu_checks import (
    checked_places,
    disk_gb,
    gpu_needs,
    gpus_of_check,
    partition_resource,
)

SITE = {"EM_TIERS_GPU_PARTITIONS": "gpu=4,small=1"}


@pytest.fixture
def study(checkout):
    """The demo's study on GPUs, with a judge of 32B on two of them."""
    config = demo() | {"engine": "gpu", "judges": ["qwen2-5-32b"]}
    return load(checkout, config)


def test_each_kind_of_gpu_job_is_compared_once(study):
    needs = {need["what"]: need["gpus"] for need in gpu_needs(study)}
    assert needs == {
        "sample smollm2-135m": 1,
        "finetune smollm2-135m, demo-lora": 1,
        "judge qwen2-5-32b": 2,
    }


def test_a_study_on_the_cpu_needs_no_gpu(checkout):
    assert gpu_needs(load(checkout, demo())) == []


def test_a_check_asks_for_the_gpus_of_the_largest_job(study):
    assert gpus_of_check(study, "gpu", SITE) == 2
    assert gpus_of_check(study, "small", SITE) == 1
    assert gpus_of_check(study, "here", {}) == 2


def test_places_are_the_sites_partitions_or_this_machine():
    assert checked_places(SITE) == ["gpu", "small"]
    assert list(partition_resource(SITE)) == ["slurm_partition"]
    assert checked_places({}) == ["here"]
    assert partition_resource({}) == {}


def test_free_space_is_that_of_the_models_twice(study):
    assert disk_gb(study) == pytest.approx(20 + 4 * (0.135 + 32.8))
