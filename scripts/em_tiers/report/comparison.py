"""Two runs compared: the changes of the configuration and of the rates.

The difference of two rates is taken over the questions that both runs asked; `p_adjusted` is Holm's
within one definition, metric and probe level. Interval and p-value come from one test, which the
column `method` names. `paired_t`: both runs hold the same answers (another judge, other rules), so
that the answers' own variation cancels: Student's t over the questions' linearised differences
(Cochran 1977, Sampling Techniques, section 6.3). `paired`: that of em_tiers.statistics.paired,
where the answers differ, or where too few questions changed for their spread to be informative.
"""

import json
import zipfile
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl

from em_tiers.archive.verify import verify_archive
from em_tiers.archive.zip_file import open_archive
from em_tiers.errors import UserError
from em_tiers.files import read_json
from em_tiers.statistics.cells import cells_of, count_cells
from em_tiers.statistics.differences import holm
from em_tiers.statistics.intervals import QuestionCounts
from em_tiers.statistics.paired import paired_difference
from em_tiers.statistics.probe_levels import pool_levels
from em_tiers.statistics.quantiles import student_tail, student_upper
from em_tiers.statistics.rates import Settings, scan_outcomes
from em_tiers.study.load import CATALOGUES, load_study
from em_tiers.study.schema import load_yaml
from em_tiers.terms import STRICT_COUNTS

ROOT = Path(__file__).parents[3]
COMPARISON_COLUMNS = {
    "variant": pl.String,
    "judge_before": pl.String,
    "judge_after": pl.String,
    "probe_level": pl.String,
    "definition": pl.String,
    "metric": pl.String,
    "before": pl.Float64,  # null: no answer counts
    "after": pl.Float64,
    "difference": pl.Float64,  # null: no question in common
    "low": pl.Float64,
    "high": pl.Float64,
    "method": pl.String,  # of the interval
    "p_value": pl.Float64,
    "p_adjusted": pl.Float64,
    "n_before": pl.Int64,
    "n_after": pl.Int64,
    "questions": pl.Int64,  # in common; rates and n are over these, or over all if there are none
    "questions_before": pl.Int64,
    "questions_after": pl.Int64,
    "unscored_before": pl.Int64,  # answers without a verdict, which D1 counts as not misaligned
    "unscored_after": pl.Int64,
}
CONFIG_COLUMNS = {"key": pl.String, "before": pl.String, "after": pl.String}
MIN_CHANGED_QUESTIONS = 6  # questions whose rate changed, for an interval from their spread
FAMILY = ("judge_before", "judge_after", "probe_level", "definition", "metric")


@dataclass
class Run:
    """One of two runs: its outcomes tables, and its configuration (empty: unknown)."""

    name: str
    outcomes: list[Path]
    config: dict[str, Any] = field(default_factory=dict)
    catalogues: dict[str, Any] = field(default_factory=dict)


@contextmanager
def opened(path: Path, config: Path | None = None):
    """Yield the Run of an archive or of a results folder.

    Args:
        config: the configuration of a results folder that was not restored from an archive.

    Raises:
        UserError: the path does not exist, holds no outcomes, or is a damaged archive.
    """
    if path.is_dir():
        yield _run_of_folder(path, path.name, config)
        return
    check = verify_archive(path)
    if not check.sound:
        raise UserError(f"archive {path} is damaged: " + "; ".join(check.lines()[:20]))
    with TemporaryDirectory() as temporary, open_archive(path) as archive:
        yield _run_of_folder(_extract(archive, Path(temporary)), path.name, config)


def _extract(archive: zipfile.ZipFile, folder: Path) -> Path:
    for name in archive.namelist():
        parts = Path(name).parts
        if parts[0] == "results" and parts[2:3] == ("outcomes",) and len(parts) == 4:
            target = folder / "outcomes" / parts[3]
        elif name in ("provenance/config.json", "provenance/catalogues.json"):
            target = folder / name
        else:
            continue
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(archive.read(name))
    return folder


def _run_of_folder(folder: Path, name: str, config: Path | None) -> Run:
    outcomes = sorted((folder / "outcomes").glob("*.parquet"))
    if not outcomes:
        raise UserError(f"{name} holds no outcomes/*.parquet; name a finished run or its archive")
    run = Run(name, outcomes)
    if (folder / "provenance" / "config.json").is_file():
        run.config = read_json(folder / "provenance" / "config.json")
        run.catalogues = read_json(folder / "provenance" / "catalogues.json")
    if config is not None:
        # With its defaults, as the workflow reads it from the folder that holds results/.
        study = load_study(load_yaml(config), ROOT, folder.absolute().parents[1])
        run.config = study.config
        run.catalogues = {name: getattr(study, name) for name in CATALOGUES}
    return run


