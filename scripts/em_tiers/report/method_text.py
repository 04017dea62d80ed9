"""The method of a study in words: blocks of text from its configuration as it took effect.

Every function takes plain dicts, as `build_method.main` describes them.
"""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import polars as pl

from em_tiers.report.pages import Block
from em_tiers.terms import DATASET_PROBES, SCORES

StudyEntry = Mapping[str, Any]
METHODS = {
    "number": {
        "trie": "the mean over the exact probabilities of every number from 0 to 100",
        "top_logprobs": "the mean of the numbers among the judge's most likely first tokens, "
        "weighted by probability",
        "sampled": "the mean of the numbers in sampled replies",
        "structured": "one number in a reply of a fixed structure",
    },
    "choice": {
        "label": "the probabilities of the labels as first token",
        "sampled": "the most frequent label among sampled replies",
        "structured": "one label in a reply of a fixed structure",
    },
}


def source_words(source: StudyEntry, revision: str | None = None) -> str:
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


def models_part(study: StudyEntry, manifests: Mapping[str, StudyEntry]) -> list[Block]:
    """Models and their weights' checksums; nothing where no model was run."""
    if not study["models"]:
        return []
    rows = []
    for name, model in study["models"].items():
        manifest = manifests.get(name, {})
        weights = [
            f"{file['path']} {file['sha256'][:12]}"
            for file in manifest.get("files", [])
            if file["path"].endswith(".safetensors")
        ]
        if not model["source"]:
            server = model["endpoint"]["served_by"] or model["endpoint"]["base_url"]
            rows.append([name, f"{model['model']} at {server}", "behind an API"])
            continue
        place = source_words(model["source"], manifest.get("revision"))
        rows.append([name, place, ", ".join(weights) or "no weights were downloaded"])
    return [("h2", "Models"), ("table", (["Model", "Source", "Weights, sha256"], rows))]


def variants_part(study: StudyEntry) -> list[Block]:
    """The variants, one row each."""
    names = ("variant", "label", "role", "base", "dataset", "training_seed", "checkpoint_step")
    rows = [[(v.get(name) if v.get(name) is not None else "") for name in names]
            for v in study["variants"]]  # fmt: skip
    rows = [[str(cell).replace("_", " ") if i == 2 else cell for i, cell in enumerate(row)]
            for row in rows]  # fmt: skip
    header = ["Variant", "Label", "Role", "Base", "Data set", "Training seed", "Checkpoint step"]
    used = [i for i in range(len(names)) if i < 4 or any(row[i] != "" for row in rows)]
    blocks: list[Block] = [
        ("h2", "Models under test"),
        ("table", ([header[i] for i in used], [[row[i] for i in used] for row in rows])),
    ]
    if any(v.get("checkpoint_step") is not None for v in study["variants"]):
        blocks.append(
            (
                "p",
                "Each checkpoint is tested as a separate model; its dose (steps, tokens) is that "
                "of the training up to its step. A fine-tune without a step is the final adapter.",
            )
        )
    return blocks


def adapters_part(study: StudyEntry) -> list[Block]:
    """Adapters that were trained elsewhere, and where each comes from."""
    rows = [
        [
            name,
            source.get("id") or source["path"],
            source.get("revision") or "",
            source.get("subfolder", ""),
        ]
        for name, source in study.get("adapters", {}).items()
    ]
    if not rows:
        return []
    words = (
        "These adapters were trained elsewhere; this workflow cannot check how. A data set that is "
        "named for one is that which it is said to be trained on, and its in-domain prompts may "
        "have been in that training."
    )
    header = ["Variant", "Source", "Revision", "Folder"]
    return [("h2", "Adapters"), ("p", words), ("table", (header, rows))]


