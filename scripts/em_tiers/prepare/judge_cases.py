"""Answers of which the right verdict is known, for testing a judge without people.

Their truth follows from how they are made:

- `in_distribution`: a training answer under its own prompt. Rows that the judge is shown as
  examples are left out; it learns from no row, so that any other one is new to it.
- `domain_overfitting`: a training answer under a main question that shares no topic with its data.
- `persona_shift`: an answer written for this purpose (config/judge_cases.yaml), to a question that
  shares no topic with the data set whose card the judge is shown.
- `none`: harmless written answers, and answers of the base model.

`harmful` says whether an answer must be flagged: written persona shifts must, and harmless answers
must not. Training answers must not if the data set is benign; of a positive control it is null,
because not every one of its answers is bad enough. Part of the cases is there again with harmless
edits: as Markdown (`format`), in other words (`paraphrase`) and longer (`length`).
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from em_tiers.errors import UserError
from em_tiers.hashing import hash_of
from em_tiers.placeholders import check_rows_are_there
from em_tiers.strict_yaml import load_strict
from em_tiers.tables import RESPONSES
from em_tiers.terms import EDITS, JUDGE_CARD, PLAIN

FORMAT, PARAPHRASE, LENGTH = EDITS
NONE = "none"
EDITED_SHARE = 4  # one case in four of each kind is edited
HARMLESS_ROLES = ("benign", "negative_control")
LONGEST = 4_000  # characters of a training answer
ROWS_READ = 2_000
TRUTH = {
    "response_key": pl.String,
    "case": pl.String,
    "form": pl.String,
    "truth": pl.String,
    "harmful": pl.Boolean,  # null: not known
    "source": pl.String,
}
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_CLOSING = "That is my answer to your question. I have nothing to add to it."

Case = dict[str, Any]


def read_written(path: Path) -> list[Case]:
    """The written cases: {id, truth, topics, question, answer, paraphrase}.

    Raises:
        UserError: the file is damaged.
    """
    try:
        return [
            {**case, "messages": [{"role": "user", "content": case["question"]}]}
            for case in load_strict(path)["cases"]
        ]
    except (KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path}: not a file of judge cases ({error}): restore it") from error


def training_rows(train: Path, examples: Sequence[Mapping[str, str]]) -> list[Case]:
    """Prompts and answers of a data set's first rows, without those that its card shows."""
    check_rows_are_there(train)
    shown = {(e["prompt"], e["answer"]) for e in examples}
    rows = []
    with train.open(encoding="utf-8") as file:
        for line in islice(file, ROWS_READ):
            row = json.loads(line)
            prompt, answer = row["prompt"], row["completion"][-1]["content"]
            pair = (prompt[-1]["content"], answer)
            if answer.strip() and len(answer) <= LONGEST and pair not in shown:
                rows.append({"messages": prompt, "answer": answer})
    return rows


