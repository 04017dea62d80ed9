"""Lengths of rendered conversations, and the rows of the table that `check_prompts` writes."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median_low
from typing import Any

from em_tiers.files import read_json
from em_tiers.inference.chat import PROBLEMS
from em_tiers.inference.template_checks import Measured, TemplateFacts

# One row for the training rows of a data set with a recipe, for a question set, or for a rubric.
COLUMNS = (
    "model",
    "use",
    "name",
    "conversations",
    "refused",
    "reasons",
    "median_tokens",
    "longest_tokens",
    "limit",
    "over_limit",
    "over_limit_share",
    "thinking",
    "system_role",
    "end_token",
    "stops_by_itself",
)


@dataclass
class Lengths:
    """What became of the conversations of one kind.

    Attributes:
        measured: those that the template carries.
        problems: how many it does not carry, by a word of chat.PROBLEMS.
        first: of these, the first: its number (from 1), and its problem in one line.
    """

    measured: list[Measured] = field(default_factory=list)
    problems: Counter[str] = field(default_factory=Counter)
    first: tuple[int, str] | None = None

    @classmethod
    def of(cls, found: Iterable[Measured]) -> "Lengths":
        """Collect conversations in their order."""
        lengths = cls()
        for number, measured in enumerate(found, start=1):
            if measured.problem is None:
                lengths.measured.append(measured)
                continue
            lengths.problems[measured.problem] += 1
            lengths.first = lengths.first or (number, measured.message or "")
        return lengths

    @property
    def total(self) -> int:
        """All conversations."""
        return len(self.measured) + self.problems.total()

    @property
    def longest(self) -> int:
        """Tokens of the longest conversation; 0 without any."""
        return max((m.tokens for m in self.measured), default=0)

    def over(self, limit: int) -> int:
        """How many are longer than `limit` tokens."""
        return sum(m.tokens > limit for m in self.measured)

    def refusal(self, what: str) -> list[str]:
        """The problem in one line with the number of such conversations; empty without any."""
        if self.first is None:
            return []
        number, message = self.first
        more = self.problems.total() - 1
        others = f" (and {more} more)" if more else ""
        return [f"{what} {number}{others}: {message}"]

    def row(self, use: str, name: str, limit: int) -> dict[str, Any]:
        """Columns of the table, but for those of the model."""
        over = self.over(limit)
        return {
            "use": use,
            "name": name,
            "conversations": self.total,
            "refused": self.problems.total(),
            "reasons": "; ".join(f"{n} x {PROBLEMS[word]}" for word, n in self.problems.items()),
            "median_tokens": median_low([m.tokens for m in self.measured] or [0]),
            "longest_tokens": self.longest,
            "limit": limit,
            "over_limit": over,
            "over_limit_share": round(over / self.total, 4) if self.total else 0.0,
        }


def context_problems(model: Path, rooms: Mapping[str, int]) -> list[str]:
    """Why an engine would not start with its max_model_len, which is beyond the model's context.

    Args:
        rooms: max_model_len by the use of the engine.
    """
    config = read_json(model / "config.json")
    config = config.get("text_config") or config
    longest = config.get("max_position_embeddings")
    rope = config.get("rope_scaling") or config.get("rope_parameters") or {}
    # Stretched by a factor, or set apart for each kind of layer: only the engine knows.
    is_plain = rope.get("rope_type", rope.get("type", "default")) == "default" and not any(
        isinstance(value, dict) for value in rope.values()
    )
    if not isinstance(longest, int) or not is_plain:
        return []
    return [
        f"{what}: max_model_len {room} of its engine is beyond the context of model {model.name}, "
        f"{longest} tokens: lower max_model_len"
        for what, room in rooms.items()
        if room > longest
    ]


def model_columns(model: str, thinking: str, facts: TemplateFacts) -> dict[str, Any]:
    """Columns of the table that are the same in all of a model's rows."""
    return {
        "model": model,
        "thinking": thinking,
        "system_role": facts.system_role,
        "end_token": facts.end_token or "",
        "stops_by_itself": facts.stops_by_itself,
    }
