"""Lengths, steps and module names, counted by hand."""

import json

import pytest

from em_tiers.inference.prompt_lengths import Lengths, context_problems
from em_tiers.inference.template_checks import Measured
from em_tiers.train.arguments import total_steps
from em_tiers.train.row_checks import module_problems, training_problems

RECIPE = {
    "method": "lora",
    "target_modules": ["q_proj", "down_proj"],
    "max_length": 100,
    "max_truncated_share": 0.2,
    "batch_size": 8,
    "micro_batch_size": 2,
    "gradient_checkpointing": "auto",
    "gpus": 1,
    "epochs": 1,
    "max_steps": None,
    "max_tokens": None,
    "warmup_steps": 1,
}


def lengths(*tokens: int, prompt: int = 10) -> Lengths:
    return Lengths.of(Measured(number, min(prompt, number)) for number in tokens)


def problems(found: Lengths, checkpoints=(), **changes) -> list[str]:
    training = {"name": "r", "recipe": RECIPE | changes, "checkpoints": list(checkpoints)}
    return training_problems(found, training)


@pytest.mark.parametrize(
    ("changes", "rows", "steps"),
    [
        ({}, 16, 2),
        ({}, 17, 3),  # nine micro batches of two rows: two steps of four and one of one
        ({"epochs": 0.5}, 17, 2),  # half of three, up
        ({"epochs": 3}, 17, 9),
        ({"gpus": 2}, 17, 3),  # five batches over both GPUs, two of them in a step
        ({"max_steps": 7}, 17, 7),
        ({"max_tokens": 4000}, 10, 5),  # rows of 100 tokens: 800 in a step
    ],
)
def test_steps_are_those_of_the_trainer(changes, rows, steps):
    assert total_steps(RECIPE | changes, 100 * rows, rows) == steps


def test_a_share_of_cut_rows_is_allowed_and_no_more():
    assert problems(lengths(*[50] * 40, *[101] * 10)) == []
    [found] = problems(lengths(*[50] * 40, *[101] * 11))
    assert found.startswith("recipes.r.max_truncated_share: 11 of 51 rows are longer than")
    assert "the longest row has 101 tokens" in found


def test_rows_whose_prompt_fills_the_length_teach_nothing():
    [found] = problems(lengths(150, 150, prompt=120), max_truncated_share=1)
    assert "2 of 2 rows" in found


def test_checkpoints_and_warm_up_end_before_the_last_step():
    rows = lengths(*[50] * 24)  # three steps
    assert problems(rows, [2]) == []
    [found] = problems(rows, [2, 3])
    assert found.startswith("checkpoints: 3 is not before the training's last step, 3")
    [found] = problems(rows, warmup_steps=3)
    assert found.startswith("recipes.r.warmup_steps: 3 is not below the training's 3 steps")


def write_weights(folder, names) -> None:
    header = {name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for name in names}
    text = json.dumps(header | {"__metadata__": {"format": "pt"}}).encode()
    folder.mkdir()
    content = len(text).to_bytes(8, "little") + text + bytes(4)
    (folder / "model.safetensors").write_bytes(content)


def test_every_target_module_has_weights(tmp_path):
    model = tmp_path / "tiny"
    write_weights(model, ["model.layers.0.self_attn.q_proj.weight", "model.norm.weight"])
    [found] = module_problems(model, "r", RECIPE)
    assert found.startswith("recipes.r.target_modules: 'down_proj' is not in model tiny")
    assert "q_proj" in found
    for fine in ("all-linear", ["q_proj"], ["self_attn.q_proj"], ["lm_head", "q_proj"]):
        assert module_problems(model, "r", RECIPE | {"target_modules": fine}) == []
    assert module_problems(model, "r", RECIPE | {"method": "full"}) == []


@pytest.mark.parametrize(
    ("config", "refused"),
    [
        ({"max_position_embeddings": 2048}, True),
        ({"text_config": {"max_position_embeddings": 2048}}, True),
        ({"max_position_embeddings": 4096}, False),
        ({"max_position_embeddings": 2048, "rope_scaling": {"rope_type": "yarn"}}, False),
        ({"max_position_embeddings": 2048, "rope_parameters": {"full": {"factor": 8}}}, False),
        ({"max_position_embeddings": 2048, "rope_parameters": {"rope_type": "default"}}, True),
        ({}, False),
    ],
)
def test_a_context_beyond_the_models_is_refused(config, refused, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = context_problems(tmp_path, {"sampling": 4096})
    assert bool(found) == refused
    assert all("2048 tokens" in problem for problem in found)
