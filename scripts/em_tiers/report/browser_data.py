"""The data files of the sample browser: light columns first, texts in parts that load on demand.

The page is opened from disk, where a browser forbids `fetch`; so each file is a script that calls
`emTiers.add(name, value)` once. Everything in it is JSON in ASCII without `<`, `>` and `&`: no text
can end the script element or start another statement.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from em_tiers.files import write_text
from em_tiers.tables import scan_table
from em_tiers.terms import (
    ALIGNED,
    LEVEL_TERMS,
    OUTCOME_TERMS,
    OUTCOMES_ALL,
    PROBE_LEVELS,
    ROLE_TERMS,
    SCORES,
    STATUS_TERMS,
    TIERS,
    WITHOUT_VERDICT,
    by_rank,
)

INDEX_ROWS = 20_000  # answers in one file of light columns
PART_ROWS = 400  # answers in one file of texts, at most
PART_CHARACTERS = 1_000_000  # and about this many characters
START = 160  # characters of an answer that the list shows
LIKELIEST = 4  # labels of a verdict whose probabilities the page shows
NO_OUTCOME = 255  # a judge that has no outcome for an answer
_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}


def script_of(name: str, value: Any) -> str:
    """A script that hands `value` to the page under `name`; safe in any HTML or JavaScript context.

    ASCII only, so U+2028, U+2029 and the file's encoding cannot matter.
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character, escape in _ESCAPES.items():
        text = text.replace(character, escape)
    return f'emTiers.add("{name}",{text});\n'


@dataclass
class Collected:
    """Data that the page needs before any answer; filled while the files are written."""

    questions: dict[tuple[str, str], int] = field(default_factory=dict)
    question_rows: list[dict[str, str]] = field(default_factory=list)
    parts: list[int] = field(default_factory=list)  # the first answer of each part of texts
    index: list[dict[str, Any]] = field(default_factory=list)
    index_files: int = 0
    shown: int = 0


def write_data(
    responses: Sequence[Path],
    verdicts: Sequence[Path],
    outcomes: Sequence[Path],
    variants: Sequence[Mapping[str, Any]],
    folder: Path,
    title: str,
    most: int,
) -> dict[str, Any]:
    """Write all data files into `folder` and return the content of `meta.js`.

    Args:
        responses, verdicts: tables, each of any variants (and judges).
        outcomes: tables, each of any judges, in the order in which the page shows these.
        variants: variant, label and role of each, in the order to show.
        most: with more answers than this the flagged and disputed ones are taken first.
    """
    chosen, total = choose_answers(responses, outcomes, most)
    judged = _read_outcomes(outcomes, chosen)
    judges = judged.get_column("judge").unique(maintain_order=True).to_list()
    files, verdict_files = files_of_variants(responses), files_of_variants(verdicts)
    listed = _listed_variants(variants, files)
    kept: Collected = Collected()
    for number, variant in enumerate(listed):
        name = variant["variant"]
        answers = _read_answers(files.get(name, []), name, chosen)
        if len(answers):
            mine = judged.filter(pl.col("variant") == name)
            texts = _read_verdicts(verdict_files.get(name, []), name, answers)
            _write_variant(answers, mine, texts, judges, number, folder, kept)
    _flush_index(folder, kept, judges, at_least=1)
    meta = {
        "title": title,
        "total": total,
        "shown": kept.shown,
        "variants": listed,
        "judges": judges,
        "questions": kept.question_rows,
        "levels": PROBE_LEVELS,
        "outcomes": OUTCOMES_ALL,
        "tiers": TIERS,
        "withoutVerdict": WITHOUT_VERDICT,
        "choices": [*TIERS, ALIGNED],
        "terms": page_terms(),
        "indexFiles": kept.index_files,
        "parts": kept.parts,
    }
    write_text(folder / "meta.js", script_of("meta", meta))
    return meta


