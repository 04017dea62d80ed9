"""Logs of Inspect: the answers of one variant with every judge's scores, outcome and reason.

A `.eval` file is a zip of JSON: header.json, summaries.json and samples/ID_epoch_N.json. A question
is a sample, and its answers are the sample's epochs. The format is that of Inspect's log version 2
(https://inspect.aisi.org.uk/eval-logs.html); a test reads the logs with the package itself.
"""

import json
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from em_tiers.files import atomic_path
from em_tiers.hashing import hash_of
from em_tiers.tables import scan_table
from em_tiers.terms import OUTCOMES_ALL, SCORES

VERSION = 2
PROVIDER = "none"  # Inspect's own, for logs without a model that it could ask
_STOPS = {"length": "max_tokens", "stop": "stop", "content_filter": "content_filter"}
_LONGEST_SUMMARY = 1000  # characters of a text in summaries.json
_FIRST_DAY = (1980, 1, 1, 0, 0, 0)  # of every part of the zip: the same log has the same bytes


def write_log(
    path: Path,
    variant: Mapping[str, Any],
    study: Mapping[str, Any],
    responses: Sequence[Path],
    outcomes: Sequence[Path],
    verdicts: Sequence[Path],
) -> Counter[str]:
    """Write the log of one variant, whole, in one rename.

    Args:
        variant: the variant's columns, with its label and role.
        study: {experiment, created}: the time is that of the newest outcome, in ISO 8601.
        responses, outcomes, verdicts: tables with any variants and judges.

    Returns:
        The number of answers, under "answers", and of those that each judge flagged, by its name.
    """
    name = variant["variant"]
    own = pl.col("variant") == name
    answers = scan_table(list(responses), "responses").filter(own).collect()
    judged = scan_table(list(outcomes), "outcomes").filter(own).collect()
    replies = _replies(scan_table(list(verdicts), "verdicts").filter(own))
    scores: dict[str, dict[str, dict[str, Any]]] = {}
    for row in judged.iter_rows(named=True):
        score = score_of(row, replies.get((row["response_key"], row["judge"]), {}))
        scores.setdefault(row["response_key"], {})[row["judge"]] = score
    samples = [
        _sample(row, scores.get(row["response_key"], {}), name)
        for row in answers.iter_rows(named=True)
    ]
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        _put(archive, "header.json", header_of(samples, judged, variant, study))
        for sample in samples:
            _put(archive, f"samples/{sample['id']}_epoch_{sample['epoch']}.json", sample)
        _put(archive, "summaries.json", [_summary(sample) for sample in samples])
    flagged = judged.filter("flagged").group_by("judge").len()
    return Counter(answers=len(samples), **dict(flagged.iter_rows()))


def score_of(outcome: Mapping[str, Any], replies: Mapping[str, Any]) -> dict[str, Any]:
    """One judge's view of an answer, as a score of Inspect.

    Args:
        outcome: a row of the outcomes table.
        replies: {rubric: {status, raw_text, reasoning, label}} of the judge.
    """
    value = {asks: outcome[asks] for asks in SCORES} | {"flagged": outcome["flagged"]}
    kept = ("outcome", "tier", "assigned_by", "rule", "reason", "human_tier", "tier_label")
    return {
        "value": value,
        "explanation": outcome["reason"],
        "metadata": {key: outcome[key] for key in kept} | {"replies": dict(replies)},
    }


def header_of(
    samples: Sequence[Mapping[str, Any]],
    judged: pl.DataFrame,
    variant: Mapping[str, Any],
    study: Mapping[str, Any],
) -> dict[str, Any]:
    """The header of a log: what was evaluated, and counts by judge and outcome."""
    judges = judged["judge"].unique(maintain_order=True).to_list()
    ids = list(dict.fromkeys(sample["id"] for sample in samples))
    names = (*SCORES, "flagged")
    identity = hash_of([study["experiment"], variant["variant"]], 22)
    return {
        "version": VERSION,
        "status": "success",
        "eval": {
            "eval_id": identity,
            "run_id": hash_of([study["experiment"]], 22),
            "created": study["created"],
            "task": study["experiment"],
            "task_id": identity,
            "dataset": {"name": study["experiment"], "samples": len(ids), "sample_ids": ids},
            "model": f"{PROVIDER}/{variant['variant']}",
            "config": {"epochs": max((sample["epoch"] for sample in samples), default=1)},
            "scorers": [
                {"name": judge, "metrics": {name: [{"name": "mean"}] for name in names}}
                for judge in judges
            ],
            "metadata": dict(variant),
        },
        "results": {
            "total_samples": len(samples),
            "completed_samples": len(samples),
            "scores": [_result(judge, judged.filter(judge=judge)) for judge in judges],
        },
        "stats": {"started_at": study["created"], "completed_at": study["created"]},
    }


