"""Print the progress of a run: done, failed and left in each stage, and the time to the end.

It only reads files and journals, so it can run while jobs are running.
"""

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from em_tiers.api.batch_book import open_batches, open_in_words
from em_tiers.files import read_json
from em_tiers.inference.missing_answers import (
    count_sampled,
    exists,
    sampled_answers,
    wanted_answers,
)
from em_tiers.journal import read_journal
from em_tiers.judge.plan import known_verdicts
from em_tiers.judge.requests import plan_requests, plan_tier_requests
from em_tiers.judge.settings import load_judge
from em_tiers.logs import run_script
from em_tiers.tables import scan_table
from em_tiers.terms import USABLE_STATUSES

# A line of a rule's log, as em_tiers.logs writes it.
LOGGED = re.compile(r"^\d\d:\d\d:\d\d ([A-Z]+) (.*)")
LOG_END = 65_536  # bytes that hold the last message and its traceback
STALE = 5  # pauses between two checkpoints after which training seems to have stopped


@dataclass(frozen=True)
class Count:
    """Requests of a stage or a part of it; `wanted` is None where it is not known yet."""

    done: int
    wanted: int | None
    failed: int = 0

    @property
    def left(self) -> int | None:
        """How many are to come."""
        return None if self.wanted is None else max(0, self.wanted - self.done)


def main(
    variants: list[dict[str, Any]],
    judges: Mapping[str, Mapping[str, Any]],
    logs: Path | str | None = None,
    watch_s: float = 10,
    accept_api_errors: bool = False,
) -> None:
    """Print a line for each stage, and for everything that has begun or failed.

    Args:
        variants: {variant, parent (None: not trained), dataset, adapter, checkpoints, responses,
            journal, card, questions: {path: n}, verdicts: {judge: path}}; paths may be None.
        judges: name -> {judge, identity, rubrics, journal}, as for plan_requests.
        logs: folder of the rules' logs.
        accept_api_errors: whether verdicts whose requests failed on the way may be missing.
        watch_s: seconds between two looks at the journals, from which the speed is taken; 0: none.
    """
    folders = _journals(variants, judges)
    before = {folder: count_lines(folder) for folder in folders}
    if not _is_left(variants):
        watch_s = 0  # a finished run has no speed
    time.sleep(watch_s)
    speeds = {
        folder: (count_lines(folder) - before[folder]) / watch_s if watch_s else 0.0
        for folder in folders
    }
    lines = [*status_lines(variants, judges, speeds, accept_api_errors), *failed_jobs(logs)]
    print("\n".join(lines))


def _is_left(variants: Iterable[dict]) -> bool:
    """Whether a table of answers or verdicts is still to come."""
    paths = {path for v in variants for path in (v["responses"], *v["verdicts"].values())}
    return not all(map(exists, paths))


def _journals(variants: list[dict], judges: Mapping[str, Mapping[str, Any]]) -> list[str]:
    named = [v["journal"] for v in variants if v["journal"]]
    return list(dict.fromkeys([*named, *(entry["journal"] for entry in judges.values())]))


def status_lines(
    variants: list[dict],
    judges: Mapping[str, Mapping[str, Any]],
    speeds: Mapping[str, float],
    accept_api_errors: bool = False,
) -> list[str]:
    """The whole status; `speeds` are finished requests per second by journal."""
    lines = training_lines(variants)
    lines += sampling_lines(variants, speeds)
    for name, entry in judges.items():
        speed = speeds.get(entry["journal"], 0.0)
        lines += judging_lines(name, entry, variants, speed, accept_api_errors)
    return lines


def training_lines(variants: Iterable[dict]) -> list[str]:
    """Fine-tunes that have their adapter, and the last checkpoint of the others."""
    tuned = {v["parent"]: v for v in variants if v["parent"]}
    if not tuned:
        return ["train: no fine-tunes"]
    done = [name for name, v in tuned.items() if exists(v["adapter"])]
    lines = [f"train: {len(done)} of {len(tuned)} fine-tunes done"]
    for name in tuned.keys() - set(done):
        if words := checkpoint_in_words(tuned[name]["checkpoints"], time.time()):
            lines.append(f"  {name}: {words}")
    return [lines[0], *sorted(lines[1:])]


