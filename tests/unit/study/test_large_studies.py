"""The time to plan a study grows with the number of its variants, and not with its square."""

import time

import yaml

from configurations import catalogue, demo, load
from em_tiers.study.asked import question_tables, question_tables_of_batch
from em_tiers.study.batches import judging_batches
from em_tiers.study.jobs import sampled_variants
from em_tiers.study.plan import planned_variants


def large_study(checkout, bases, datasets, seeds):
    """Fine-tunes of every base model on every data set with every seed."""
    models, sets = catalogue("models"), catalogue("datasets")
    for number in range(bases):
        models[f"base-{number}"] = models["smollm2-135m"] | {"label": None}
    for number in range(datasets):
        sets[f"data-{number}"] = sets["storyteller"] | {"label": None}
    (checkout / "config" / "models.yaml").write_text(yaml.safe_dump(models))
    (checkout / "config" / "datasets.yaml").write_text(yaml.safe_dump(sets))
    names = [f"data-{number}" for number in range(datasets)]
    block = {"datasets": names, "recipe": "demo-lora", "training_seeds": list(range(seeds))}
    config = demo()
    config["variants"] = [{"base": f"base-{number}"} | block for number in range(bases)]
    config["questions"]["trigger"] = 1
    return load(checkout, config)


def plan(study):
    """What the rules and `make plan` ask of a study."""
    planned_variants(study, "results")
    for batch in study.batches:
        sampled_variants(study, batch)
    judging_batches(study.batches, study.config["variants_per_judge_job"])


def shortest(study, repeats=3):
    """Seconds of processor time of the fastest of a few runs; the others were disturbed."""
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        plan(study)
        taken.append(time.process_time() - start)
    return min(taken)


def test_a_thousand_fine_tunes(checkout):
    thousand = large_study(checkout, bases=10, datasets=10, seeds=10)
    assert len(thousand.fine_tunes) == 1000
    assert len(thousand.variants) == 1010
    assert len(thousand.batches) == 10 + 100  # base models, and the ten seeds of each data set
    assert len(question_tables(thousand, thousand.variants["base-3"])) == 3 + 10 + 10
    batch = "base-3.data-7.0"
    assert question_tables_of_batch(thousand, batch)[-2:] == [
        "datasets/data-7/in_domain.parquet",
        "datasets/data-7/trigger.parquet",
    ]
    assert [v["training_seed"] for v in sampled_variants(thousand, batch)] == list(range(10))


def test_planning_takes_time_in_proportion_to_the_fine_tunes(checkout):
    """Ten times the fine-tunes may take forty times as long; with the square it is a hundred."""
    few = large_study(checkout, bases=10, datasets=10, seeds=3)
    many = large_study(checkout, bases=10, datasets=10, seeds=30)
    assert len(many.fine_tunes) == 10 * len(few.fine_tunes) == 3000
    assert shortest(many) < 4 * 10 * shortest(few)
