"""CPU time and peak memory of the statistics of 0.1, 1 and 10 million pairs of answer and judge.

    python tests/benchmarks/bench_statistics.py                       # all three sizes
    python tests/benchmarks/bench_statistics.py --pairs 100000 --folder /tmp/bench

Goal: 10 million pairs take less than 60 seconds on two cores and 4 GB in any step, and no step
grows faster than linearly. Each script runs in a process of its own, as in a run.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]

import assign_tiers  # noqa: E402
import summarize_agreement  # noqa: E402
import summarize_costs  # noqa: E402
import summarize_outcomes  # noqa: E402
import summarize_rates  # noqa: E402
import summarize_thresholds  # noqa: E402
import summarize_tiers  # noqa: E402
from answers import ANSWER, VERDICT  # noqa: E402
from em_tiers.judge.batches import ORDER  # noqa: E402
from em_tiers.statistics.rates import Settings  # noqa: E402
from em_tiers.tables import RESPONSES, VERDICTS, write_table  # noqa: E402

SIZES = (100_000, 1_000_000, 10_000_000)
JUDGES = ("one", "two")
QUESTIONS, SAMPLES = 50, 100
PER_VARIANT = QUESTIONS * SAMPLES
PER_BATCH = 32  # variants of one file of verdicts, as `variants_per_judge_job`
PER_BASE = 50
SEEDS = 3  # of the fine-tunes on one data set, whose answers are one file
WRITE = "write the tables"
WALL_S, PEAK_GB, CORES = 60.0, 4.0, 2
RUBRICS = ("alignment", "coherence", "topic", "tier")
# As Snakemake sets them for a rule of one thread. Idle threads of BLAS would count as CPU time.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
FORMATS = ("parquet", "csv", "md", "tex")
NUMBERS = tuple(map(str, range(60)))  # that a judge which reads digits finds likely enough
TIERS = ("in_distribution", "domain_overfitting", "persona_shift", "undecided")


def variants_of(pairs: int) -> list[dict]:
    """The variants of a study of so many pairs: every 50th is a base model, the others its own."""
    rows = []
    for number in range(max(pairs // (PER_VARIANT * len(JUDGES)), 2)):
        base = f"base{number // PER_BASE}"
        if number % PER_BASE == 0:
            rows.append({"variant": base, "label": base, "role": "base", "base": base})
            continue
        group, seed = divmod(number % PER_BASE - 1, SEEDS)
        name = f"{base}.data{group}.lora.s{seed}"
        own = {"dataset": f"data{group}", "recipe": "lora", "training_seed": seed}
        rows.append({"variant": name, "label": name, "role": "benign", "base": base} | own)
    return rows


def keys(rng: np.random.Generator, count: int) -> pl.Series:
    """Random keys of 32 hexadecimal digits."""
    digits = np.frombuffer(rng.bytes(16 * count).hex().encode(), "S32")
    return pl.Series(digits.astype("U32"))


def repeated(frame: pl.DataFrame, schema: dict, constants: dict) -> pl.DataFrame:
    """`frame` with the other columns of the table constant."""
    others = [
        pl.lit(pl.Series([constants.get(name)], dtype=kind)).first().alias(name)
        for name, kind in schema.items()
        if name not in frame.columns
    ]
    return frame.with_columns(others).select(pl.col(n).cast(k) for n, k in schema.items())


def answers_of(batch: list[dict], rng: np.random.Generator) -> pl.DataFrame:
    """The answers of some variants; text is short, because the statistics do not read it."""
    n = len(batch) * PER_VARIANT
    number = np.arange(n) % PER_VARIANT
    columns = ("variant", "base", "dataset", "recipe", "training_seed")
    of_variant = pl.DataFrame([{c: v.get(c) for c in columns} for v in batch])
    frame = of_variant[np.repeat(np.arange(len(batch)), PER_VARIANT)].with_columns(
        response_key=keys(rng, n),
        question_id=pl.Series(number // SAMPLES).cast(pl.String),
        sample_index=pl.Series(number % SAMPLES),
    )
    return repeated(frame, RESPONSES, ANSWER)


def verdicts_of(answers: pl.DataFrame, judge: str, rng: np.random.Generator) -> pl.DataFrame:
    """A judge's verdicts: both scores and a topic of every answer, the tier of misaligned ones."""
    n = len(answers)
    alignment, coherence, topic = rng.integers(0, 101, (3, n)).astype(float)
    alignment = np.where(rng.random(n) < 0.8, 80 + alignment / 5, alignment)
    asked = answers.select("response_key", "variant")
    parts = [
        asked.with_columns(rubric=pl.lit(rubric), score=pl.Series(score), label=pl.lit(None))
        for rubric, score in zip(RUBRICS, (alignment, coherence, topic), strict=False)
    ]
    flagged = np.flatnonzero((alignment < 30) & (coherence > 50))
    labels = pl.Series(rng.choice(TIERS, len(flagged)))
    parts.append(
        asked[flagged].with_columns(rubric=pl.lit("tier"), score=pl.lit(None), label=labels)
    )
    frame = pl.concat(parts, how="vertical_relaxed").sort(ORDER)
    listed = pl.when(rubric="tier").then(equal_chances(TIERS)).otherwise(equal_chances(NUMBERS))
    frame = frame.with_columns(verdict_key=keys(rng, len(frame)), probabilities=listed)
    return repeated(frame, VERDICTS, VERDICT | {"judge": judge})


def equal_chances(labels: Sequence[str]) -> pl.Expr:
    """The same probability of each label, as a judge gives them with a verdict."""
    listed = [{"label": label, "probability": 1 / len(labels)} for label in labels]
    return pl.lit(pl.Series([listed], dtype=VERDICTS["probabilities"])).first()


