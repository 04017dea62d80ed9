# Helpers of the rules: what each rule's input and params are, from the study. No rule stands here.
import os
import sys
from pathlib import Path

ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT / "scripts"))

from em_tiers.study.load import load_study, without_cosmetics
from em_tiers.study.checks import check_keys, check_ready, unpinned
from em_tiers.errors import ConfigError
from em_tiers.study.gpu_request import get_gpu_request
from em_tiers.study.script_imports import SCRIPTS, imported_modules
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

# Report category of each figure and table.
FIGURES = {
    "rates": "Answer",
    "controls": "Answer",
    "outcomes": "Tiers",
    "tiers": "Tiers",
    "probes": "Probes",
    "scores": "Sensitivity",
    "thresholds": "Sensitivity",
    "agreement": "Judges",
    "losses": "Training",
    "dose": "Training",
}
TABLES = {
    "headline": "Answer",
    "rates": "Answer",
    "overestimation": "Answer",
    "differences": "Answer",
    "groups": "Answer",
    "controls": "Answer",
    "label_agreement": "Judges",
    "judge_quality": "Judges",
    "corrected": "Answer",
    "outcomes": "Tiers",
    "tier_waterfall": "Tiers",
    "tier_ablation": "Tiers",
    "tier_disagreement": "Tiers",
    "thresholds": "Sensitivity",
    "agreement": "Judges",
    "confusion": "Judges",
    "flips": "Judges",
    "coverage": "Judges",
    "cost": "Cost",
    "training": "Training",
    "dose": "Training",
}
NEEDS_TRAINING = {"losses", "dose", "training"}
NEEDS_JUDGES = {"agreement", "confusion", "flips"}
NEEDS_LABELS = {"label_agreement", "judge_quality", "corrected"}


def get_study():
    """The checked study; a mistake becomes one message without a traceback."""
    try:
        return load_study(
            config, ROOT, Path.cwd(), [str(f) for f in workflow.configfiles]
        )
    except ConfigError as error:
        raise WorkflowError(str(error))


def say_what_is_missing():
    """A dry run needs no pinned revisions; it says which ones a real run will demand."""
    missing = unpinned(STUDY) if workflow.is_main_process else []
    if missing:
        logger.warning(
            f"A run will stop for source.revision of {', '.join(missing)}: write full commits there."
        )


def check_before_run():
    """What a dry run does not need: pinned revisions, and the keys of judges that will be asked."""
    rules = {job.rule.name for job in workflow.dag.needrun_jobs()}
    if rules <= {"plan_requests", "show_status"}:
        return  # words only: nothing is fetched or asked
    asked = [
        judge
        for judge in STUDY.config["judges"]
        if any(f"judge_{judge}_{batch}" in rules for batch in STUDY.batches)
    ]
    try:
        check_ready(STUDY)
        check_keys(STUDY, asked)
    except ConfigError as error:
        raise WorkflowError(str(error))


def drop_keys():
    """Forget the keys of judges and of the hub: sbatch hands a job its user's whole environment."""
    endpoints = [entry["endpoint"] for entry in STUDY.judges.values()]
    names = {endpoint["key_env"] for endpoint in endpoints if endpoint}
    for name in names - {None} | {"HF_TOKEN"}:
        os.environ.pop(name, None)


STUDY = get_study()
say_what_is_missing()
if workflow.remote_exec:
    drop_keys()
# Paths inside params; the rules write <results> and leave the rest to Snakemake.
RESULTS = f"results/{STUDY.config['experiment']}"


wildcard_constraints:
    base="[a-z0-9-]+",
    dataset="[a-z0-9-]+",
    recipe="[a-z0-9-]+",
    seed="[0-9]+",
    model="[a-z0-9-]+",
    question_set="[a-z0-9-]+",
    judge="[a-z0-9-]+",


def get_sources(script):
    """Modules that a script imports, relative to the working folder where that is possible."""
    modules = sorted(imported_modules(SCRIPTS / f"{script}.py"))
    return [os.path.relpath(m) if Path.cwd() == ROOT else str(m) for m in modules]