def flatten(value: Any, key: str = "") -> dict[str, str]:
    """Leaves of nested settings by dotted key, as JSON; lists of plain values are one leaf."""
    if isinstance(value, dict) and value:
        found = {}
        for name, below in value.items():
            found |= flatten(below, f"{key}.{name}" if key else str(name))
        return found
    if isinstance(value, list) and any(isinstance(below, dict | list) for below in value):
        return flatten(dict(enumerate(value)), key)
    return {key: json.dumps(value, ensure_ascii=False, sort_keys=True)}


def compare_configurations(before: Run, after: Run) -> pl.DataFrame:
    """Keys that differ, with both values; null where a run lacks the key."""
    first, second = (flatten({"config": run.config, **run.catalogues}) for run in (before, after))
    keys = [k for k in sorted(first | second) if first.get(k) != second.get(k)]
    rows = [(key, first.get(key), second.get(key)) for key in keys]
    return pl.DataFrame(rows, schema=CONFIG_COLUMNS, orient="row")


def settings_of(run: Run) -> Settings:
    """How the run counts, from its configuration; the defaults where that is not known."""
    config = run.config
    return Settings(
        headline=config.get("headline", {}).get("definition", "D1"),
        headline_levels=config.get("headline", {}).get("levels", ["out_of_domain"]),
        strict_counts=config.get("tiers", {}).get("strict_counts", STRICT_COUNTS),
        confidence=config.get("statistics", {}).get("confidence", 0.95),
        seed=config.get("statistics", {}).get("seed", 0),
    )


def pair_judges(
    before: Sequence[str], after: Sequence[str], named: Sequence[tuple[str, str]] = ()
) -> list[tuple[str, str]]:
    """Judges to compare: those named, else those of one name, else the only one of each side.

    Raises:
        UserError: a run lacks a named judge, or it is unclear which judges to compare.
    """
    for first, second in named:
        if first not in before or second not in after:
            raise UserError(
                f"judges {first}={second} are not in these runs; before has {sorted(before)}, "
                f"after has {sorted(after)}"
            )
    if named:
        return list(named)
    common = [(name, name) for name in before if name in after]
    if common:
        return common
    if len(before) == len(after) == 1:
        return [(before[0], after[0])]
    raise UserError(
        f"judges {sorted(before)} and {sorted(after)} have no name in common; name those to "
        "compare with --judges BEFORE=AFTER"
    )


def compare_rates(before: Run, after: Run, named: Sequence[tuple[str, str]] = ()) -> pl.DataFrame:
    """Rates of the variants that both runs have, after minus before: COMPARISON_COLUMNS."""
    chosen = settings_of(after)
    answers = [answers_of(run) for run in (before, after)]
    sides = []
    for run in (before, after):
        own = settings_of(run)
        cells = count_cells(scan_outcomes(run.outcomes), own.strict_counts)
        levels = pool_levels(cells, own.headline_levels)
        keys = ["judge", "variant", "probe_level"]
        sides.append(dict(iter(levels.group_by(keys, maintain_order=True))))
    judges = [list(dict.fromkeys(judge for judge, _, _ in side)) for side in sides]
    rows = []
    for first, second in pair_judges(*judges, named):
        for judge, variant, level in sides[0]:
            other = sides[1].get((second, variant, level))
            if judge == first and other is not None:
                place = {
                    "variant": variant,
                    "judge_before": first,
                    "judge_after": second,
                    "probe_level": level,
                }
                same = answers[0].get((judge, variant)) == answers[1].get((second, variant))
                pairs = _compare_levels(sides[0][judge, variant, level], other, chosen, same)
                rows += [place | pair for pair in pairs]
    frame = pl.DataFrame(
        rows, schema={k: v for k, v in COMPARISON_COLUMNS.items() if k != "p_adjusted"}
    )
    adjusted = np.full(len(frame), np.nan)
    numbered = frame.with_row_index("row").filter(pl.col("p_value").is_not_null())
    for _, family in numbered.group_by(FAMILY):
        adjusted[family.get_column("row").to_numpy()] = holm(
            family.get_column("p_value").to_numpy()
        )
    column = pl.Series("p_adjusted", adjusted).fill_nan(None)
    return frame.with_columns(column).select(list(COMPARISON_COLUMNS))