def checkpoint_in_words(folder: str | Path | None, now: float) -> str | None:
    """The newest whole checkpoint of a fine-tune, and the time to the end at the speed up to it."""
    states = list(Path(folder).glob("checkpoint-*/trainer_state.json")) if folder else []
    if not states:
        return None
    times = sorted((int(path.parent.name.split("-")[1]), path.stat().st_mtime) for path in states)
    step, written = times[-1]
    state = read_json(max(states, key=lambda path: int(path.parent.name.split("-")[1])))
    steps = int(state.get("max_steps") or 0)
    words = f"checkpoint at step {step} of {steps or 'unknown'}"
    before, earlier = times[-2] if len(times) > 1 else (0, written)
    if written <= earlier or not steps:
        return words
    if now - written > STALE * (written - earlier):
        return f"{words}, {duration(now - written)} ago; training seems to have stopped"
    left = (steps - step) * (written - earlier) / (step - before)
    return f"{words}; about {duration(max(0.0, left - (now - written)))} left"


def failed_jobs(logs: str | Path | None) -> list[str]:
    """Jobs whose log ends in an error; what they had finished is in their journals."""
    found = []
    for path in sorted(Path(logs).glob("**/*.log")) if logs else []:
        if path.stem in ("show_status", "plan_requests"):
            continue
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LOG_END))
            text = file.read().decode("utf-8", "replace")
        said = [match for line in text.splitlines() if (match := LOGGED.match(line))]
        if said and said[-1][1] == "ERROR":
            # The last line of an unexpected failure's traceback names it.
            why = text.splitlines()[-1] if said[-1][2] == "unexpected failure" else said[-1][2]
            found.append(f"  {str(path.relative_to(logs)).removesuffix('.log')}: {why}")
    return [f"failed jobs: {len(found)} (logs in {logs})", *found] if found else []


def sampling_lines(variants: list[dict], speeds: Mapping[str, float]) -> list[str]:
    """Variants that have their answers; for the others, what their journal holds."""
    counts = {v["variant"]: count_sampled(v) for v in variants}
    finished = [v for v in variants if counts[v["variant"]]]
    total = sum(counts.values())
    lines = [f"sample: {len(finished)} of {len(variants)} variants done"]
    lines[0] += f", {total:,} answers" if total else ""
    unfinished = [v for v in variants if v not in finished]
    for folder in dict.fromkeys(v["journal"] for v in unfinished if v["journal"]):
        waiting = [v for v in unfinished if v["journal"] == folder]
        wanted = [wanted_answers(v["questions"]) for v in waiting]
        written = sum(counts[v["variant"]] for v in finished if v["journal"] == folder)
        begun = max(0, count_lines(folder) - written)
        if any(n is None for n in wanted):
            count = Count(begun, None)
        else:
            # The journal may also hold adapter checks, and answers of older settings.
            count = Count(min(begun, sum(wanted)), sum(wanted))
        lines.append(
            f"  {Path(folder).name}: {progress_in_words(count, 'answers', speeds.get(folder, 0))}"
        )
    return lines


def judging_lines(
    name: str,
    entry: Mapping[str, Any],
    variants: list[dict],
    speed: float,
    accept_api_errors: bool = False,
) -> list[str]:
    """Variants that a judge has judged, its requests on the answers so far, and what failed."""
    asked = [v for v in variants if name in v["verdicts"]]
    tables = {v["verdicts"][name] for v in asked if exists(v["verdicts"][name])}
    judged = judged_variants(tables, accept_api_errors)
    finished = [v for v in asked if v["variant"] in judged]
    sampled = [v for v in asked if count_sampled(v)]
    lines = [f"judge {name}: {len(finished)} of {len(asked)} variants done"]
    waiting = [v for v in sampled if v not in finished]
    if waiting:
        lines.append(f"  {progress_in_words(requests_of(entry, waiting), 'requests', speed)}")
    if words := open_in_words(open_batches(entry["journal"]), time.time()):
        lines.append(f"  {words}")
    if len(sampled) < len(asked):
        lines.append(f"  variants without answers so far: {len(asked) - len(sampled)}")
    failed = failures(tables)
    if failed:
        lines.append("  failed verdicts: " + ", ".join(f"{s} {n:,}" for s, n in failed))
    if "api_error" in dict(failed):
        then = "accepted" if accept_api_errors else "asked again by the next run"
        lines[-1] += f" (api_error: {then})"
    return lines