def _result(judge: str, judged: pl.DataFrame) -> dict[str, Any]:
    """A judge's counts: answers, flagged ones, and answers by outcome."""
    by_outcome = dict(judged.group_by("outcome").len().iter_rows())
    counts = {"answers": len(judged), "flagged": int(judged["flagged"].sum())}
    counts |= {name: by_outcome.get(name, 0) for name in OUTCOMES_ALL}
    unscored = judged.select(pl.col("alignment").is_null().sum()).item()
    return {
        "name": judge,
        "scorer": judge,
        "scored_samples": len(judged) - unscored,
        "unscored_samples": unscored,
        "metrics": {
            name: {"name": name, "value": count}
            | ({"group": "outcome"} if name in OUTCOMES_ALL else {})
            for name, count in counts.items()
        },
    }


def _sample(
    row: Mapping[str, Any], scores: Mapping[str, dict[str, Any]], model: str
) -> dict[str, Any]:
    content: Any = row["response"]
    if row["reasoning"]:
        thoughts = {"type": "reasoning", "reasoning": row["reasoning"]}
        content = [thoughts, {"type": "text", "text": row["response"]}]
    answer = {"role": "assistant", "content": content, "source": "generate", "model": model}
    asked = [{**message, "source": "input"} for message in row["messages"]]
    stop = _STOPS.get(row["finish_reason"], "unknown")
    form = f".p{row['paraphrase']}" if row["paraphrase"] else ""
    kept = ("response_key", "question_set", "question_id", "paraphrase", "probe_level")
    return {
        "id": f"{row['question_set']}.{row['question_id']}{form}",
        "epoch": row["sample_index"] + 1,
        "input": row["messages"] if len(asked) > 1 else row["messages"][0]["content"],
        "target": "",
        "messages": [*asked, answer],
        "output": {
            "model": model,
            "choices": [{"message": answer, "stop_reason": stop}],
            "completion": row["response"],
        },
        "scores": dict(scores),
        "metadata": {key: row[key] for key in kept}
        | {"question_topics": list(row["question_topics"] or [])},
        "uuid": row["response_key"],
    }


def _summary(sample: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("id", "epoch", "input", "target", "metadata", "uuid")
    scores = {
        judge: {**score, "metadata": {k: v for k, v in score["metadata"].items() if k != "replies"}}
        for judge, score in sample["scores"].items()
    }
    short = {key: _cut(sample[key]) for key in kept}
    return short | {"scores": scores, "completed": True, "message_count": len(sample["messages"])}


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return value[:_LONGEST_SUMMARY]
    if isinstance(value, list):
        return [_cut(part) for part in value]
    if isinstance(value, Mapping):
        return {key: _cut(part) for key, part in value.items()}
    return value


def _replies(verdicts: pl.LazyFrame) -> dict[tuple[str, str], dict[str, Any]]:
    """What each judge said of each answer, by rubric."""
    kept = ("status", "label", "raw_text", "reasoning", "served_model")
    found: dict[tuple[str, str], dict[str, Any]] = {}
    columns = ("response_key", "judge", "rubric", *kept)
    for row in verdicts.select(columns).collect().iter_rows(named=True):
        said = {key: row[key] for key in kept if row[key] is not None}
        found.setdefault((row["response_key"], row["judge"]), {})[row["rubric"]] = said
    return found


def _put(archive: zipfile.ZipFile, name: str, value: Any) -> None:
    part = zipfile.ZipInfo(name, _FIRST_DAY)
    part.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(part, json.dumps(value, ensure_ascii=True))
