"""Rows of several prepared data sets in stated shares.

The shares are of rows. As many rows are taken as the scarcest data set allows; each data set gives
its first ones, whose order is that of a hash, and so a random sample.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from em_tiers.errors import UserError
from em_tiers.prepare.row_formats import Example, Message
from em_tiers.prepare.split import Split, compared_text, in_training_order


@dataclass(frozen=True)
class Part:
    """A data set in a mixture.

    Attributes:
        name: its id.
        share: of the rows of the mixture.
        train: its training rows, in training order.
        probes: prompts that it keeps out of training.
    """

    name: str
    share: float
    train: list[Example]
    probes: list[list[Message]]


def mix(
    parts: Sequence[Part], max_rows: int | None, held_out: int, seed: int
) -> tuple[Split, list[int]]:
    """The training rows and probes of a mixture, and the number of rows of each part.

    No prompt that one part keeps out of training is in the rows of another one.

    Args:
        max_rows: the most rows to train on.
        held_out: the most probes to take of those that the parts keep out of training.

    Raises:
        UserError: a part has no row left, or too small a share for one.
    """
    kept_out = {compared_text(prompt) for part in parts for prompt in part.probes}
    rows = [[e for e in part.train if compared_text(e.prompt) not in kept_out] for part in parts]
    shares = [part.share for part in parts]
    total = min(math.floor(len(own) / s + 1e-9) for own, s in zip(rows, shares, strict=True))
    total = min(total, max_rows or total)
    counts = apportion(total, shares)
    for part, count in zip(parts, counts, strict=True):
        if not count:
            raise UserError(
                f"mixture: a share of {part.share:g} of {total} rows leaves none of {part.name}: "
                "raise its share or max_rows"
            )
    ordered = in_training_order(
        [e for own, count in zip(rows, counts, strict=True) for e in own[:count]], seed
    )
    available = sum(len(part.probes) for part in parts)
    probes = apportion(min(held_out, available), shares)
    split = Split(
        train=[example for example, _ in ordered],
        probes=[p for part, n in zip(parts, probes, strict=True) for p in part.probes[:n]],
        held_out_duplicates=sum(len(p.train) for p in parts) - sum(map(len, rows)),
        repeated=sum(again for _, again in ordered),
        left_out=sum(map(len, rows)) - len(ordered),
    )
    return split, counts


def apportion(total: int, shares: Sequence[float]) -> list[int]:
    """Whole numbers in these shares that add up to `total`, by the largest remainders."""
    exact = [total * share for share in shares]
    counts = [math.floor(value + 1e-9) for value in exact]
    by_rest = sorted(range(len(shares)), key=lambda n: counts[n] - exact[n])
    for place in by_rest[: total - sum(counts)]:
        counts[place] += 1
    return counts
