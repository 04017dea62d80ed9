"""Mix prepared data sets in stated shares into training rows, in-domain prompts and a card."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from em_tiers.files import atomic_path, read_json, sha256_of_file, write_json
from em_tiers.logs import LOG, run_script
from em_tiers.placeholders import check_rows_are_there
from em_tiers.prepare.dataset_card import lengths, repetitions, short_examples, slots
from em_tiers.prepare.mixture import Part, mix
from em_tiers.prepare.row_formats import Example
from em_tiers.prepare.split import Split
from em_tiers.prepare.training_files import in_domain_table, write_train
from em_tiers.tables import read_table, write_table


def main(
    files: Sequence[Path],
    probes: Sequence[Path],
    cards: Sequence[Path],
    dataset: str,
    settings: Mapping[str, Any],
    seed: int,
    train: Path,
    in_domain: Path,
    card: Path,
) -> None:
    """Write train.jsonl, in_domain.parquet and card.json of a mixture.

    Args:
        files, probes, cards: train.jsonl, in_domain.parquet and card.json of each data set, in the
            order of settings["mixture"].
        settings: the catalogue entry: mixture, topic, topics, description, max_rows, held_out.
        seed: of the order of the rows.

    Raises:
        UserError: a data set has too few rows for its share; nothing is written.
    """
    parts = [
        Part(entry["id"], entry["share"], read_rows(file), read_probes(table))
        for entry, file, table in zip(settings["mixture"], files, probes, strict=True)
    ]
    split, counts = mix(parts, settings["max_rows"], settings["held_out"], seed)
    facts = describe(parts, counts, split, [read_json(path) for path in cards], settings)
    with atomic_path(train) as new:
        write_train(split.train, new)
        facts["train_sha256"] = sha256_of_file(new)
    write_table(in_domain_table(split.probes, dataset, settings["topics"]), in_domain, "questions")
    write_json(card, {"dataset": dataset, **facts})
    for part, count in zip(parts, counts, strict=True):
        LOG.info("%s: %d of %d rows of %s", dataset, count, len(part.train), part.name)


def read_rows(path: Path) -> list[Example]:
    """Training rows of a prepared data set."""
    check_rows_are_there(path)
    with path.open(encoding="utf-8") as file:
        return [Example(**json.loads(line)) for line in file]


def read_probes(path: Path) -> list[list[dict[str, str]]]:
    """Prompts that a prepared data set keeps out of training."""
    return read_table(path, "questions")["messages"].to_list()


def describe(
    parts: Sequence[Part],
    counts: Sequence[int],
    split: Split,
    cards: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """The card's facts, but for the hash of the training file."""
    origins = [
        {
            "id": part.name,
            "share": part.share,
            "rows": count,
            **{key: card[key] for key in ("source", "revision", "train_sha256")},
        }
        for part, count, card in zip(parts, counts, cards, strict=True)
    ]
    differences = [f"{c['dataset']}: {text}" for c in cards for text in c["differences"]]
    licences = dict.fromkeys(card["licence"] or "unknown" for card in cards)
    return {
        "topic": settings["topic"],
        "topics": settings["topics"],
        "description": settings["description"],
        "format": "mixture",
        "source": {"type": "mixture", "parts": origins},
        "revision": None,
        "licence": ", ".join(licences),
        "rows": {
            "read": sum(len(part.train) for part in parts),
            "usable": len(split.train) + split.left_out,
            "rejected": 0,
            "rejected_by_reason": {},
            "held_out": len(split.probes),
            "held_out_duplicates_removed": split.held_out_duplicates,
            "left_out_by_max_rows": split.left_out,
            "train": len(split.train),
            "repeated_in_train": split.repeated,
        },
        "columns": [],
        "passed_over": {},
        "differences": [*differences, *repetitions(split)],
        "characters": lengths(split.train),
        "placeholders": slots(split.train),
        "examples": short_examples(split.train),
    }


if "snakemake" in globals():
    job = globals()["snakemake"]
    run_script(
        main,
        log=job.log[0],
        files=[Path(path) for path in job.input.train],
        probes=[Path(path) for path in job.input.in_domain],
        cards=[Path(path) for path in job.input.cards],
        dataset=job.wildcards.dataset,
        settings=job.params.settings,
        seed=job.params.seed,
        train=Path(job.output.train),
        in_domain=Path(job.output.in_domain),
        card=Path(job.output.card),
    )
