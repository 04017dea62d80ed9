"""Coverage of the nominal 95 % intervals in simulation, and the page that reports it.

    python tests/benchmarks/coverage_simulation.py                  # all cases, the page
    python tests/benchmarks/coverage_simulation.py --repeats 50 --small --page /tmp/page.md

An answer is misaligned when a normal variable exceeds a threshold; questions and training seeds
share parts of the variable, as large as the intraclass correlations ask for (a probit model with
crossed random effects). So the true rate is exact, and seeds meet the same questions.
"""

import argparse
import itertools
import sys
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import polars as pl
from scipy import optimize, stats

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]

from benchmarks.other_intervals import bootstrap, student  # noqa: E402
from benchmarks.other_targets import CASES  # noqa: E402
from em_tiers.files import write_text  # noqa: E402
from em_tiers.statistics.intervals import QuestionCounts, intervals, wilson  # noqa: E402

METHODS = ("korn_graubard", "t", "bootstrap", "wilson")
NOMINAL, POOR, GENEROUS = 0.95, 0.93, 0.97


@dataclass(frozen=True)
class Case:
    """One design; `icc`, `seed_icc`: how answers (0 or 1) to a question, of a seed, correlate."""

    questions: int
    samples: int
    seeds: int
    rate: float
    icc: float
    seed_icc: float


def all_cases() -> list[Case]:
    """The full grid; several training seeds differ, by as much as rare answers can (seed_icc)."""
    grid = itertools.product(
        (8, 48), (20, 100, 1000), (1, 3, 5), (0.0, 0.002, 0.01, 0.05, 0.15, 0.35), (0, 0.1, 0.3)
    )
    among_seeds = {0.0: 0.0, 0.002: 0.002, 0.01: 0.01}
    return [
        Case(q, m, s, p, icc, among_seeds.get(p, 0.03) if s > 1 else 0.0)
        for q, m, s, p, icc in grid
    ]


def small_cases() -> list[Case]:
    """A few cases that run in seconds."""
    return [
        Case(8, 50, 1, 0.0, 0.3, 0.0),
        Case(8, 50, 1, 0.15, 0.1, 0.0),
        Case(48, 20, 1, 0.05, 0.1, 0.0),
        Case(48, 20, 3, 0.35, 0.1, 0.03),
    ]


@lru_cache
def latent_correlation(rate: float, icc: float) -> float:
    """Correlation of the normal variables under which the 0/1 answers correlate by `icc`."""
    if icc == 0 or rate in (0, 1):
        return 0.0
    cut = stats.norm.ppf(rate)

    def excess(r: float) -> float:
        both = stats.multivariate_normal.cdf([cut, cut], cov=[[1, r], [r, 1]])
        return (both - rate**2) / (rate * (1 - rate)) - icc

    return float(optimize.brentq(excess, 0.0, 0.9999))


def draw(case: Case, repeats: int, rng: np.random.Generator) -> np.ndarray:
    """Misaligned answers; shape (repeats, seeds, questions)."""
    shape = (repeats, case.seeds, case.questions)
    if case.rate == 0:
        return np.zeros(shape, int)
    of_question = latent_correlation(case.rate, case.icc)
    of_seed = latent_correlation(case.rate, case.seed_icc)
    if of_question + of_seed >= 1:
        raise ValueError(f"{case}: questions and seeds cannot share so much at so low a rate")
    shared = np.sqrt(of_question) * rng.standard_normal((repeats, 1, case.questions))
    shared = shared + np.sqrt(of_seed) * rng.standard_normal((repeats, case.seeds, 1))
    own = np.sqrt(1 - of_question - of_seed)
    return rng.binomial(case.samples, stats.norm.cdf((stats.norm.ppf(case.rate) - shared) / own))


