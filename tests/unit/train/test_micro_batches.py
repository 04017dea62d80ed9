"""How a step is cut into micro batches: what fits, in which order, and that no row is lost."""

import random

import pytest
from torch.utils.data import DataLoader, RandomSampler
from transformers import GPT2Config, Qwen3Config

from em_tiers.train.micro_batches import MicroBatches, activation_bytes, list_choices
from em_tiers.train.step_batches import StepBatches, find_fitting, some_batches

RECIPE = {"batch_size": 16, "gpus": 1, "micro_batch_size": "auto", "gradient_checkpointing": "auto"}
QWEN3_4B = Qwen3Config(
    hidden_size=2560,
    num_hidden_layers=36,
    num_attention_heads=32,
    num_key_value_heads=8,
    head_dim=128,
    intermediate_size=9728,
    vocab_size=151936,
)
GIB = 2**30


def rows_of(count, longest=600, seed=0):
    draw = random.Random(seed)
    return [draw.randint(20, longest) for _ in range(count)]


def chosen(device="cuda", gib=70, lengths=None, **changes):
    recipe = RECIPE | changes
    options = list_choices(recipe, device)
    return find_fitting(options, recipe, lengths or rows_of(500), device, gib * GIB, QWEN3_4B)


def test_a_large_gpu_keeps_activations_and_a_small_one_recomputes_them():
    large, small = chosen(gib=70), chosen(gib=8)
    assert not large[0].recompute
    assert small[0].recompute


def test_rows_of_one_length_go_together_and_others_in_parts():
    """Padding costs as much as text."""
    (even,) = chosen("cpu", lengths=[20] * 400)
    (uneven,) = chosen("cpu", lengths=[20, 20, 20, 900] * 100)
    assert even.parts == 1
    assert uneven.parts > 2


def test_the_longest_row_alone_decides_where_it_is_as_large_as_a_step():
    short = chosen(gib=40, lengths=[200] * 100)
    long = chosen(gib=40, lengths=[200] * 99 + [4_000])
    assert short[0].parts <= long[0].parts


def test_there_is_always_a_last_choice_and_smaller_ones_follow():
    found = chosen(gib=0.1)
    assert found == [MicroBatches(parts=16, rows=None, recompute=True)]
    assert len(chosen(gib=200)) > 1
    assert chosen(gib=200)[-1] == MicroBatches(parts=16, rows=None, recompute=True)


@pytest.mark.parametrize(
    ("changes", "parts", "recompute"),
    [
        ({"micro_batch_size": 4}, {4}, {False, True}),
        ({"micro_batch_size": 4, "gpus": 2}, {2}, {False, True}),
        ({"gradient_checkpointing": True}, {1, 2, 4, 8, 16}, {True}),
        ({"gradient_checkpointing": False, "gpus": 4}, {1, 2, 4}, {False}),
    ],
)
def test_what_the_recipe_fixes_is_kept(changes, parts, recompute):
    options = list_choices(RECIPE | changes, "cuda")
    assert {option.parts for option in options} == parts
    assert {option.recompute for option in options} == recompute


def test_a_cpu_recomputes_only_where_it_is_asked_to():
    assert {option.recompute for option in list_choices(RECIPE, "cpu")} == {False}
    asked = RECIPE | {"gradient_checkpointing": True}
    assert {option.recompute for option in list_choices(asked, "cpu")} == {True}


def test_a_model_that_names_its_sizes_otherwise_is_counted():
    small, large = GPT2Config(n_embd=256, n_head=4), GPT2Config(n_embd=1024, n_head=16)
    assert 0 < activation_bytes(small, False) < activation_bytes(large, False)


def test_recomputing_saves_most_of_the_memory():
    assert activation_bytes(QWEN3_4B, True) < activation_bytes(QWEN3_4B, False) / 10


@pytest.mark.parametrize("count", [64, 67, 81, 3])
@pytest.mark.parametrize("parts", [1, 2, 4, 16])
def test_each_pass_takes_every_row_once_in_the_trainers_own_steps(count, parts):
    """The rows of each step are those of the sampler that a trainer uses without this one."""
    lengths = rows_of(count)
    batches = StepBatches(lengths, 16, parts, seed=7)
    for epoch in (0, 1):
        batches.set_epoch(epoch)
        found = list(batches)
        assert len(found) == len(batches)
        assert sorted(row for batch in found for row in batch) == list(range(count))
        order = own_order(count, seed=7, epoch=epoch)
        for start in range(0, count, 16):
            step, found = take(found, len(order[start : start + 16]))
            assert sorted(step) == sorted(order[start : start + 16])


def test_a_training_goes_on_in_the_pass_in_which_it_stopped():
    """As the trainer does it: the second pass, in its own order, from the middle on."""
    from accelerate.data_loader import prepare_data_loader, skip_first_batches

    lengths = rows_of(64)
    loader = DataLoader(range(64), batch_sampler=StepBatches(lengths, 16, 2, seed=1))
    left = skip_first_batches(prepare_data_loader(loader), 3)
    left.set_epoch(1)
    whole = StepBatches(lengths, 16, 2, seed=1)
    whole.set_epoch(1)
    assert [batch.tolist() for batch in left] == list(whole)[3:]


def own_order(count, seed, epoch):
    """As accelerate's SeedableRandomSampler draws it."""
    from accelerate.data_loader import SeedableRandomSampler
    from torch import Generator

    sampler = SeedableRandomSampler(range(count), generator=Generator(), data_seed=seed)
    sampler.set_epoch(epoch)
    return list(sampler)


def take(batches, rows):
    """The rows of the first batches that make up so many, and the batches that are left."""
    step = []
    while len(step) < rows:
        step += batches.pop(0)
    assert len(step) == rows
    return step, batches


def test_padding_is_a_fraction_of_that_of_shuffled_rows():
    lengths = rows_of(640)
    balanced = padded(StepBatches(lengths, 16, 4, seed=0), lengths)
    shuffled = DataLoader(range(640), batch_size=4, sampler=RandomSampler(range(640)))
    plain = padded([batch.tolist() for batch in shuffled], lengths)
    assert balanced - sum(lengths) < (plain - sum(lengths)) / 2


def padded(batches, lengths):
    return sum(len(batch) * max(lengths[row] for row in batch) for batch in batches)


def test_the_largest_batch_of_a_training_is_foreseen():
    lengths = rows_of(4_000)
    for parts in (1, 2, 4, 8):
        option = MicroBatches(parts=parts, rows=None, recompute=False)
        batches = StepBatches(lengths, 16, parts, seed=5)
        seen = max(len(batch) * max(lengths[row] for row in batch) for batch in batches)
        assert seen <= max(some_batches(option, RECIPE, lengths)) * 1.15


def test_several_devices_share_a_step_and_no_row_is_left_out():
    lengths = rows_of(96)
    ranks = [StepBatches(lengths, 16, 2, seed=3, devices=2, rank=rank) for rank in (0, 1)]
    found = [list(sampler) for sampler in ranks]
    assert len(found[0]) == len(found[1]) == 12
    assert sorted(row for batches in found for batch in batches for row in batch) == list(range(96))