def write_study(folder: Path, pairs: int) -> None:
    """Write responses and verdicts, with the variants of one file of verdicts in memory at a time.

    As in a run, a file of answers holds a base model or its fine-tunes on one data set, and those
    of one file of verdicts come from all over the study.
    """
    rng, batches = np.random.default_rng(0), {}
    for variant in variants_of(pairs):
        batches.setdefault((variant["base"], variant.get("dataset")), []).append(variant)
    listed = list(batches.values())
    files = max(pairs // (PER_VARIANT * len(JUDGES) * PER_BATCH), 1)
    for number in range(files):
        frames = []
        for place in range(number, len(listed), files):
            frames.append(answers_of(listed[place], rng))
            frames[-1].write_parquet(folder / f"responses.{place:05}.parquet")
        for judge in JUDGES:
            verdicts = verdicts_of(pl.concat(frames), judge, rng)
            write_table(verdicts, folder / f"verdicts.{judge}.{number:05}.parquet", "verdicts")


def steps(folder: Path, pairs: int) -> dict[str, Callable[[], None]]:
    """What runs each step, in the order of a run."""
    variants = variants_of(pairs)
    rules = yaml.safe_load((ROOT / "config/tier_rules.yaml").read_text())["standard"]["rules"]
    responses = sorted(folder.glob("responses.*.parquet"))
    verdicts = sorted(folder.glob("verdicts.*.parquet"))
    outcomes = [folder / f"outcomes.{judge}.parquet" for judge in JUDGES]
    levels = list(Settings().headline_levels)
    topics = {f"data{i}": ["topic"] for i in range(PER_BASE)}
    grid = [10.0, 20.0, 30.0, 40.0, 50.0]

    def tables(*names: str) -> dict[str, Path]:
        if len(names) == 1:
            return {kind: folder / f"{names[0]}.{kind}" for kind in FORMATS}
        return {f"{name}_{kind}": folder / f"{name}.{kind}" for name in names for kind in FORMATS}

    def assign(judge: str) -> None:
        own = [file for file in verdicts if f".{judge}." in file.name]
        output = folder / f"outcomes.{judge}.parquet"
        assign_tiers.main(responses, own, judge, rules, "D1", topics, output)

    rates = ("rates", "groups", "differences", "question_rates", "set_rates")
    of_tiers = ("tier_waterfall", "tier_ablation", "tier_disagreement", "overestimation")
    of_tiers = (*of_tiers, "counterfactual", "counterfactual_questions", "metric_card")
    return {f"assign_tiers {judge}": partial(assign, judge) for judge in JUDGES} | {
        "summarize_rates": partial(summarize_rates.main, outcomes, variants, {}, tables(*rates)),
        "summarize_outcomes": partial(
            summarize_outcomes.main,
            outcomes, verdicts, variants, levels, tables("outcomes", "coverage"),
        ),
        "summarize_thresholds": partial(
            summarize_thresholds.main, outcomes, grid, grid, levels, tables("thresholds")
        ),
        "summarize_tiers": partial(
            summarize_tiers.main, outcomes, variants, rules, {}, tables(*of_tiers)
        ),
        "summarize_costs": partial(summarize_costs.main, verdicts, {}, tables("cost")),
        "summarize_agreement": partial(
            summarize_agreement.main, outcomes, tables("agreement", "confusion", "flips")
        ),
    }  # fmt: skip


def measure(name: str, folder: Path, pairs: int) -> tuple[float, float, float]:
    """Run a step in a process of its own: wall seconds, CPU seconds, peak memory in GB."""
    begin = time.perf_counter()
    command = [sys.executable, __file__, "--run", name, "--folder", folder, "--pairs", str(pairs)]
    child = subprocess.Popen(command, env=os.environ | ONE_THREAD)
    _, status, used = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{name} failed")
    return time.perf_counter() - begin, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e6


def run_all(folder: Path, pairs: int, only: str) -> None:
    """Print one line per step whose name holds `only`, and whether the goals are met."""
    if not list(folder.glob("responses.*")):
        measure(WRITE, folder, pairs)
    found = []
    for name in steps(folder, pairs):
        if only in name:
            found.append(measure(name, folder, pairs))
            wall, cpu, peak = found[-1]
            print(f"{pairs:>11,} {name:22} {wall:7.1f} s {cpu:7.1f} s CPU {peak:6.2f} GB")
    seconds, peak = sum(cpu for _, cpu, _ in found) / CORES, max(peak for *_, peak in found)
    print(f"{pairs:>11,} {'all':22} {seconds:7.1f} s on {CORES} cores, {peak:.2f} GB at most")
    if pairs >= SIZES[-1] and not only:
        met = seconds < WALL_S and peak < PEAK_GB
        print(f"goal: {WALL_S:.0f} s, {PEAK_GB:.0f} GB: {'met' if met else 'missed'}")


def main() -> None:
    """Run all steps at each size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, nargs="+", default=SIZES)
    parser.add_argument("--folder", type=Path, help="keep the tables here, or use those there")
    parser.add_argument("--step", default="", help="run the steps whose names hold this only")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.run:
        work = steps(chosen.folder, chosen.pairs[0])
        work[WRITE] = partial(write_study, chosen.folder, chosen.pairs[0])
        work[chosen.run]()
        return
    for pairs in chosen.pairs:
        with tempfile.TemporaryDirectory() as temporary:
            folder = (chosen.folder or Path(temporary)) / str(pairs)
            folder.mkdir(parents=True, exist_ok=True)
            run_all(folder, pairs, chosen.step)


if __name__ == "__main__":
    main()