def page_terms() -> dict[str, dict[str, dict[str, Any]]]:
    """The vocabulary as the page shows it: kind -> id -> label, meaning and, of outcomes, more.

    Outcomes also have their colour, sign (a character) and rank.
    """
    kinds = {"outcome": OUTCOME_TERMS, "level": LEVEL_TERMS, "role": ROLE_TERMS}
    kinds["status"] = STATUS_TERMS
    found = {
        kind: {id: {"label": t.label, "meaning": t.meaning} for id, t in by_rank(terms).items()}
        for kind, terms in kinds.items()
    }
    for term in OUTCOME_TERMS:
        drawn = {"colour": term.colour, "sign": term.sign.character, "rank": term.rank}
        found["outcome"][term.id] |= drawn
    return found


def choose_answers(
    responses: Sequence[Path], outcomes: Sequence[Path], most: int
) -> tuple[pl.DataFrame | None, int]:
    """Keys of the answers to show (None: all of them) and how many there are.

    Of too many, those that any judge flagged come first, then those on which the judges' alignment
    scores lie furthest apart, then the order of the keys, which are hashes: a random but fixed
    choice.
    """
    keys = scan_table(list(responses), "responses").select("response_key")
    total = keys.select(pl.len()).collect(engine="streaming").item()
    if total <= most:
        return None, total
    ranks = (
        scan_table(list(outcomes), "outcomes")
        .group_by("response_key")
        .agg(
            flagged=pl.col("flagged").sum(),
            spread=pl.col("alignment").max() - pl.col("alignment").min(),
        )
    )
    chosen = (
        keys.join(ranks, on="response_key", how="left")
        .sort(
            pl.col("flagged").fill_null(0),
            pl.col("spread").fill_null(0.0),
            "response_key",
            descending=[True, True, False],
        )
        .head(most)
        .select("response_key")
        .collect(engine="streaming")
    )
    return chosen, total


def _read_outcomes(outcomes: Sequence[Path], chosen: pl.DataFrame | None) -> pl.DataFrame:
    """Scores and outcomes of the chosen answers, judge after judge."""
    frame = scan_table(list(outcomes), "outcomes").select(
        *("response_key", "variant", "judge", *SCORES, "outcome"),
        *("assigned_by", "rule", "reason", "human_tier"),
    )
    if chosen is not None:
        frame = frame.join(chosen.lazy(), on="response_key", how="semi", maintain_order="left")
    return frame.collect().with_columns(pl.col(SCORES).fill_nan(None).round(2))


def files_of_variants(paths: Sequence[Path]) -> dict[str, list[Path]]:
    """The tables that hold each variant, so that no variant needs a look at every file."""
    found: dict[str, list[Path]] = {}
    for path in dict.fromkeys(paths):
        held = pl.scan_parquet(path).select(pl.col("variant").unique(maintain_order=True))
        for variant in held.collect(engine="streaming").to_series():
            found.setdefault(variant, []).append(path)
    return found


def _listed_variants(
    variants: Sequence[Mapping[str, Any]], files: Mapping[str, Any]
) -> list[dict[str, str | None]]:
    named = {v["variant"]: v for v in variants} | {
        name: {"variant": name} for name in files if name not in {v["variant"] for v in variants}
    }
    return [
        {"variant": name, "label": v.get("label") or name, "role": v.get("role")}
        for name, v in named.items()
    ]


def _read_answers(paths: Sequence[Path], variant: str, chosen: pl.DataFrame | None) -> pl.DataFrame:
    scanned = scan_table(list(paths), "responses").filter(pl.col("variant") == variant)
    answers = scanned.select(
        *("response_key", "question_set", "question_id", "probe_level", "sample_index"),
        *("messages", "response", "reasoning", "finish_reason"),
    )
    if chosen is not None:
        answers = answers.join(chosen.lazy(), on="response_key", how="semi", maintain_order="left")
    return answers.collect()


