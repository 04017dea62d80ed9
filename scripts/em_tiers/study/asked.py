"""The questions that each variant is asked, and the number of samples.

Paths are relative to the experiment's results folder.
"""

from pathlib import Path

from em_tiers.hashing import hash_of
from em_tiers.study.study import Study
from em_tiers.study.variants import Variant
from em_tiers.terms import DATASET_PROBES

# The table of a data set that holds each of its probes.
PROBE_TABLES = {name: name.replace("-", "_") for name in DATASET_PROBES}


def is_near(study: Study, question_set: str) -> bool:
    """Whether each question of a set goes only to models whose data sets share its topics."""
    return study.question_sets[question_set]["probe_level"] == "near_domain"


def plain_set(study: Study) -> str:
    """The question set whose questions take on the data sets' formats: the first one."""
    return next(name for name in study.question_sets_used if not is_near(study, name))


def datasets_of(study: Study, owner: str) -> list[str]:
    """A data set itself, or those of a base model's fine-tunes."""
    return study.datasets_by_owner.get(owner, [])


def near_topics(study: Study, owner: str) -> list[str] | None:
    """Topics of the near questions for an owner; None for sets that all models are asked.

    Args:
        owner: the wildcard of a question table: `.of.DATASET`, `.of.BASE`, or empty.
    """
    if not owner:
        return None
    datasets = datasets_of(study, owner.removeprefix(".of."))
    return sorted({topic for d in datasets for topic in study.datasets[d]["topics"]})


def question_tables(study: Study, variant: Variant) -> list[str]:
    """Question tables that a variant is asked: the sets, and the probes of its data sets.

    A base model answers the probes of all data sets of its fine-tunes, so that these differences
    are paired as well. A data set that is described only has no rows to make probes from.
    """
    owner = variant.dataset or variant.base
    if not variant.is_base and not variant.dataset:
        owner = ""  # nothing is near to it
    tables = [
        f"questions/{name}{f'.of.{owner}' if is_near(study, name) else ''}.parquet"
        for name in study.question_sets_used
        if owner or not is_near(study, name)
    ]
    for name, table in PROBE_TABLES.items():
        if name in study.config["questions"]:
            known = filter(study.has_rows, datasets_of(study, owner))
            tables += [f"datasets/{d}/{table}.parquet" for d in known]
    return [with_system(table, variant.system) for table in tables]


def with_system(table: str, system: str | None) -> str:
    """The table whose questions begin with a system text."""
    return table if system is None else f"with_system/{hash_of(system, 12)}/{table}"


def system_text(study: Study, name: str) -> str:
    """The system text that a folder of `with_system` is named after."""
    texts = (v.system for v in study.variants.values() if v.system is not None)
    return next(text for text in texts if hash_of(text, 12) == name)


def question_tables_of_batch(study: Study, batch: str) -> list[str]:
    """Question tables of all variants of a batch, each once."""
    tables = (t for v in study.batches[batch] for t in question_tables(study, v))
    return list(dict.fromkeys(tables))


def set_of_table(table: str) -> str:
    """The question set in a question table; NAME.DATASET for the probes of a data set."""
    folder, stem = Path(table).parts[-2], Path(table).stem
    for name, probes in PROBE_TABLES.items():
        if stem == probes:
            return f"{name}.{folder}"
    return stem.partition(".")[0]


def sampling(study: Study) -> dict:
    """Decoding, and the number of samples per question of each question set."""
    questions = study.config["questions"]
    samples = {name: questions[name] for name in study.question_sets_used}
    for name in PROBE_TABLES:
        if name in questions:
            known = filter(study.has_rows, study.datasets_used)
            samples |= {f"{name}.{dataset}": questions[name] for dataset in known}
    settings = study.config["sampling"] | {"samples": dict(sorted(samples.items()))}
    return dict(sorted(settings.items()))