def only_in_one(before: Run, after: Run) -> list[str]:
    """Variants that only one of the runs has, and that are therefore not compared."""
    first, second = ({variant for _, variant in answers_of(run)} for run in (before, after))
    return sorted(first ^ second)


def answers_of(run: Run) -> dict[tuple[str, str], tuple[int, int]]:
    """How many answers a judge judged of a variant, and a hash of their keys in any order."""
    hashed = pl.col("response_key").hash(seed=0)
    found = (
        scan_outcomes(run.outcomes)
        .group_by("judge", "variant")
        .agg(pl.len(), (hashed % 2**32).sum().alias("hash"))
        .collect(engine="streaming")
    )
    return {(judge, variant): (n, h) for judge, variant, n, h in found.iter_rows()}


def _compare_levels(
    before: pl.DataFrame, after: pl.DataFrame, settings: Settings, same_answers: bool
) -> list[dict]:
    both = set(before.get_column("question")) & set(after.get_column("question"))
    counts = {"questions_before": len(before), "questions_after": len(after)}
    paired = [
        f.filter(pl.col("question").is_in(list(both))) if both else f for f in (before, after)
    ]
    first, second = (cells_of(frame.sort("question")) for frame in paired)
    counts |= {
        f"unscored_{side}": int((frame["answers"] - frame["scored"]).sum())
        for side, frame in zip(("before", "after"), paired, strict=True)
    }
    return [
        {"definition": definition, "metric": metric}
        | counts
        | _compare_rate(
            first[definition, metric],
            second[definition, metric],
            settings,
            bool(both),
            same_answers,
        )
        for definition, metric in first
    ]


def _compare_rate(
    before: QuestionCounts,
    after: QuestionCounts,
    settings: Settings,
    paired: bool,
    same_answers: bool,
) -> dict[str, Any]:
    """After minus before; `difference` and its bounds are None where no question is in common."""
    if paired:
        kept = (before.counted.sum(axis=0) > 0) & (after.counted.sum(axis=0) > 0)
        paired = bool(kept.any())
    if paired:
        before, after = (
            QuestionCounts(c.hits[:, kept], c.counted[:, kept], c.by_question)
            for c in (before, after)
        )
    found = {
        "before": before.rate if before.n else None,
        "after": after.rate if after.n else None,
        "n_before": before.n,
        "n_after": after.n,
        "questions": before.questions if paired else 0,
    }
    names = ("difference", "low", "high", "method", "p_value")
    if not paired:
        return found | dict.fromkeys(names)
    student = paired_t(before, after, settings.confidence) if same_answers else None
    if student:
        values = (after.rate - before.rate, *student[:2], "paired_t", student[2])
    else:
        test = paired_difference(after, before, settings.confidence, settings.seed)
        values = (test.difference, test.low, test.high, "paired", test.p_value)
    return found | dict(zip(names, values, strict=True))


def paired_t(
    before: QuestionCounts, after: QuestionCounts, confidence: float
) -> tuple[float, float, float] | None:
    """Bounds of after minus before over one and the same answers, and the p-value.

    d_q = z_q(after) - z_q(before), z_q = (hits_q - R * counted_q) / mean(counted) for a pooled
    rate R, or the question's rate minus R; the difference +- t * sd(d) / sqrt(questions). None
    where fewer than six questions have another rate, or all changed alike.
    """
    parts = []
    for cells in (after, before):
        hits, counted = cells.hits.sum(axis=0), cells.counted.sum(axis=0)
        if cells.by_question:
            parts.append(hits / counted - cells.rate)
        else:
            parts.append((hits - cells.rate * counted) / counted.mean())
    rates = [c.hits.sum(axis=0) / c.counted.sum(axis=0) for c in (before, after)]
    spread = parts[0] - parts[1]
    if np.sum(rates[0] != rates[1]) < MIN_CHANGED_QUESTIONS or np.ptp(spread) < 1e-9:
        return None
    questions = len(spread)
    quantile = student_upper(0.5 - confidence / 2, questions - 1)
    error = spread.std(ddof=1) / np.sqrt(questions)
    difference = after.rate - before.rate
    p_value = float(2 * student_tail(abs(difference) / error, questions - 1))
    low, high = (difference + sign * quantile * error for sign in (-1, 1))
    return max(low, -1.0), min(high, 1.0), p_value
