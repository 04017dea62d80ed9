"""One thing done in two ways in alternating rounds, and how the speeds compare."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Comparison:
    """Speeds of this workflow and of something else, one of each per round.

    goal: the least ratio that is good enough; None for a figure that only informs.
    """

    what: str
    beside: str
    unit: str
    ours: Sequence[float]
    others: Sequence[float]
    goal: float | None = None

    @property
    def ratio(self) -> float:
        """The median over rounds of this workflow's speed as a share of the other's."""
        return statistics.median(a / b for a, b in zip(self.ours, self.others, strict=True))

    @property
    def verdict(self) -> str:
        if self.goal is None:
            return "-"
        return "met" if self.ratio >= self.goal else "missed"

    def line(self) -> str:
        """All of it in one line."""
        rounds = ", ".join(
            f"{a:.3g} / {b:.3g}" for a, b in zip(self.ours, self.others, strict=True)
        )
        goal = f" (goal {self.goal:g}: {self.verdict})" if self.goal is not None else ""
        return f"{self.what} / {self.beside}: {self.ratio:.3f}{goal}; {self.unit}: {rounds}"


def show(*comparisons: Comparison) -> None:
    """Print a line for each, and last all of them as JSON."""
    for comparison in comparisons:
        print(comparison.line())
    print(json.dumps([asdict(comparison) for comparison in comparisons]), flush=True)


def read(output: str) -> list[Comparison]:
    """What a benchmark printed last."""
    return [Comparison(**entry) for entry in json.loads(output.strip().splitlines()[-1])]
