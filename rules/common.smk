# Helpers of the rules: what each rule's input and params are, from the study. No rule stands here.
import os
import sys
from pathlib import Path

ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT / "scripts"))

from em_tiers.config import load_study, without_cosmetics
from em_tiers.config_checks import check_keys, check_ready
from em_tiers.errors import ConfigError
from em_tiers.hashing import hash_of
from em_tiers.sources import SCRIPTS, imported_modules
from snakemake.exceptions import WorkflowError

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
    "coverage": "Judges",
    "cost": "Cost",
    "training": "Training",
    "dose": "Training",
}
NEEDS_TRAINING = {"losses", "dose", "training"}
NEEDS_JUDGES = {"agreement"}
NEEDS_LABELS = {"label_agreement", "judge_quality", "corrected"}


def get_study():
    """The checked study; a mistake becomes one message without a traceback."""
    try:
        return load_study(
            config, ROOT, Path.cwd(), [str(f) for f in workflow.configfiles]
        )
    except ConfigError as error:
        raise WorkflowError(str(error))


def check_before_run():
    """What a dry run does not need: pinned revisions, and the keys of judges that will be asked."""
    rules = {job.rule.name for job in workflow.dag.needrun_jobs()}
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


STUDY = get_study()
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
    """Input files of a download from a path, so that an edited file is taken again."""
    source = get_source(catalogue, name)
    return [source["path"]] if source["type"] == "path" else []


def get_model_identity(model):
    """What tells two models apart: where the weights come from and their revision."""
    source = get_source("models", model)
    return {
        key: source[key] for key in sorted(source) if key not in ("type", "licence")
    }


def get_variants(judge=None):
    """Ids of all variants, or of those that a judge judged."""
    if judge is None or judge in STUDY.config["judges"]:
        return list(STUDY.variants)
    return [
        f"import.{e['id']}" for e in STUDY.config["imports"] if judge in e["scores"]
    ]


def get_judges():
    """Configured judges first, then those whose scores were imported."""
    imported = [judge for entry in STUDY.config["imports"] for judge in entry["scores"]]
    return list(dict.fromkeys([*STUDY.config["judges"], *imported]))


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
    """Question tables that a variant is asked: the sets, and in-domain probes of its data sets.

    A base model answers the probes of every data set that one of its fine-tunes was trained on, so
    that the difference in the domain is paired too.
    """
    files = [f"<results>/questions/{name}.parquet" for name in STUDY.question_sets_used]
    if "held-out" in STUDY.config["questions"]:
        family = [
            v for v in STUDY.variants.values() if v.base == variant.base and v.dataset
        ]
        datasets = [variant.dataset] if variant.dataset else [v.dataset for v in family]
        files += [
            f"<results>/datasets/{d}/probes.parquet" for d in dict.fromkeys(datasets)
        ]
    return files


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
        f"held-out.{d}": STUDY.config["questions"]["held-out"]
        for d in STUDY.datasets_used
        if "held-out" in STUDY.config["questions"]
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


def get_judge_params(judge):
    """The part of a judge's entry that can change a verdict, in sorted order."""
    entry = without_cosmetics(STUDY.judges[judge])
    return {key: entry[key] for key in sorted(entry) if key in JUDGE_KEYS}


JUDGE_KEYS = (
    "backend",
    "decoding",
    "method",
    "min_coverage",
    "model",
    "rubrics",
    "tier_when_alignment_below",
)


def get_rubrics(judge):
    """Rubric entries of a judge by what they ask."""
    return {
        asks: without_cosmetics(STUDY.rubrics[rubric])
        for asks, rubric in sorted(STUDY.judges[judge]["rubrics"].items())
    }


def get_datasets_of_batch(batch):
    """Data sets whose cards the topic and tier rubrics of a batch show."""
    return list(dict.fromkeys(v.dataset for v in STUDY.batches[batch] if v.dataset))


def get_variant_rows():
    """Columns that summaries carry of each variant, labels and roles included."""
    return [variant.as_row() for variant in STUDY.variants.values()]


def get_memory_of_model(model, attempt):
    """MB of host memory for a job that loads a model's weights; more on each attempt."""
    return int(
        (8000 + 4000 * STUDY.models[model]["parameters_b"]) * (1 + (attempt - 1) / 2)
    )


def get_memory_function(model):
    """The same as a resource function."""
    return lambda wildcards, attempt: get_memory_of_model(model, attempt)


