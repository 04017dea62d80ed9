"""Batches of sampling and judging: shared engine starts, and the effect of a new variant."""

from em_tiers.study.batches import judging_batches, sampling_batches
from em_tiers.study.variants import Variant


def tuned(base, dataset, seed, step=None):
    parent = f"{base}.{dataset}.lora.s{seed}"
    name = parent if step is None else f"{parent}.step{step}"
    return Variant(name, name, "treatment", base, dataset, "lora", seed, step, parent)


def study(bases=1, datasets=2, seeds=3):
    found = []
    for base in (f"b{number}" for number in range(bases)):
        found.append(Variant(base, base, "base", base))
        found += [tuned(base, f"d{d}", seed) for d in range(datasets) for seed in range(seeds)]
    return found


def names(batches):
    return {name: [variant.variant for variant in members] for name, members in batches.items()}


def test_a_base_model_is_sampled_alone_and_each_data_set_by_itself():
    imported = Variant("import.paper", "paper", "treatment", "import.paper", imported=True)
    found = sampling_batches([*study(datasets=2, seeds=2), imported], size=16)
    assert names(found) == {
        "b0": ["b0"],
        "b0.d0.0": ["b0.d0.lora.s0", "b0.d0.lora.s1"],
        "b0.d1.0": ["b0.d1.lora.s0", "b0.d1.lora.s1"],
        "import.paper": ["import.paper"],
    }


def test_a_large_data_set_is_split():
    found = sampling_batches(study(datasets=1, seeds=5), size=2)
    assert [len(members) for members in found.values()] == [1, 2, 2, 1]
    assert list(found) == ["b0", "b0.d0.0", "b0.d0.1", "b0.d0.2"]


def test_twenty_base_models_are_one_start_of_a_judge():
    batches = sampling_batches(study(bases=20, datasets=0), size=16)
    assert judging_batches(batches, size=32) == {"1-of-1": list(batches)}


def test_judging_batches_hold_each_sampling_batch_once():
    batches = sampling_batches(study(bases=4, datasets=6, seeds=10), size=4)
    drawn = judging_batches(batches, size=32)
    assert sorted(name for members in drawn.values() for name in members) == sorted(batches)
    assert len(drawn) == 8
    assert all(name.endswith("-of-8") for name in drawn)


def test_an_added_seed_changes_one_batch_of_each_kind():
    before = sampling_batches(study(bases=2, datasets=6, seeds=6), size=16)
    more = study(bases=2, datasets=6, seeds=6)
    more.insert(5, tuned("b0", "d0", 6))  # in the middle, as an edited list of seeds gives it
    after = sampling_batches(more, size=16)
    assert [name for name in after if after[name] != before.get(name)] == ["b0.d0.0"]
    assert judging_batches(after, 32) == judging_batches(before, 32)


def test_an_added_data_set_changes_one_judging_batch():
    variants = study(bases=2, datasets=6, seeds=6)
    before = sampling_batches(variants, size=16)
    after = sampling_batches([tuned("b1", "new", 0), *variants], size=16)
    first, second = judging_batches(before, 32), judging_batches(after, 32)
    assert sum(second[name] != first.get(name) for name in second) == 1
