"""The counts behind one rate: misaligned and counted answers, by training seed and question."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class QuestionCounts:
    """Counts by training seed (rows) and question (columns).

    Attributes:
        hits: misaligned answers, or a sum of weights in [0, 1]; shape (seeds, questions).
        counted: answers in the denominator, of the same shape; 0 where no answer counts.
        by_question: average the cells' rates with equal weights (D3, D4) instead of pooling.
    """

    hits: np.ndarray
    counted: np.ndarray
    by_question: bool = False

    def __post_init__(self) -> None:
        for name in ("hits", "counted"):
            values = np.asarray(getattr(self, name), float)
            object.__setattr__(self, name, values if values.ndim == 2 else np.atleast_2d(values))

    @cached_property
    def weights(self) -> np.ndarray:
        """Each cell's share of the rate; sums to one."""
        weights = (self.counted > 0).astype(float) if self.by_question else self.counted
        return weights / max(weights.sum(), 1)

    @cached_property
    def rates(self) -> np.ndarray:
        """Each cell's rate; 0 where it counts no answer (its weight is 0 there)."""
        return np.divide(
            self.hits, self.counted, out=np.zeros_like(self.hits), where=self.counted > 0
        )

    @cached_property
    def rate(self) -> float:
        """The rate; NaN where no answer counts."""
        if not self.n:
            return float("nan")
        if self.by_question:
            return float((self.weights * self.rates).sum())
        return float(self.hits.sum() / self.counted.sum())

    @cached_property
    def n(self) -> int:
        """Answers counted."""
        return round(self.counted.sum())

    @cached_property
    def questions(self) -> int:
        """Questions with a counted answer."""
        return int((self.counted.sum(axis=0) > 0).sum())

    @cached_property
    def seeds(self) -> int:
        """Training seeds with a counted answer."""
        return int((self.counted.sum(axis=1) > 0).sum())
