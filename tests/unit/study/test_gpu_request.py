"""A rule names a number of GPUs; the site's words for it reach the scheduler."""

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, ResourceSettings

from em_tiers.errors import ConfigError
from em_tiers.inference.engine_settings import vllm_arguments
from em_tiers.study import entries
from em_tiers.study.gpu_request import get_gpu_request

ROOT = Path(__file__).parents[3]


def test_a_number_is_asked_for_as_gpu():
    assert get_gpu_request(2, {}) == {"gpu": 2, "nodes": 1}


def test_a_model_is_added():
    request = get_gpu_request(1, {"EM_TIERS_GPU_MODEL": "h100"})
    assert request == {"gpu": 1, "gpu_model": "h100", "nodes": 1}


def test_gres_sites_get_one_string():
    request = get_gpu_request(2, {"EM_TIERS_GPU_WORD": "gres"})
    assert request == {"gres": "gpu:2", "nodes": 1}
    site = {"EM_TIERS_GPU_WORD": "gres", "EM_TIERS_GPU_MODEL": "a100"}
    assert get_gpu_request(1, site) == {"gres": "gpu:a100:1", "nodes": 1}


def test_a_function_of_the_wildcards_stays_one():
    site = {"EM_TIERS_GPU_WORD": "gres"}
    request = get_gpu_request(lambda wildcards: wildcards["gpus"], site)
    assert request["gres"]({"gpus": 4}) == "gpu:4"
    assert get_gpu_request(len, {})["gpu"] is len


def test_an_unknown_word_is_named():
    with pytest.raises(ConfigError, match=r"'gpus' in the site file .*: use gpu or gres"):
        get_gpu_request(1, {"EM_TIERS_GPU_WORD": "gpus"})


@contextmanager
def parsed_demo(**changes):
    """The workflow of the demo with changes of its configuration, parsed but not planned."""
    settings = ConfigSettings(config=changes, configfiles=[ROOT / "config" / "demo.yaml"])
    with SnakemakeApi() as api:
        yield api.workflow(
            resource_settings=ResourceSettings(cores=1),
            config_settings=settings,
            snakefile=ROOT / "Snakefile",
        )._workflow


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """The demo's workflow on a site with one model of GPU."""
    monkeypatch.setenv("EM_TIERS_GPU_WORD", "gres")
    monkeypatch.setenv("EM_TIERS_GPU_MODEL", "a100")
    monkeypatch.chdir(tmp_path)
    with parsed_demo() as workflow:
        yield workflow


@dataclass
class Wildcards:
    base: str = "smollm2-135m"
    recipe: str = "demo-lora"
    batch: str = "smollm2-135m.storyteller.0"
    judge: str = "smollm2"


def test_every_gpu_rule_of_the_workflow_asks_in_the_words_of_the_site(demo):
    asked = {rule.name: rule.resources for rule in demo.rules if "gres" in rule.resources}
    assert set(asked) == {"finetune", "sample", "judge_vllm", "check_gpu"}
    del asked["check_gpu"]  # it asks for those of each partition, see test_gpu_checks
    for request in asked.values():
        assert "gpu" not in request
        assert request["nodes"].raw == 1
        assert request["gres"].evaluate(Wildcards()).value == "gpu:a100:1"


def test_gpus_and_memory_of_a_training_follow_its_recipe(demo):
    """0.135 billion parameters: 540 MB per copy beside 8000 MB; a retry asks for more."""
    recipes = demo.globals["STUDY"].recipes
    recipes["ddp"] = recipes["demo-lora"] | {"gpus": 3}
    request = demo.get_rule("finetune").resources

    def ask(recipe, attempt):
        values = [request[name].evaluate(Wildcards(recipe=recipe), attempt=attempt).value
                  for name in ("gres", "mem_mb")]  # fmt: skip
        return tuple(values)

    assert ask("demo-lora", 1) == ("gpu:a100:1", 8540)
    assert ask("demo-lora", 3) == ("gpu:a100:1", 3 * 8000 + 1.5 * 540)
    assert ask("ddp", 1) == ("gpu:a100:3", 9620)
    assert ask("full-4gpu", 1) == ("gpu:a100:4", 10160)


def test_sampling_and_judging_ask_for_the_gpus_that_their_engine_takes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with parsed_demo(engine="gpu-2", judges=["qwen2-5-32b"]) as workflow:
        asked = {
            name: workflow.get_rule(name).resources["gpu"].evaluate(Wildcards(judge="qwen2-5-32b"))
            for name in ("sample", "judge_vllm")
        }
        engine = entries.engine(workflow.globals["STUDY"])
    assert vllm_arguments(engine, "model", "model")["tensor_parallel_size"] == 2
    assert {name: resource.value for name, resource in asked.items()} == {
        "sample": 2,
        "judge_vllm": 2,
    }