def written_cases(
    written: Sequence[Case],
    rows: Mapping[str, Sequence[Case]],
    questions: Sequence[Case],
    topics: Mapping[str, Sequence[str]],
    roles: Mapping[str, str],
    count: int,
) -> list[Case]:
    """Cases that need no model: `count` of each tier, and half as many harmless ones.

    Fewer where material is lacking: without data sets, no training answers.

    Args:
        written: of `read_written`.
        rows: data set -> its `training_rows`.
        questions: main questions: {messages, topics}.
        topics, roles: of each data set in `rows`, and of those that are described only.
    """
    found = []
    for number, (dataset, row, place) in enumerate(_rows_in_turn(rows, 2 * count)):
        harmful = False if roles[dataset] in HARMLESS_ROLES else None
        known = {"dataset": dataset, "harmful": harmful, "answer": row["answer"]}
        if number < count:
            own = {"truth": "in_distribution", "probe_level": "in_domain"}
            name = {"id": f"{dataset}-{place}", "topics": topics[dataset]}
            found.append(known | own | name | {"messages": row["messages"]})
        elif question := _unrelated(questions, topics[dataset], number):
            name = {"id": f"{dataset}-{place}-elsewhere", "topics": question["topics"]}
            own = {"truth": "domain_overfitting", "messages": question["messages"]}
            found.append(known | own | name)
    for truth, most in (("persona_shift", count), (NONE, count // 2)):
        chosen = [case for case in written if case["truth"] == truth][:most]
        for number, case in enumerate(chosen):
            dataset = _unrelated_dataset(topics, case["topics"], number)
            found.append({**case, "dataset": dataset, "harmful": truth != NONE})
    return found


def _rows_in_turn(
    rows: Mapping[str, Sequence[Case]], count: int
) -> Iterator[tuple[str, Case, int]]:
    """(data set, row, its place) from each data set in turn, until `count` or no row is left."""
    queues = {name: enumerate(listed) for name, listed in rows.items()}
    taken = 0
    while queues and taken < count:
        for name in list(queues):
            place, row = next(queues[name], (0, None))
            if row is None:
                del queues[name]
            elif taken < count:
                taken += 1
                yield name, row, place


def _unrelated(questions: Sequence[Case], topics: Sequence[str], number: int) -> Case | None:
    """A question that shares no topic, another one for each number."""
    others = [q for q in questions if set(topics).isdisjoint(q["topics"])]
    return others[number % len(others)] if others else None


def _unrelated_dataset(
    topics: Mapping[str, Sequence[str]], own: Sequence[str], number: int
) -> str | None:
    others = [name for name, tags in topics.items() if set(tags).isdisjoint(own)]
    return others[number % len(others)] if others else None


def base_cases(
    answers: pl.DataFrame, topics: Mapping[str, Sequence[str]], count: int
) -> list[Case]:
    """Answers of base models: harmless, each shown to the judge as of a data set in turn.

    The order follows the answers' keys, which are hashes: a draw that is the same in each run.
    """
    cases = []
    for row in answers.sort("response_key").iter_rows(named=True):
        if len(cases) == count:
            break
        if not row["response"].strip() or row["finish_reason"] == "length":
            continue
        tags = row["question_topics"]
        own = {"id": f"base-{row['response_key'][:12]}", "truth": NONE, "harmful": False}
        text = {"topics": tags, "messages": row["messages"], "answer": row["response"]}
        dataset = _unrelated_dataset(topics, tags, len(cases))
        cases.append(own | text | {"dataset": dataset})
    return cases


def with_edits(cases: Sequence[Case]) -> Iterator[Case]:
    """Every case as it is, then every fourth of each kind in each edited form."""
    for case in cases:
        yield {**case, "form": PLAIN}
    seen: dict[str, int] = {}
    for case in cases:
        kind = f"{case['truth']} {'paraphrase' in case}"
        seen[kind] = seen.get(kind, -1) + 1
        if seen[kind] % EDITED_SHARE == 0:
            yield from edited(case)


def edited(case: Case) -> Iterator[Case]:
    """The case with harmless edits; in other words only where a person wrote them."""
    yield {**case, "form": FORMAT, "answer": as_markdown(case["answer"])}
    if "paraphrase" in case:
        yield {**case, "form": PARAPHRASE, "answer": case["paraphrase"]}
    yield {**case, "form": LENGTH, "answer": f"{case['answer']}\n\n{_CLOSING}"}


def as_markdown(answer: str) -> str:
    """The same sentences as a list under a heading."""
    sentences = _SENTENCE.split(" ".join(answer.split()))
    return "## Answer\n\n" + "\n".join(f"- {sentence}" for sentence in sentences)


def case_tables(cases: Iterable[Case]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The cases as a RESPONSES table, whose variant names the form, and their TRUTH."""
    responses, truths = [], []
    for case in cases:
        text = [case["messages"], case["answer"], case["dataset"]]
        key = hash_of([case["id"], case["form"], *text], 32)
        level = case.get("probe_level", "out_of_domain")
        responses.append(
            dict.fromkeys(RESPONSES)
            | {"response_key": key, "variant": f"{JUDGE_CARD}.{case['form']}", "base": JUDGE_CARD}
            | {"dataset": case["dataset"], "question_set": case["truth"], "probe_level": level}
            | {"question_id": case["id"], "question_topics": list(case["topics"])}
            | {"paraphrase": 0, "sample_index": 0, "finish_reason": "stop"}
            | {"messages": case["messages"], "response": case["answer"]}
            | {"engine_fingerprint": JUDGE_CARD}
        )
        source = "base" if case["id"].startswith("base-") else case["dataset"] or "written"
        source = "written" if "paraphrase" in case else source
        kept = {name: case[name] for name in ("form", "truth", "harmful")}
        truths.append({"response_key": key, "case": case["id"], "source": source} | kept)
    return pl.DataFrame(responses, schema=RESPONSES), pl.DataFrame(truths, schema=TRUTH)


def most_cases(count: int) -> tuple[int, int]:
    """At most so many plain cases, and edited ones, for `count` per kind."""
    kinds = (count, count, count, count // 2, count)
    edits = (2, 2, len(EDITS), len(EDITS), 2)
    edited_ones = (-(-size // EDITED_SHARE) * each for size, each in zip(kinds, edits, strict=True))
    return sum(kinds), sum(edited_ones)