def get_parent(wildcards):
    """Id of the fine-tune that a job trains."""
    return f"{wildcards.base}.{wildcards.dataset}.{wildcards.recipe}.s{wildcards.seed}"


def get_recipe(wildcards):
    """A recipe's settings, and the optimiser steps whose adapters are variants of their own."""
    family = (v for v in STUDY.variants.values() if v.parent == get_parent(wildcards))
    steps = sorted(v.checkpoint_step for v in family if v.checkpoint_step)
    return without_cosmetics(STUDY.recipes[wildcards.recipe]) | {
        "keep_checkpoints": steps
    }


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


def get_judge_batches(judge):
    """Batches of variants that a configured judge scores."""
    return STUDY.batches if judge in STUDY.config["judges"] else {}


def get_judge_identity(judge):
    """What tells two judge models apart, whatever a judge is called."""
    entry = STUDY.judges[judge]
    if entry["backend"] == "vllm":
        return {"backend": "vllm"} | get_model_identity(entry["model"])
    endpoint = entry["endpoint"]["base_url"]
    return {"backend": "openai", "base_url": endpoint, "model": entry["model"]}


def get_judge_journal(judge):
    """Folder of a judge model's journal; a judge that is renamed finds its verdicts again."""
    return f"{RESULTS}/journals/judge/{hash_of(get_judge_identity(judge), 12)}"


def get_tier_rules():
    """Enabled tier rules in order, without those that the configuration switches off."""
    tiers = STUDY.config["tiers"]
    rules = STUDY.tier_rules[tiers["rules"]]["rules"]
    return [
        dict(sorted(r.items()))
        | {"enabled": r["enabled"] and r["name"] not in tiers["disabled"]}
        for r in rules
    ]


def get_topics():
    """Topic tags of each data set in use."""
    return {
        name: STUDY.datasets[name]["topics"] for name in sorted(STUDY.datasets_used)
    }


def get_rubric_ids(judge):
    """Rubric ids of a judge by what they ask; none for imported scores."""
    return (
        dict(sorted(STUDY.judges[judge]["rubrics"].items()))
        if judge in STUDY.judges
        else None
    )


def get_parents():
    """Ids of all fine-tunes."""
    return [v.variant for v in STUDY.fine_tunes]


def get_outcomes():
    """Outcomes tables of all judges."""
    return expand("<results>/outcomes/{judge}.parquet", judge=get_judges())


def get_verdicts():
    """Verdict tables of all judges and variants."""
    return [
        f"<results>/verdicts/{judge}/{variant}.parquet"
        for judge in get_judges()
        for variant in get_variants(judge)
    ]


def get_labels():
    """Label of each variant, for figures."""
    return {v.variant: v.label for v in STUDY.variants.values()}


def get_roles():
    """Role of each variant, for figures."""
    return {v.variant: v.role for v in STUDY.variants.values()}


def get_prices():
    """Prices of each judge; they reach the summaries only, never a judge's job."""
    return {j: STUDY.judges[j]["prices"] for j in get_judges() if j in STUDY.judges}


def get_rate_settings():
    """How rates are counted and bounded."""
    statistics = STUDY.config["statistics"]
    return {
        "confidence": statistics["confidence"],
        "headline": STUDY.config["headline"]["definition"],
        "headline_levels": STUDY.config["headline"]["levels"],
        "resamples": statistics["resamples"],
        "seed": statistics["seed"],
        "strict_counts": STUDY.config["tiers"]["strict_counts"],
    }


def get_caption(name):
    """Caption file of a table or figure; tables without one of their own share one."""
    path = ROOT / "config" / "captions" / f"{name}.rst"
    return str(path if path.exists() else path.with_name("table.rst"))


def in_report(path, name, caption, category):
    """A path that the report shows."""
    labels = {"name": name.replace("_", " "), "kind": Path(path).suffix[1:]}
    return report(path, caption=get_caption(caption), category=category, labels=labels)


def get_tables(*names):
    """Output files of tables, as {TABLE_FORMAT: path}; CSV files stand in the report."""
    outputs = {}
    for name in names:
        stem = f"<results>/tables/{name}"
        for kind in ("parquet", "csv", "md", "tex"):
            key = f"{name}_{kind}" if len(names) > 1 else kind
            outputs[key] = f"{stem}.{kind}"
            if kind == "csv" and name in TABLES:
                category = TABLES[name]
                outputs[key] = in_report(outputs[key], name, f"{name}_table", category)
    return outputs