def get_source(catalogue, name):
    """Where an entry's files come from, with local paths resolved."""
    source = without_cosmetics(getattr(STUDY, catalogue)[name]["source"])
    if source["type"] == "path":
        source["path"] = STUDY.find_file(source["path"])
    return source


def get_local_files(catalogue, name):
    """Input files of a download from a path, so that an edited file is taken again.

    A folder's files each, because a file written anew leaves the folder's own time as it was.
    """
    source = get_source(catalogue, name)
    if source["type"] != "path":
        return []
    folder = Path(source["path"])
    files = [f for f in folder.rglob("[!.]*") if f.is_file() and ".git" not in f.parts]
    return sorted(map(str, files)) or [source["path"]]


def get_model_identity(model):
    """What tells two models apart: where the weights come from and their revision."""
    source = get_source("models", model)
    return {
        key: source[key] for key in sorted(source) if key not in ("type", "licence")
    }


def get_chat_template(model):
    """The Jinja file that replaces a model's own chat template, as an input; none by default."""
    template = STUDY.models[model]["chat_template"]
    return STUDY.find_file(template) if template else []


def get_variants(judge=None):
    """Ids of all variants, or of those that a judge judged."""
    if judge is None or judge in STUDY.config["judges"]:
        return list(STUDY.variants)
    return [
        f"import.{e['id']}" for e in STUDY.config["imports"] if judge in e["scores"]
    ]


def get_sample_batches():
    """Batches of variants that are sampled together: one engine start each."""
    return {
        name: members
        for name, members in STUDY.batches.items()
        if not members[0].imported
    }


def get_adapter_folder(variant):
    """Where a variant's adapter lies: the final one, or a kept checkpoint below its own folder."""
    if variant.checkpoint_step is None:
        return f"{RESULTS}/adapters/{variant.parent}"
    return f"{RESULTS}/kept_adapters/{variant.parent}/step{variant.checkpoint_step}"


def get_adapters_of_batch(batch):
    """Declared folders that hold the adapters of a batch, each once."""
    tuned = [v for v in STUDY.batches[batch] if v.parent]
    final = [
        f"<results>/adapters/{v.parent}" for v in tuned if v.checkpoint_step is None
    ]
    kept = [f"<results>/kept_adapters/{v.parent}" for v in tuned if v.checkpoint_step]
    return list(dict.fromkeys([*final, *kept]))


def get_question_files(variant):
    """Question tables that a variant is asked: the sets, and the probes of its data sets.

    A base model answers the probes of every data set that one of its fine-tunes was trained on, so
    that the difference there is paired too.
    """
    owner = variant.dataset or variant.base
    files = [
        f"<results>/questions/{name}{f'.of.{owner}' if is_near(name) else ''}.parquet"
        for name in STUDY.question_sets_used
    ]
    for name, table in PROBE_TABLES.items():
        if name in STUDY.config["questions"]:
            files += [
                f"<results>/datasets/{d}/{table}.parquet"
                for d in get_datasets_of_owner(owner)
            ]
    return files


# What `questions` may name beside question sets, and the table of each data set that holds it.
PROBE_TABLES = {"held-out": "probes", "training-format": "triggers"}


def is_near(question_set):
    """Whether a set's questions are asked of the models of the data sets that they are near to."""
    return STUDY.question_sets[question_set]["probe_level"] == "near_domain"


def get_datasets_of_owner(owner):
    """A data set itself, or those of a base model's fine-tunes."""
    variants = STUDY.variants.values()
    owned = (v.dataset for v in variants if owner in (v.dataset, v.base))
    return list(dict.fromkeys(d for d in owned if d))


def get_import_settings(entry):
    """An import's settings; questions whose ids the catalogue knows have the topics it states."""
    known = {
        question: tags
        for name in sorted(STUDY.question_sets)
        for question, tags in STUDY.question_sets[name]["topics"].items()
    }
    topics = known | entry["topics"]
    return without_cosmetics(entry) | {"topics": dict(sorted(topics.items()))}


def get_plain_set():
    """The question set whose questions are dressed in the data sets' formats: the first one."""
    return next(name for name in STUDY.question_sets_used if not is_near(name))


