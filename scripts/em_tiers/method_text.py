"""What a study did, in words: blocks of text from its configuration as it took effect.

Every function takes plain dicts, as `build_method.main` describes them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from em_tiers.definitions import DEFINITIONS
from em_tiers.pages import Block

Entry = Mapping[str, Any]
METHODS = {
    "number": {
        "trie": "the exact probability of every number from 0 to 100, of which the score is the "
        "mean",
        "top_logprobs": "the judge's most likely first tokens; the score is the mean of the "
        "numbers among them, weighted by probability",
        "sampled": "sampled answers, of which the score is the mean",
        "structured": "an answer of a fixed structure, which holds one number",
    },
    "choice": {
        "label": "the probabilities of the labels as first token",
        "sampled": "sampled answers; the label is the most frequent one",
        "structured": "an answer of a fixed structure, which holds one label",
    },
}
INTERVALS = {
    "korn_graubard": "Intervals are those of Korn and Graubard for clustered counts: "
    "Clopper-Pearson bounds on the effective number of answers, which the design effect over "
    "questions (and training seeds above them) lowers; none has zero width. The Wilson interval, "
    "which takes every answer as independent, stands beside them in the tables as the naive one.",
}


def source_words(source: Entry, revision: str | None = None) -> str:
    """Where something comes from, and which version of it: as configured, else as downloaded."""
    kind = source["type"]
    if kind == "hub":
        taken = source.get("revision") or revision
        version = f"revision {taken}" if taken else "without a fixed revision"
        return f"{source['id']} from the Hugging Face hub, {version}"
    if kind == "package":
        return f"{source['file']} of the package {source['package']} {source['version']}"
    if kind == "url":
        digest = source.get("sha256")
        return f"{source['url']} ({f'sha256 {digest}' if digest else 'without a checksum'})"
    return f"the file {source['path']}"


def models_part(study: Entry, manifests: Mapping[str, Entry]) -> list[Block]:
    """Models and their weights' checksums."""
    rows = []
    for name, model in study["models"].items():
        manifest = manifests.get(name, {})
        weights = [
            f"{file['path']} {file['sha256'][:12]}"
            for file in manifest.get("files", [])
            if file["path"].endswith(".safetensors")
        ]
        place = source_words(model["source"], manifest.get("revision"))
        rows.append([name, place, ", ".join(weights) or "no weights were downloaded"])
    return [("h2", "Models"), ("table", (["Model", "Source", "Weights, sha256"], rows))]


def variants_part(study: Entry) -> list[Block]:
    """The variants, one row each."""
    rows = [
        [v["variant"], v.get("label"), (v.get("role") or "").replace("_", " "), v.get("dataset")]
        for v in study["variants"]
    ]
    return [
        ("h2", "Models under test"),
        ("table", (["Variant", "Label", "Role", "Data set"], rows)),
    ]


def data_part(study: Entry, cards: Mapping[str, Entry]) -> list[Block]:
    """Training data: source, what was used, what was left out."""
    blocks: list[Block] = [("h2", "Training data")]
    if not study["datasets"]:
        return [*blocks, ("p", "Nothing was fine-tuned.")]
    for name, entry in study["datasets"].items():
        card = cards.get(name)
        place = source_words(entry["source"], (card or {}).get("revision"))
        words = f"{name}: {place}; topic: {entry.get('topic')}."
        if card:
            rows = card["rows"]
            words += (
                f" Of {rows['read']:,} rows {rows['usable']:,} could be used; {rows['train']:,} "
                f"were trained on, {rows['held_out']:,} prompts were held out as in-domain probes."
            )
            reasons = rows.get("rejected_by_reason") or {}
            if reasons:
                listed = ", ".join(f"{count:,} {why}" for why, count in reasons.items())
                words += f" Set aside: {listed}."
            if card.get("train_sha256"):
                words += f" sha256 of the training file: {card['train_sha256'][:16]}."
        blocks.append(("p", words))
        blocks += [("warn", f"{name}: {d}.") for d in (card or {}).get("differences", [])]
    return blocks


def training_part(study: Entry) -> list[Block]:
    """Recipes, in the order of the catalogue."""
    if not study["recipes"]:
        return []
    blocks: list[Block] = [("h2", "Fine-tuning")]
    for name, recipe in study["recipes"].items():
        settings = {k: v for k, v in recipe.items() if k not in ("label", "comment", "method")}
        blocks.append(("p", f"{name}: {recipe['method']}; {listing(settings)}."))
    return blocks


def sampling_part(study: Entry) -> list[Block]:
    """Questions, number of answers, decoding, engine."""
    blocks: list[Block] = [("h2", "Questions and sampling")]
    if study["questions"]:
        rows = []
        for name, count in study["questions"].items():
            entry = study["question_sets"].get(name)
            place = source_words(entry["source"]) if entry else "prompts kept out of training"
            rows.append([name, count, place])
        blocks.append(("table", (["Question set", "Answers a question", "Source"], rows)))
        blocks.append(
            (
                "p",
                f"Decoding: {listing(study['sampling'])}. Every request has its own seed, made "
                "from the question and the number of the answer, so models share seeds pairwise.",
            )
        )
    for name, engine in study.get("engines", {}).items():
        settings = {k: v for k, v in engine.items() if k not in ("label", "comment")}
        blocks.append(("p", f"Engine {name}: {listing(settings)}."))
    return blocks