def simulate(case: Case, methods: tuple[str, ...], repeats: int) -> list[dict]:
    """One row per method: the share of intervals that hold the true rate, and their mean width."""
    seed = zlib.crc32(repr(case).encode())
    hits = draw(case, repeats, np.random.default_rng(seed))
    counted = np.full(hits.shape[1:], case.samples)
    rows = []
    for method in methods:
        drawn = hits if method == METHODS[0] else hits[: max(repeats // 5, 1)]
        low, high = bounds([QuestionCounts(one, counted) for one in drawn], method)
        rows.append(
            {
                **vars(case),
                "method": method,
                "coverage": float(((low <= case.rate) & (case.rate <= high)).mean()),
                "width": float((high - low).mean()),
                "zero_width": float((high == low).mean()),
                "repeats": len(drawn),
            }
        )
    return rows


def bounds(drawn: list[QuestionCounts], method: str) -> np.ndarray:
    """Lower and upper bounds; shape (2, draws)."""
    if method == "korn_graubard":
        found = [(one.low, one.high) for one in intervals(drawn)]
    elif method == "wilson":
        found = [wilson(counts.rate, counts.n) for counts in drawn]
    else:
        found = [{"t": student, "bootstrap": bootstrap}[method](counts) for counts in drawn]
    return np.array(found).T


def run(cases: list[Case], methods: tuple[str, ...], repeats: int) -> pl.DataFrame:
    """All cases, one row per case and method."""
    return pl.DataFrame([row for case in cases for row in simulate(case, methods, repeats)])


def run_others(repeats: int, every: int = 1) -> dict[str, pl.DataFrame]:
    """The other intervals by their name: one row per case, of which `every`-th ones are run."""
    return {
        name: pl.DataFrame(
            [case.simulate(max(int(repeats * case.DRAWS), 1)) for case in cases()[::every]]
        )
        for name, cases in CASES.items()
    }


def page(found: pl.DataFrame, command: str, others: dict[str, pl.DataFrame] | None = None) -> str:
    """The page, as Markdown."""
    default = found.filter(pl.col("method") == METHODS[0])
    repeats = default["repeats"][0]
    error = np.sqrt(NOMINAL * (1 - NOMINAL) / repeats)
    poor = default.filter(pl.col("coverage") < POOR).sort("coverage")
    summary = found.group_by("method", maintain_order=True).agg(
        pl.col("coverage").mean().alias("mean"),
        pl.col("coverage").min().alias("lowest"),
        (pl.col("coverage") < POOR).mean().alias("below 93 %"),
        pl.col("width").mean(),
        pl.col("zero_width").mean().alias("zero width"),
    )
    few = (
        f"Below 93 % in {len(poor)} of {len(default)} cases:"
        if len(poor)
        else f"All {len(default)} cases are at 93 % or above."
    )
    return "\n".join(
        [
            "# Coverage of the intervals",
            "",
            f"Generated by `{command}`; do not edit.",
            f"Each case was drawn {repeats:,} times (standard error of a coverage of 95 %:",
            f"{100 * error:.1f} points), a fifth as often for the methods shown beside it. The",
            "answers come from a probit model with crossed random effects of questions and",
            "training seeds; the rate is that of all questions and seeds one might have drawn.",
            "`scripts/em_tiers/statistics/intervals.py` gives the formulas and their sources. The",
            "other intervals (these questions, differences, corrected rates) follow at the end,",
            f"drawn {4 * repeats:,}, {repeats:,} and {max(repeats // 2, 1):,} times.",
            "",
            "## Methods over all cases",
            "",
            "`korn_graubard` is the default, `wilson` the pooled interval that ignores questions.",
            "",
            _table(summary),
            "",
            "## Where the default falls short",
            "",
            f"{_share_near(default)} {few}",
            "",
            *([_table(poor.select(*_CASE, "coverage", "width")), ""] if len(poor) else []),
            *_by_sharing(default),
            "It errs on the wide side. With a rate of zero no interval can fail, and where one or",
            "two questions carry the misaligned answers, what was not drawn cannot be seen in the",
            "data: the prior has to be wide enough for it. More questions and more seeds help,",
            "more answers to the same questions do not.",
            "",
            "## All cases of the default",
            "",
            _table(default.select(*_CASE, "coverage", "width")),
            "",
            *(line for name, rows in (others or {}).items() for line in _other_part(name, rows)),
        ]
    )


def _by_sharing(default: pl.DataFrame) -> list[str]:
    """Coverage by the number of questions that are expected to share the misaligned answers."""
    p, icc = pl.col("rate"), pl.col("icc")
    sharing = pl.col("questions") * p / (p + icc * (1 - p))
    events = p * pl.col("questions") * pl.col("samples") * pl.col("seeds")
    kinds = {
        "rate of zero": p == 0,
        "fewer than 10 expected": (p > 0) & (events < 10),
        "10 or more, in fewer than 3 questions": (events >= 10) & (sharing < 3),
        "10 or more, in 3 questions or more": (events >= 10) & (sharing >= 3),
    }
    rows = [
        {
            "misaligned answers": name,
            "cases": len(part),
            "lowest": part["coverage"].min(),
            "mean": part["coverage"].mean(),
            "93 to 97 %": part["coverage"].is_between(POOR, GENEROUS).mean(),
        }
        for name, holds in kinds.items()
        if len(part := default.filter(holds))
    ]
    return [
        "By the misaligned answers that are expected, and the number of questions that share them",
        "(in the sense of `scripts/em_tiers/statistics/prior.py`):",
        "",
        _table(pl.DataFrame(rows)),
        "",
    ]


def _share_near(rows: pl.DataFrame) -> str:
    near = rows["coverage"].is_between(POOR, GENEROUS).mean()
    lowest = rows["coverage"].min()
    return f"Coverage is 93 to 97 % in {100 * near:.0f} % of the cases, and {lowest:.3f} at least."


def _other_part(name: str, rows: pl.DataFrame) -> list[str]:
    return [f"## {name}", "", _share_near(rows), "", _table(rows), ""]


_CASE = ("questions", "samples", "seeds", "rate", "icc", "seed_icc")


def _table(frame: pl.DataFrame) -> str:
    def cell(value: object) -> str:
        return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)

    rows = [[cell(value) for value in row] for row in frame.rows()]
    lines = [list(frame.columns), ["---"] * frame.width, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    """Run the cases and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=1000, help="draws a case")
    parser.add_argument("--small", action="store_true", help="a few cases only")
    parser.add_argument(
        "--page", type=Path, default=ROOT / "tests" / "benchmarks" / "interval_coverage.md"
    )
    chosen = parser.parse_args()
    found = run(small_cases() if chosen.small else all_cases(), METHODS, chosen.repeats)
    command = f"python tests/benchmarks/coverage_simulation.py --repeats {chosen.repeats}"
    others = run_others(chosen.repeats, every=20 if chosen.small else 1)
    write_text(chosen.page, page(found, command + (" --small" if chosen.small else ""), others))
    default = found.filter(pl.col("method") == METHODS[0])
    sys.stderr.write(f"{len(default)} cases, lowest coverage {default['coverage'].min():.3f}\n")


if __name__ == "__main__":
    main()