def get_near_topics(owner):
    """Topics that a near question must be near to; None for sets that are asked of all models."""
    if not owner:
        return None
    datasets = get_datasets_of_owner(owner.removeprefix(".of."))
    return sorted({t for d in datasets for t in STUDY.datasets[d]["topics"]})


def get_questions_of_batch(batch):
    """Question tables of all variants of a batch, each once."""
    return list(
        dict.fromkeys(f for v in STUDY.batches[batch] for f in get_question_files(v))
    )


def get_sample_variants(batch):
    """What sample.py must know of each variant: its columns, adapter and question tables."""
    questions = get_questions_of_batch(batch)
    tuned = [v.variant for v in STUDY.batches[batch] if v.parent]
    return [
        v.as_key()
        | {
            "adapter": tuned.index(v.variant) if v.parent else None,
            "questions": [questions.index(f) for f in get_question_files(v)],
        }
        for v in STUDY.batches[batch]
    ]


def get_sampling():
    """Decoding and the number of samples of each question set."""
    samples = {
        f"{name}.{d}": STUDY.config["questions"][name]
        for name in PROBE_TABLES
        if name in STUDY.config["questions"]
        for d in STUDY.datasets_used
    }
    samples |= {
        name: STUDY.config["questions"][name] for name in STUDY.question_sets_used
    }
    return dict(
        sorted(
            (
                STUDY.config["sampling"] | {"samples": dict(sorted(samples.items()))}
            ).items()
        )
    )


def get_engine(name=None):
    """Settings of an engine; the experiment's own when a judge names none."""
    return without_cosmetics(STUDY.engines[name or STUDY.config["engine"]])


def get_datasets_of_batch(batch):
    """Data sets whose cards the topic and tier rubrics of a batch show."""
    return list(dict.fromkeys(v.dataset for v in STUDY.batches[batch] if v.dataset))


def get_variant_rows():
    """Columns that summaries carry of each variant, labels and roles included."""
    return [variant.as_row() for variant in STUDY.variants.values()]


def get_memory_of_model(model, attempt, copies=1):
    """MB of host memory for a job that loads a model's weights; more on each attempt."""
    weights = 4000 * copies * STUDY.models[model]["parameters_b"]
    return int((8000 + weights) * (1 + (attempt - 1) / 2))


def get_memory_of_training(wildcards, attempt):
    """MB of host memory of a fine-tune: what its processes load or a checkpoint gathers.

    Under ddp each process loads the model. Under fsdp one does, and where all weights are trained
    it also gathers them and the optimiser's two moments for a checkpoint.
    """
    recipe = STUDY.recipes[wildcards.recipe]
    copies = recipe["gpus"]
    if recipe["strategy"] == "fsdp" and copies > 1:
        copies = 4 if recipe["method"] == "full" else 1
    return get_memory_of_model(wildcards.base, attempt, copies)


def get_memory_function(model):
    """The same as a resource function."""
    return lambda wildcards, attempt: get_memory_of_model(model, attempt)


def get_parent(wildcards):
    """Id of the fine-tune that a job trains."""
    return f"{wildcards.base}.{wildcards.dataset}.{wildcards.recipe}.s{wildcards.seed}"


def get_recipe(wildcards):
    """What a recipe trains, and the optimiser steps whose adapters are variants of their own."""
    family = (v for v in STUDY.variants.values() if v.parent == get_parent(wildcards))
    steps = sorted(v.checkpoint_step for v in family if v.checkpoint_step)
    settings = without_cosmetics(STUDY.recipes[wildcards.recipe])
    del settings["threads"]  # the rule's own, and no matter of what is learned
    return settings | {"keep_checkpoints": steps}


def get_dataset_settings(dataset):
    """The part of a data set's entry that preparation reads."""
    entry = without_cosmetics(STUDY.datasets[dataset])
    return {key: entry[key] for key in sorted(entry) if key not in ("source", "role")}


def get_question_defaults(question_set):
    """Probe level and topics of questions whose file names none."""
    entry = STUDY.question_sets[question_set]
    return {
        "probe_level": entry["probe_level"],
        "topics": dict(sorted(entry["topics"].items())),
    }