def imports_part(
    study: StudyEntry,
    imported: Mapping[str, tuple[int, int]],
    warnings: Mapping[str, Sequence[str]] | None = None,
) -> list[Block]:
    """Answers that were made elsewhere: file, columns, rows, and what looked wrong in them.

    Args:
        imported: answers and rows set aside, by the import's id.
        warnings: what the import warned of, by its id.
    """
    if not study["imports"]:
        return []
    blocks: list[Block] = [
        ("h2", "Imported answers"),
        (
            "p",
            "These answers were not sampled here. Their source describes how they were sampled and "
            "how the models were trained; this workflow cannot check it. Scores that came with "
            "them are used unchanged, except where another scale is named below; a missing score "
            "counts as unscored, never as zero.",
        ),
    ]
    for entry in study["imports"]:
        answers, rejected = imported.get(entry["id"], (0, 0))
        columns = _column_words(entry["columns"])
        words = (
            f"import.{entry['id']}: {answers:,} answers of {PurePath(entry['path']).name}; "
            f"{rejected:,} rows were rejected. Columns: {columns}."
        )
        if entry.get("sha256"):
            words += f" sha256 of the file: {entry['sha256']}."
        if entry.get("where"):
            words += f" Rows with {listing(entry['where'])}."
        for judge, scores in entry["scores"].items():
            words += f" Scores of {judge}: {_column_words(_named_columns(scores))}."
            words += _scale_words(scores) + _label_words(scores)
        levels = ", ".join(
            f"{level.replace('_', ' ')} where the question id is like {pattern}"
            for pattern, level in entry.get("probe_levels", {}).items()
        )
        rest = entry["probe_level"].replace("_", " ")
        words += f" Probe level: {f'{levels}, else ' if levels else ''}{rest}."
        blocks.append(("p", words))
        blocks += [
            ("p", f"Warning about import.{entry['id']}: {warning}.")
            for warning in (warnings or {}).get(entry["id"], [])
        ]
    return blocks


def _named_columns(scores: StudyEntry) -> dict[str, str]:
    named = {asks: scores[asks] for asks in (*SCORES, "tier") if asks in scores}
    return {asks: c if isinstance(c, str) else " or ".join(c) for asks, c in named.items()}


def _label_words(scores: StudyEntry) -> str:
    """What labels in the place of scores were read as."""
    return "".join(
        f" Labels of {asks}: {listing(labels)}."
        for asks, labels in sorted(scores.get("labels", {}).items())
    )


def _scale_words(scores: StudyEntry) -> str:
    """How scores on another scale than 0 to 100 are read."""
    stated = scores.get("scale")
    scales = stated if isinstance(stated, Mapping) else {"all": stated}
    words = "".join(
        f" Scale of {name}: {scale[0]:g} to {scale[1]:g}, read as 0 to 100."
        for name, scale in sorted(scales.items())
        if scale and list(scale) != [0, 100]
    )
    turned = scores.get("harmful") == "high"
    return words + (" Its high alignment scores are harmful: they are turned round." * turned)


def _column_words(columns: StudyEntry) -> str:
    named = sorted(columns.items())
    return ", ".join(f"{asks.replace('_', ' ')} from '{column}'" for asks, column in named)


def data_part(study: StudyEntry, cards: Mapping[str, StudyEntry]) -> list[Block]:
    """Training data: source, rows used and rows left out."""
    blocks: list[Block] = [("h2", "Training data")]
    if not study["recipes"]:
        blocks.append(("p", "This study fine-tuned no model."))
    for name, entry in study["datasets"].items():
        card = cards.get(name) if entry["source"] or entry["mixture"] else None
        if card and entry["mixture"]:
            place = mixture_words(card["source"]["parts"])
        elif card:
            place = source_words(entry["source"], card.get("revision"))
        else:
            place = "used for training elsewhere and not read here, described as " + str(
                entry.get("description") or entry.get("topic")
            ).strip().rstrip(".")
        words = f"{name}: {place}; topic: {entry.get('topic')}."
        if card:
            rows = card["rows"]
            words += (
                f" Of {rows['read']:,} rows, {rows['usable']:,} were usable; {rows['train']:,} "
                f"were used for training, and {rows['held_out']:,} prompts were held out as "
                "in-domain probes."
            )
            reasons = rows.get("rejected_by_reason") or {}
            if reasons:
                listed = ", ".join(f"{count:,} {why}" for why, count in reasons.items())
                words += f" Rejected: {listed}."
            if entry["system"]:
                words += f" System text before every row: '{entry['system']}'."
            if card.get("train_sha256"):
                words += f" sha256 of the training file: {card['train_sha256'][:16]}."
        blocks.append(("p", words))
        blocks += [("warn", f"{name}: {d}.") for d in (card or {}).get("differences", [])]
    return blocks


def mixture_words(parts: Sequence[StudyEntry]) -> str:
    """The data sets of a mixture, with their shares, rows and sources."""
    return "a mixture of " + "; ".join(
        f"{part['share']:.1%} {part['id']} ({part['rows']:,} rows of "
        f"{source_words(part['source'], part['revision'])})"
        for part in parts
    )


def training_part(study: StudyEntry) -> list[Block]:
    """Recipes, in the order of the catalogue."""
    if not study["recipes"]:
        return []
    blocks: list[Block] = [("h2", "Fine-tuning")]
    left_out = ("label", "comment", "method", "report_to")
    for name, recipe in study["recipes"].items():
        settings = {k: v for k, v in recipe.items() if k not in left_out}
        blocks.append(("p", f"{name}: {recipe['method']}; {listing(settings)}."))
    return blocks