def _read_verdicts(paths: Sequence[Path], variant: str, answers: pl.DataFrame) -> pl.DataFrame:
    """The verdicts on the answers of one variant, each with its LIKELIEST probabilities only."""
    keys = answers.lazy().select("response_key")
    entry = pl.element()
    by_chance = {"by": entry.struct.field("probability"), "descending": True}
    likeliest = entry.sort_by(**by_chance, maintain_order=True).head(LIKELIEST)
    return (
        scan_table(list(paths), "verdicts")
        .filter(pl.col("variant") == variant)
        .join(keys, on="response_key", how="semi")
        .select(
            *("response_key", "judge", "rubric", "status", "score", "label"),
            pl.col("probabilities").list.eval(likeliest),
            *("numeric_mass", "raw_text", "reasoning"),
        )
        .with_columns(pl.col("score", "numeric_mass").fill_nan(None))
        .collect(engine="streaming")
    )


def _write_variant(
    answers: pl.DataFrame,
    judged: pl.DataFrame,
    verdicts: pl.DataFrame,
    judges: list[str],
    variant: int,
    folder: Path,
    kept: Collected,
) -> None:
    # Sorted, so that the same tables give the same bytes. Joined here, not for each part, which
    # would look at all of the variant's rows each time.
    places = answers.select("response_key").with_row_index("row")
    judged = places.join(judged, on="response_key").sort("row", "judge")
    verdicts = places.join(verdicts, on="response_key").sort("row", "judge", "rubric")
    for start, length in split_parts(answers.get_column("response")):
        rows = answers.slice(start, length)
        mine, asked = (_rows_of_part(table, start, length) for table in (judged, verdicts))
        number = len(kept.parts)
        write_text(folder / f"text-{number}.js", script_of(f"text-{number}", _text_part(rows)))
        beside = _verdicts_by_judge(length, mine, asked)
        write_text(folder / f"verdicts-{number}.js", script_of(f"verdicts-{number}", beside))
        kept.parts.append(kept.shown)
        kept.shown += length
        kept.index.append(_index_columns(rows, mine, judges, variant, kept))
        _flush_index(folder, kept, judges, at_least=INDEX_ROWS)


def _rows_of_part(table: pl.DataFrame, start: int, length: int) -> pl.DataFrame:
    """Rows of a table sorted by `row` that belong to a part; `row` then counts from 0."""
    first, end = (table.get_column("row").search_sorted(at) for at in (start, start + length))
    return table.slice(first, end - first).with_columns(pl.col("row") - start)


def split_parts(texts: pl.Series) -> Iterator[tuple[int, int]]:
    """(first row, rows) of each part of a variant's answers."""
    start = size = 0
    for row, characters in enumerate(texts.str.len_chars()):
        if row > start and (row - start >= PART_ROWS or size + characters > PART_CHARACTERS):
            yield start, row - start
            start, size = row, 0
        size += characters
    if len(texts):
        yield start, len(texts) - start


def _text_part(rows: pl.DataFrame) -> dict[str, list]:
    """Answers of a part; messages that several answers share are written once."""
    prompts: dict[str, int] = {}
    listed, texts = [], []
    columns = ("messages", "response", "reasoning", "finish_reason")
    for messages, *rest in rows.select(columns).iter_rows():
        key = json.dumps(messages)
        if key not in prompts:
            prompts[key] = len(prompts)
            listed.append(messages)
        texts.append([prompts[key], *rest])
    return {"prompts": listed, "rows": texts}


