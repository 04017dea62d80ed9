"""The files that a prepared data set leaves: training rows and in-domain probes."""

import json
from pathlib import Path

import polars as pl

from em_tiers.hashing import hash_of
from em_tiers.prepare.row_formats import Example
from em_tiers.tables import QUESTIONS


def in_domain_table(prompts: list[list[dict]], dataset: str, topics: list[str]) -> pl.DataFrame:
    """Prompts kept out of training as a QUESTIONS table; each id is a hash of its content."""
    rows = [
        {
            "question_set": f"in-domain.{dataset}",
            "question_id": f"{dataset}-{hash_of(prompt, 12)}",
            "paraphrase": 0,
            "probe_level": "in_domain",
            "question_topics": topics,
            "messages": prompt,
        }
        for prompt in prompts
    ]
    return pl.DataFrame(rows, schema=QUESTIONS)


def write_train(examples: list[Example], path: Path) -> None:
    """Write one {"prompt": [...], "completion": [...]} a line, as TRL reads them."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(
            json.dumps(example._asdict(), ensure_ascii=False) + "\n" for example in examples
        )
