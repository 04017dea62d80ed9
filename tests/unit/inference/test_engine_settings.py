"""Engine settings as vLLM arguments, and what an adapter folder is taken for."""

import json
from pathlib import Path

import pytest

from em_tiers.errors import UserError
from em_tiers.inference.adapter_folder import is_lora, keeps_embeddings, rank_of
from em_tiers.inference.engine_settings import (
    complete_settings,
    engine_fingerprint,
    environment_of,
    vllm_arguments,
)

CPU = {"device": "cpu", "adapters": "replace", "max_model_len": 512, "kv_cache_gib": 1.5}
CUDA = {"device": "cuda", "adapters": "lora", "tensor_parallel": 2, "max_loras": 8}


def test_cpu_arguments():
    arguments = vllm_arguments(CPU, "/m/merged", "/m/base")
    assert arguments["model"] == "/m/merged"
    assert arguments["tokenizer"] == arguments["generation_config"] == "/m/base"
    assert arguments["kv_cache_memory_bytes"] == 1610612736  # 1.5 * 1024^3
    assert arguments["distributed_executor_backend"] == "uni"
    assert arguments["enforce_eager"] is True
    assert arguments["max_num_seqs"] == 64
    assert not {"tensor_parallel_size", "gpu_memory_utilization", "enable_lora"} & set(arguments)


def test_weights_are_quantised_where_the_entry_says_so():
    assert "quantization" not in vllm_arguments(CUDA, "/m", "/m")
    eight = CUDA | {"quantization": "fp8"}
    assert vllm_arguments(eight, "/m", "/m")["quantization"] == "fp8"
    assert engine_fingerprint(eight | {"dtype": "bfloat16"}) != engine_fingerprint(
        CUDA | {"dtype": "bfloat16"}
    )


def test_cuda_arguments_with_adapters():
    arguments = vllm_arguments(CUDA, "/m", "/m", lora_ranks=[4, 16])
    assert arguments["tensor_parallel_size"] == 2
    assert arguments["gpu_memory_utilization"] == 0.9
    assert arguments["enable_lora"] is True
    assert (arguments["max_loras"], arguments["max_cpu_loras"]) == (8, 8)
    assert arguments["max_lora_rank"] == 16
    assert not {"kv_cache_memory_bytes", "distributed_executor_backend"} & set(arguments)


def test_no_code_from_model_folders_and_safetensors_only():
    for settings in (CPU, CUDA):
        arguments = vllm_arguments(settings, "/m", "/m")
        assert arguments["trust_remote_code"] is False
        assert arguments["load_format"] == "safetensors"


@pytest.mark.parametrize(
    ("asked", "ranks", "allocated"), [(None, [12], 16), (64, [16], 64), (None, [300], 320)]
)
def test_lora_rank_is_one_that_vllm_allocates(asked, ranks, allocated):
    settings = CUDA | {"max_lora_rank": asked}
    assert vllm_arguments(settings, "/m", "/m", ranks)["max_lora_rank"] == allocated


@pytest.mark.parametrize(("asked", "rank"), [(16, 32), (None, 513)])
def test_adapter_of_a_higher_rank_is_refused(asked, rank):
    with pytest.raises(UserError, match=f"an adapter has rank {rank}"):
        vllm_arguments(CUDA | {"max_lora_rank": asked}, "/m", "/m", [rank])


def test_adapters_stay_in_memory_up_to_a_limit():
    assert vllm_arguments(CUDA, "/m", "/m", [16] * 20)["max_cpu_loras"] == 20
    assert vllm_arguments(CUDA, "/m", "/m", [16] * 500)["max_cpu_loras"] == 64


def test_environment_keeps_compute_nodes_offline():
    for settings in (CPU, CUDA):
        environment = environment_of(settings)
        assert environment["HF_HUB_OFFLINE"] == environment["VLLM_NO_USAGE_STATS"] == "1"
        assert environment["VLLM_WORKER_MULTIPROC_METHOD"] == "spawn"
    assert environment_of(CPU)["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
    assert "VLLM_ENABLE_V1_MULTIPROCESSING" not in environment_of(CUDA)


def test_only_an_engine_that_is_not_eager_compiles_on_a_cpu():
    assert environment_of(CPU)["TORCH_COMPILE_DISABLE"] == "1"
    assert environment_of(CPU | {"enforce_eager": False})["TORCH_COMPILE_DISABLE"] == "0"
    assert "TORCH_COMPILE_DISABLE" not in environment_of(CUDA | {"enforce_eager": True})


def test_null_takes_the_default_of_the_device():
    assert complete_settings({"device": "cpu", "adapters": None})["adapters"] == "replace"
    assert complete_settings({"device": "cuda", "adapters": None})["adapters"] == "lora"


def test_blocks_of_the_prefix_cache_are_small_on_a_cpu():
    """A judge asks many prefixes that differ in their last token: each computes a part block."""
    assert vllm_arguments(CPU, "/m", "/m")["block_size"] == 32
    assert vllm_arguments(CPU | {"block_size": 64}, "/m", "/m")["block_size"] == 64
    assert vllm_arguments(CUDA, "/m", "/m")["block_size"] is None  # the engine's own choice


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "tpu"}, "device: 'tpu'"),
        ({"device": "cpu", "adapters": "blend"}, "adapters: 'blend'"),
        ({"device": "cpu", "max_seqs": 4}, "max_seqs"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(UserError, match=message):
        complete_settings(settings)


def test_fingerprint_tells_what_may_change_an_answer():
    prints = {
        engine_fingerprint(s)
        for s in (CPU, CPU | {"adapters": "merge"}, CPU | {"dtype": "float32"}, CUDA)
    }
    assert len(prints) == 4
    assert engine_fingerprint(CPU) == engine_fingerprint(CPU | {"max_num_seqs": 8})


def adapter(folder: Path, **config: object) -> Path:
    folder.mkdir(parents=True)
    content = {"r": 16, "target_modules": ["q_proj", "down_proj"]} | config
    (folder / "adapter_config.json").write_text(json.dumps(content))
    return folder


def test_kind_of_an_adapter_folder(tmp_path):
    lora = adapter(tmp_path / "lora", rank_pattern={"q_proj": 32})
    assert is_lora(lora)
    assert rank_of(lora) == 32
    assert rank_of(adapter(tmp_path / "plain")) == 16
    full = tmp_path / "full"
    full.mkdir()
    with pytest.raises(UserError, match="holds neither"):
        is_lora(full)
    (full / "config.json").write_text("{}")
    assert not is_lora(full)
    assert not keeps_embeddings(full)


@pytest.mark.parametrize(
    ("config", "kept"),
    [
        ({}, True),
        ({"target_modules": "all-linear"}, True),
        ({"target_modules": ["q_proj", "lm_head"]}, False),
        ({"target_modules": ["embed_tokens"]}, False),
        ({"modules_to_save": ["lm_head"]}, False),
        ({"trainable_token_indices": [3]}, False),
    ],
)
def test_adapters_that_touch_the_embeddings(tmp_path, config, kept):
    assert keeps_embeddings(adapter(tmp_path / "a", **config)) is kept