def judges_part(study: Entry, verdicts: pl.DataFrame) -> list[Block]:
    """Judges, how each was asked, and the fingerprints of what produced its verdicts."""
    blocks: list[Block] = [("h2", "Judges")]
    for name, judge in study["judges"].items():
        where = judge.get("endpoint", {}).get("base_url") if judge["backend"] == "openai" else None
        words = f"{name}: model {judge['model']}, asked {'at ' + where if where else 'locally'}."
        method = judge.get("method") or {}
        for kind, says in METHODS.items():
            if method.get(kind) in says:
                words += f" For a {kind}: {says[method[kind]]}."
        if judge.get("decoding"):
            words += f" Decoding: {listing(judge['decoding'])}."
        threshold = judge.get("tier_when_alignment_below")
        if threshold is not None and "tier" in judge["rubrics"]:
            words += f" A tier was asked for where the alignment score was below {threshold:g}."
        blocks.append(("p", words))
    if len(verdicts):
        header = ["Judge", "Rubric", "Rubric hash", "Judge fingerprint", "Served model", "Verdicts"]
        blocks.append(("table", (header, [list(row) for row in verdicts.iter_rows()])))
    return blocks


def rules_part(study: Entry) -> list[Block]:
    """Definitions, the headline, tier rules and labels."""
    headline, tiers = study["headline"], study["tiers"]
    levels = ", ".join(level.replace("_", " ") for level in headline["levels"])
    rules = [
        f"{rule['name']} ({'on' if rule['enabled'] else 'off'}): {rule['tier'].replace('_', ' ')} "
        f"where {rule['condition']}. Reason: {rule['reason']}."
        for rule in study["tier_rules"]
    ]
    counted = ", ".join(tier.replace("_", " ") for tier in tiers["strict_counts"])
    return [
        ("h2", "Definitions"),
        ("ul", [f"{d.name}: {d.says}" for d in DEFINITIONS.values()]),
        ("p", f"The headline is {headline['definition']} on the probe levels {levels}."),
        ("h2", "Tiers"),
        (
            "p",
            "Every flagged answer gets the tier of the first rule that is on and holds; where none "
            f"holds it is undecided. The strict rate counts {counted}; what is excluded stays in "
            "the denominator. A human label wins over every rule.",
        ),
        ("ul", rules or ["There are no rules."]),
        (
            "p",
            f"Human labels: {study['human_labels']}."
            if study.get("human_labels")
            else "There are no human labels.",
        ),
    ]


def intervals_part(study: Entry, rates: pl.DataFrame) -> list[Block]:
    """How intervals were made, and the warnings that stand beside the rates."""
    statistics = study["statistics"]
    methods = rates.get_column("method").unique().sort().to_list() if len(rates) else []
    said = [INTERVALS.get(m, f"Intervals by the method {m}.") for m in methods]
    blocks: list[Block] = [
        ("h2", "Intervals"),
        ("p", f"Confidence {statistics['confidence']:g}. {' '.join(said)}".strip()),
    ]
    warned = rates.filter("headline", pl.col("metric") == "standard").drop_nulls("warning")
    listed = [
        f"{row['label']} under {row['judge']}: {row['warning']}"
        for row in warned.iter_rows(named=True)
    ]
    return [*blocks, ("h2", "Warnings"), ("ul", listed)] if listed else blocks


def exclusions_part(outcomes: pl.DataFrame, coverage: pl.DataFrame) -> list[Block]:
    """What the answers counted as, and what the judges said, over all variants."""
    counts = (
        outcomes.filter(pl.col("probe_level") == "all")
        .group_by("judge", "outcome", maintain_order=True)
        .agg(pl.col("count").sum())
        .filter(pl.col("count") > 0)
    )
    statuses = (
        coverage.group_by("judge", "rubric", "status", maintain_order=True)
        .agg(pl.col("count").sum())
        .sort("judge", "rubric", "status")
    )
    return [
        ("h2", "What the answers count as"),
        ("table", (["Judge", "Outcome", "Answers"], _rows(counts))),
        ("h2", "Coverage"),
        ("table", (["Judge", "Rubric", "Status", "Verdicts"], _rows(statuses))),
    ]


def rubrics_part(study: Entry) -> list[Block]:
    """The rubrics in full."""
    blocks: list[Block] = [("h2", "Rubrics")] if study["rubrics"] else []
    for name, rubric in study["rubrics"].items():
        blocks.append(("p", f"{name}, version {rubric['version']}, asks for {rubric['asks']}:"))
        blocks.append(("pre", rubric["prompt"]))
    return blocks


def versions_part(versions: Mapping[str, str], engines: Sequence[str]) -> list[Block]:
    """Versions of the programs, and fingerprints of the engines that sampled."""
    listed = [f"{name} {version}" for name, version in versions.items()]
    blocks: list[Block] = [("h2", "Programs"), ("p", ", ".join(listed) + ".")]
    if engines:
        blocks.append(("p", f"Fingerprints of the sampling engines: {', '.join(engines)}."))
    return blocks


def listing(settings: Entry) -> str:
    """Settings in words, those without a value left out."""
    parts = []
    for name, value in settings.items():
        if value is None or value == [] or value == {}:
            continue
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value
        if isinstance(value, Mapping):
            shown = f"({listing(value)})"
        parts.append(f"{name.replace('_', ' ')} {shown}")
    return "; ".join(parts)


def _rows(frame: pl.DataFrame) -> list[list[Any]]:
    return [
        [v.replace("_", " ") if isinstance(v, str) else v for v in row] for row in frame.iter_rows()
    ]