def get_figure(name):
    """Output files of a figure; the SVG stands in the report."""
    outputs = {
        kind: f"<results>/figures/{name}.{kind}"
        for kind in ("pdf", "svg", "png", "csv")
    }
    outputs["svg"] = in_report(outputs["svg"], name, name, FIGURES[name])
    return outputs


def get_bases():
    """Models of the catalogue that are sampled."""
    return list(
        dict.fromkeys(v.base for v in STUDY.variants.values() if not v.imported)
    )


def get_method_study():
    """All that the method page puts into words."""
    keys = (
        "title",
        "questions",
        "sampling",
        "headline",
        "tiers",
        "statistics",
        "human_labels",
    )
    return {key: STUDY.config[key] for key in keys} | {
        "variants": get_variant_rows(),
        "models": {name: STUDY.models[name] for name in get_bases()},
        "datasets": {name: STUDY.datasets[name] for name in STUDY.datasets_used},
        "recipes": {v.recipe: STUDY.recipes[v.recipe] for v in STUDY.fine_tunes},
        "question_sets": {
            name: STUDY.question_sets[name] for name in STUDY.question_sets_used
        },
        "judges": {name: STUDY.judges[name] for name in STUDY.config["judges"]},
        "engines": {STUDY.config["engine"]: get_engine()},
        "rubrics": STUDY.rubrics,
        "tier_rules": get_tier_rules(),
    }


def get_browser_files():
    """The sample browser's page, style and script."""
    folder = ROOT / "scripts" / "browser"
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return [os.path.relpath(f) if Path.cwd() == ROOT else str(f) for f in files]


def get_catalogues():
    """Entries of all catalogues as they took effect."""
    names = (
        "models",
        "datasets",
        "recipes",
        "question_sets",
        "rubrics",
        "judges",
        "engines",
    )
    return {name: getattr(STUDY, name) for name in (*names, "tier_rules")}


def get_planned_variants():
    """Files of each variant that a plan looks at, relative to the working folder."""
    samples = get_sampling()["samples"]
    return [
        {
            "variant": v.variant,
            "dataset": v.dataset,
            "parent": v.parent,
            "adapter": f"{RESULTS}/adapters/{v.parent}" if v.parent else None,
            "checkpoints": f"{RESULTS}/checkpoints/{v.parent}" if v.parent else None,
            "journal": None if v.imported else f"{RESULTS}/journals/sample/{v.base}",
            "verdicts": {
                judge: f"{RESULTS}/verdicts/{judge}/{v.variant}.parquet"
                for judge in STUDY.config["judges"]
            },
            "responses": f"{RESULTS}/responses/{v.variant}.parquet",
            "card": f"{RESULTS}/datasets/{v.dataset}/card.json" if v.dataset else None,
            "questions": {
                path.replace("<results>", RESULTS): samples[get_set_of_file(path)]
                for path in get_question_files(v)
            },
        }
        for v in STUDY.variants.values()
    ]


def get_set_of_file(path):
    """Question set that a question table holds."""
    parts = Path(path).parts
    return f"held-out.{parts[-2]}" if parts[-1] == "probes.parquet" else Path(path).stem


def get_planned_judges():
    """What tells which requests of a configured judge are already answered, and its prices."""
    return {
        judge: {
            "judge": get_judge_params(judge),
            "identity": get_full_identity(judge),
            "rubrics": get_rubrics(judge),
            "prices": STUDY.judges[judge]["prices"],
            "journal": get_judge_journal(judge),
        }
        for judge in STUDY.config["judges"]
    }


def get_full_identity(judge):
    """The identity as judge_vllm.py completes it."""
    entry = STUDY.judges[judge]
    if entry["backend"] != "vllm":
        return get_judge_identity(judge)
    thinking = STUDY.models[entry["model"]]["thinking"]
    return get_judge_identity(judge) | {"thinking": thinking, "chat_template": None}


def get_final_output():
    """Every table and figure of the experiment."""
    absent = set() if get_parents() else NEEDS_TRAINING
    absent |= set() if len(get_judges()) > 1 else NEEDS_JUDGES
    absent |= set() if STUDY.config["human_labels"] else NEEDS_LABELS
    tables = expand(
        "<results>/tables/{name}.parquet", name=sorted(set(TABLES) - absent)
    )
    figures = expand("<results>/figures/{name}.pdf", name=sorted(set(FIGURES) - absent))
    pages = ["<results>/overview.html", "<results>/method.md"]
    return [*tables, *figures, *pages, "<results>/browser"]