def judged_variants(tables: Iterable[str], accept_api_errors: bool) -> set[str]:
    """Variants in these verdict tables; without those that the next run asks about again."""
    if not tables:
        return set()
    found = scan_table([Path(path) for path in sorted(tables)], "verdicts")
    lost = (pl.col("status") == "api_error").any() & (not accept_api_errors)
    by_variant = found.group_by("variant").agg(lost=lost).collect()
    return set(by_variant.filter(~pl.col("lost"))["variant"])


def requests_of(entry: Mapping[str, Any], waiting: list[dict]) -> Count:
    """Requests about the answers of some variants: in the journal, and in all.

    Tiers are asked for where the alignment is low; those of answers that have no score yet are not
    known and not counted.
    """
    judge = load_judge(entry["judge"], entry["identity"], entry["rubrics"])
    cards = {v["dataset"]: read_json(v["card"]) for v in waiting if exists(v["card"])}
    answers = pl.concat([sampled_answers(v) for v in waiting])
    records = read_journal(entry["journal"])
    first = list(plan_requests(answers, judge, cards))
    tiers = plan_tier_requests(answers, judge, cards, known_verdicts(first, judge, records))
    keys = {request.key for request in (*first, *tiers)}
    done = keys & records.keys()
    verdicts = (records[key]["verdicts"].values() for key in done)
    failed = sum(any(v["status"] not in USABLE_STATUSES for v in found) for found in verdicts)
    return Count(len(done), len(keys), failed)


def failures(paths: Iterable[str]) -> list[tuple[str, int]]:
    """Failed statuses in verdict tables with their counts, most frequent first."""
    if not paths:
        return []
    counts = (
        scan_table([Path(path) for path in sorted(paths)], "verdicts")
        .filter(~pl.col("status").is_in(USABLE_STATUSES))
        .group_by("status")
        .len()
        .sort("len", "status", descending=[True, False])
        .collect()
    )
    return list(counts.iter_rows())


def progress_in_words(count: Count, what: str, speed: float) -> str:
    """Done, left and the expected time at `speed` requests per second."""
    if count.wanted is None:
        return f"{count.done:,} {what} done, number left unknown"
    words = f"{count.done:,} of {count.wanted:,} {what} done, {count.left:,} left"
    if count.failed:
        words += f", {count.failed:,} failed"
    if not count.left:
        return words
    if speed <= 0:
        return f"{words}; no progress while watching"
    return f"{words}; about {duration(count.left / speed)} at {speed:.2g} per second"


def duration(seconds: float) -> str:
    """Such as "10 min" or "2 h 5 min"."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "a minute"
    if minutes < 90:
        return f"{minutes} min"
    return (
        f"{minutes // 60} h {minutes % 60} min" if minutes < 48 * 60 else f"{minutes / 1440:.0f} d"
    )


def count_lines(folder: str | Path) -> int:
    """Finished requests in a journal's files."""
    total = 0
    for path in Path(folder).glob("*.jsonl"):
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                total += block.count(b"\n")
    return total


if "snakemake" in globals():
    job = globals()["snakemake"]
    run_script(
        main,
        job.log[0] if job.log else None,
        variants=job.params.variants,
        judges=job.params.judges,
        logs=job.params.logs,
        accept_api_errors=job.params.accept_api_errors,
        watch_s=job.params.get("watch_s", 10),
    )