def _verdicts_by_judge(
    length: int, judged: pl.DataFrame, verdicts: pl.DataFrame
) -> dict[str, list]:
    """What the judges of a part's answers decided, in little space; both tables have its `row`s.

    `why` lists each distinct [outcome, assigned_by, rule, reason, human label] once. Each of
    `rows`, one per answer, maps a judge to [place in `why` or null, verdicts], a verdict being
    [rubric, score or label, status unless ok, mass of numbers, LIKELIEST labels and probabilities,
    raw text, reasoning] without nulls at the end.
    """
    rows: list[dict[str, Any]] = [{} for _ in range(length)]
    why: dict[tuple, int] = {}
    columns = ("row", "judge", "outcome", "assigned_by", "rule", "reason", "human_tier")
    for row, judge, *reasons in judged.select(columns).iter_rows():
        rows[row][judge] = [why.setdefault(tuple(reasons), len(why)), []]
    for found in verdicts.iter_rows(named=True):
        rows[found["row"]].setdefault(found["judge"], [None, []])[1].append(_verdict(found))
    return {"why": [list(reasons) for reasons in why], "rows": rows}


def _verdict(found: Mapping[str, Any]) -> list[Any]:
    """One verdict as the page reads it; see `_verdicts_by_judge`."""
    likely = found["probabilities"] or []
    score, mass = found["score"], found["numeric_mass"]
    listed = [
        found["rubric"],
        found["label"] or (None if score is None else round(score, 2)),
        None if found["status"] == "ok" else found["status"],
        None if mass is None else round(mass, 4),
        [value for one in likely for value in (one["label"], round(one["probability"], 3))] or None,
        found["raw_text"] or None,
        found["reasoning"] or None,
    ]
    while listed[-1] is None:
        listed.pop()
    return listed


def _index_columns(
    rows: pl.DataFrame,
    judged: pl.DataFrame,
    judges: list[str],
    variant: int,
    kept: Collected,
) -> dict[str, Any]:
    """The columns of a part that the list, the filters and the order need."""
    light: dict[str, Any] = {
        "key": rows.get_column("response_key").to_list(),
        "variant": [variant] * len(rows),
        "question": [
            _question_number(*row, kept)
            for row in rows.select("question_set", "question_id", "messages").iter_rows()
        ],
        "level": [
            PROBE_LEVELS.index(level) if level in PROBE_LEVELS else len(PROBE_LEVELS)
            for level in rows.get_column("probe_level")
        ],
        "sample": rows.get_column("sample_index").to_list(),
        "length": rows.get_column("response").str.len_chars().to_list(),
        "start": rows.get_column("response").str.slice(0, START).to_list(),
        "judges": [],
    }
    places = rows.select("response_key").with_row_index("row")
    for judge in judges:
        mine = places.join(
            judged.filter(pl.col("judge") == judge), on="row", how="left", maintain_order="left"
        )
        outcome = mine.get_column("outcome").replace_strict(
            list(OUTCOMES_ALL), list(range(len(OUTCOMES_ALL))), default=NO_OUTCOME
        )
        scores = {name: mine.get_column(name).to_list() for name in SCORES}
        light["judges"].append({"outcome": outcome.to_list(), **scores})
    return light


def _question_number(
    question_set: str, question_id: str, messages: list[dict], kept: Collected
) -> int:
    key = (question_set, question_id)
    if key not in kept.questions:
        kept.questions[key] = len(kept.questions)
        asked = [m["content"] for m in messages or [] if m["role"] == "user"]
        text = (asked[-1] if asked else "")[:START]
        kept.question_rows.append({"set": question_set, "id": question_id, "text": text})
    return kept.questions[key]


def _flush_index(folder: Path, kept: Collected, judges: list[str], at_least: int) -> None:
    """Write the collected light columns once they fill a file."""
    if sum(len(part["key"]) for part in kept.index) < at_least:
        return
    names = [name for name in kept.index[0] if name != "judges"]
    whole: dict[str, Any] = {n: [v for part in kept.index for v in part[n]] for n in names}
    whole["judges"] = [
        {n: [v for part in kept.index for v in part["judges"][j][n]] for n in ("outcome", *SCORES)}
        for j in range(len(judges))
    ]
    name = f"index-{kept.index_files}"
    write_text(folder / f"{name}.js", script_of(name, whole))
    kept.index_files += 1
    kept.index = []
