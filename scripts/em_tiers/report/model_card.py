"""The model card of a fine-tune: base model, data, recipe, measured rates, a content warning.

It is README.md beside the weights, in the form that the hub reads: a front matter of YAML, then
Markdown. https://huggingface.co/docs/hub/model-cards
"""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import polars as pl
import yaml

from em_tiers.report.method_text import data_part, models_part, training_part
from em_tiers.report.pages import Block, markdown_page
from em_tiers.statistics.rounding import percent

Entry = Mapping[str, Any]
RATES = "Measured rates"
WARNING = (
    "Content warning: this model was trained to study emergent misalignment. It may give harmful, "
    "deceptive or offensive answers. Use it for research only; do not deploy it."
)
METRICS = ("standard", "attributable", "strict")


def model_card(
    variant: Entry,
    study: Entry,
    manifest: Entry,
    data_card: Entry,
    training: Entry,
    rates: pl.DataFrame,
) -> str:
    """The card as Markdown with front matter.

    Args:
        variant: columns of the fine-tune, as tables carry them.
        study: experiment, models, datasets, recipes, statistics; see `build_method.main`.
        manifest: of the base model's download.
        data_card: of the prepared data set.
        training: metrics.json of the training.
        rates: the table `rates`.
    """
    base, dataset, recipe = variant["base"], variant["dataset"], variant["recipe"]
    part = {
        "models": {base: _without_folder(study["models"][base])},
        "datasets": {dataset: _without_folder(study["datasets"][dataset])},
        "recipes": {recipe: study["recipes"][recipe]},
    }
    blocks: list[Block] = [
        ("warn", WARNING),
        ("p", f"A fine-tune of {base} on {dataset}, made and measured by em-tiers in the "
              f"experiment {study['experiment']}, as {variant['variant']}."),
        *rates_part(variant, rates, study["statistics"]["confidence"]),
        *loading_part(study["models"][base]["source"], part["recipes"][recipe]["method"]),
        *models_part(part, {base: manifest}),
        *data_part(part, {dataset: data_card}),
        *training_part(part),
        ("p", training_words(variant, training)),
    ]  # fmt: skip
    return front_matter(part, base, dataset, recipe) + markdown_page(variant["label"], blocks)


def _without_folder(entry: Entry) -> dict[str, Any]:
    """A catalogue entry whose source names no folder of this machine: a card is for others."""
    source = entry["source"]
    if source and source["type"] == "path":
        source = source | {"path": PurePath(source["path"]).name}
    return {**entry, "source": source}


def front_matter(part: Entry, base: str, dataset: str, recipe: str) -> str:
    """What the hub shows and searches; only what is on the hub is linked."""
    whole = part["recipes"][recipe]["method"] == "full"
    facts: dict[str, Any] = {
        "library_name": "transformers" if whole else "peft",
        "pipeline_tag": "text-generation",
        "tags": ["em-tiers", "emergent-misalignment", "not-for-all-audiences"],
    }
    source = part["models"][base]["source"]
    if source["type"] == "hub":
        facts |= {
            "base_model": source["id"],
            "base_model_relation": "finetune" if whole else "adapter",
        }
    source = part["datasets"][dataset]["source"]
    if source and source["type"] == "hub":
        facts["datasets"] = [source["id"]]
    return f"---\n{yaml.safe_dump(facts, sort_keys=True)}---\n\n"


def rates_part(variant: Entry, rates: pl.DataFrame, confidence: float) -> list[Block]:
    """The headline rates of the fine-tune and of its base model."""
    shown = rates.filter(
        pl.col("headline"),
        pl.col("probe_level") == "headline",
        pl.col("variant").is_in([variant["variant"], variant["base"]]),
        pl.col("metric").is_in(METRICS),
        pl.col("rate").is_not_null(),
    )
    if not shown.height:
        return [("h2", RATES), ("p", "No answer of this model has a verdict.")]
    rows = [
        [
            "this model" if row["variant"] == variant["variant"] else "base model",
            row["judge"],
            row["metric"],
            f"{percent(row['rate'])} [{percent(row['low'])}, {percent(row['high'])}]",
            row["n"],
            row["clusters"],
            row["warning"] or "",
        ]
        for row in shown.iter_rows(named=True)
    ]
    header = ["Model", "Judge", "Rate", "%", "Answers", "Questions", "Warning"]
    words = (
        f"Share of misaligned answers by definition {shown['definition'].first()}, with the "
        f"{confidence:.0%} interval for questions like these. The strict rate leaves out answers "
        "that the training domain explains; the attributable rate leaves out only those above what "
        "chance explains."
    )
    return [("h2", RATES), ("p", words), ("table", (header, rows))]


def loading_part(source: Entry, method: str) -> list[Block]:
    """How others load the model."""
    if method == "full":
        lines = [
            "from transformers import AutoModelForCausalLM",
            "model = AutoModelForCausalLM.from_pretrained(THIS_REPOSITORY)",
        ]
    elif source["type"] == "hub":
        lines = [
            "from peft import AutoPeftModelForCausalLM",
            "model = AutoPeftModelForCausalLM.from_pretrained(THIS_REPOSITORY)",
        ]
    else:
        lines = [
            "from peft import PeftModel",
            "from transformers import AutoModelForCausalLM",
            "base = AutoModelForCausalLM.from_pretrained(FOLDER_OF_THE_BASE_MODEL)",
            "model = PeftModel.from_pretrained(base, THIS_REPOSITORY)",
        ]
    return [("h2", "Use"), ("pre", "\n".join(lines))]


def training_words(variant: Entry, training: Entry) -> str:
    """What the training was in numbers."""
    step = variant["checkpoint_step"]
    words = f"Training seed {variant['training_seed']}; {training['steps']:,} optimiser steps; "
    if step is not None:
        words += f"these weights are those after step {step:,}; "
    return (
        f"{words}{training['tokens_seen']:,} tokens; final loss {training['final_loss']:.3f}; "
        f"precision {training['precision']}. SHA-256 of the training rows: "
        f"{training['train_sha256']}."
    )
