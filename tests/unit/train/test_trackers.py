"""Trackers: off by default, a name and a folder for each run, no other training."""

from importlib.util import find_spec
from inspect import signature

import pytest
import yaml
from trl import SFTConfig

from configurations import catalogue, demo, load, put
from em_tiers.errors import UserError
from em_tiers.study.entries import recipe
from em_tiers.train.checkpoints import hash_of_recipe
from em_tiers.train.trackers import PACKAGES, prepare_tracker, tracker_options

FINE_TUNE = "smollm2-135m.storyteller.demo-lora.s0"


def test_without_a_tracker_nothing_is_set(tmp_path):
    prepare_tracker("none", tmp_path / "checkpoints" / FINE_TUNE)
    assert list(tmp_path.iterdir()) == []
    assert tracker_options("none", tmp_path) == {"report_to": "none"}


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_that_is_not_installed_is_named_before_anything_is_loaded(name, tmp_path):
    if find_spec(PACKAGES[name]):
        pytest.skip(f"{name} is installed")
    with pytest.raises(UserError, match=f"report_to: {name} is not installed: pip install {name}"):
        prepare_tracker(name, tmp_path / "checkpoints" / FINE_TUNE)


def test_the_installed_trainer_knows_the_options(tmp_path):
    options = tracker_options("trackio", tmp_path / "study" / "checkpoints" / FINE_TUNE)
    assert options == {"report_to": "trackio", "run_name": FINE_TUNE, "project": "study"}
    assert options.keys() <= signature(SFTConfig).parameters.keys()


def test_a_training_that_is_followed_is_the_same_training(checkout):
    followed = put(catalogue("recipes"), "demo-lora.report_to", "trackio")
    plain = recipe(load(checkout, demo()), "demo-lora", FINE_TUNE)
    (checkout / "config" / "recipes.yaml").write_text(yaml.safe_dump(followed))
    shown = recipe(load(checkout, demo()), "demo-lora", FINE_TUNE)
    assert shown == plain
    assert hash_of_recipe(plain | {"report_to": "trackio"}) == hash_of_recipe(plain)