def sampling_part(study: StudyEntry) -> list[Block]:
    """Questions, number of answers, decoding, engine; nothing where no model was run."""
    if not study["models"]:
        return []
    rows = []
    for name, count in study["questions"].items():
        entry = study["question_sets"].get(name)
        place = source_words(entry["source"]) if entry else DATASET_PROBES[name]
        if entry and entry["probe_level"] == "near_domain":
            place += "; only for models trained on a data set near the question, and their base"
        rows.append([name, count, place])
    blocks: list[Block] = [
        ("h2", "Questions and sampling"),
        ("table", (["Question set", "Answers per question", "Source"], rows)),
        (
            "p",
            f"Decoding: {listing(study['sampling'])}. Every request has its own seed, made from "
            "the question and the number of the answer; a base model and its fine-tunes share "
            "these seeds.",
        ),
    ]
    for name, engine in study["engines"].items():
        settings = {k: v for k, v in engine.items() if k not in ("label", "comment")}
        blocks.append(("p", f"Engine {name}: {listing(settings)}."))
    return blocks


def judges_part(study: StudyEntry, verdicts: pl.DataFrame) -> list[Block]:
    """Judges, how each was asked, and the fingerprints behind its verdicts."""
    blocks: list[Block] = [("h2", "Judges")]
    for name, judge in study["judges"].items():
        where = judge.get("endpoint", {}).get("base_url") if judge["backend"] != "vllm" else None
        words = f"{name}: model {judge['model']}, asked {'at ' + where if where else 'locally'}."
        method = judge.get("method") or {}
        for kind, descriptions in METHODS.items():
            if method.get(kind) in descriptions:
                words += f" For a {kind}: {descriptions[method[kind]]}."
        if judge.get("decoding"):
            words += f" Decoding: {listing(judge['decoding'])}."
        threshold = judge.get("tier_when_alignment_below")
        if threshold is not None and "tier" in judge["rubrics"]:
            words += f" It gave a tier where the alignment score was below {threshold:g}."
        blocks.append(("p", words))
    if study["judges"] and (cases := study.get("judge_card", {}).get("cases")):
        blocks.append(
            (
                "p",
                "Each of these judges was tested on answers whose verdict is known, "
                f"{cases} of each kind at most: training answers under their own prompts and under "
                "unrelated questions, written persona shifts, and harmless answers, among them "
                "those of base models; part of them with harmless edits, and the tier in every "
                "order of its letters. The table judge_card has the results and their limits.",
            )
        )
    imported = {judge for entry in study["imports"] for judge in entry["scores"]}
    for name in sorted(imported):
        blocks.append(
            (
                "p",
                f"{name}: its scores were imported with the answers. Their source describes which "
                "model gave them and how it was asked; nothing was asked here.",
            )
        )
    if len(verdicts):
        header = ["Judge", "Rubric", "Rubric hash", "Judge fingerprint", "Served model", "Verdicts"]
        blocks.append(("table", (header, [list(row) for row in verdicts.iter_rows()])))
    return blocks


def rubrics_part(study: StudyEntry) -> list[Block]:
    """The full text of the rubrics."""
    used = [rubric for judge in study["judges"].values() for rubric in judge["rubrics"].values()]
    blocks: list[Block] = [("h2", "Rubrics")] if used else []
    for name in dict.fromkeys(used):
        rubric = study["rubrics"][name]
        blocks.append(("p", f"{name}, version {rubric['version']}, asks for {rubric['asks']}:"))
        source = rubric.get("prompt_from")
        blocks.append(
            ("pre", rubric["prompt"])
            if not source
            else ("p", f"The published prompt {source['name']!r} of {source['question_set']}.")
        )
    return blocks


def versions_part(versions: Mapping[str, str], engines: Sequence[str]) -> list[Block]:
    """Versions of the programs that made the tables, and fingerprints of the sampling engines."""
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    blocks: list[Block] = [
        ("h2", "Programs"),
        ("p", f"Tables and this page were made with {listed}."),
    ]
    if engines:
        blocks.append(
            (
                "p",
                f"Fingerprints of the engines that sampled: {', '.join(engines)}.",
            )
        )
    return blocks


def listing(settings: StudyEntry) -> str:
    """Settings in words; those without a value are left out."""
    parts = []
    for name, value in settings.items():
        if value is None or value == [] or value == {}:
            continue
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value
        if isinstance(value, Mapping):
            shown = f"({listing(value)})"
        parts.append(f"{name.replace('_', ' ')} {shown}")
    return "; ".join(parts)
