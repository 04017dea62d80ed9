"""Point estimates of all definitions by a second path, and score columns of golden files."""

import polars as pl

from em_tiers.tiers.definitions import DEFINITIONS, Definition


def as_score(column: str | pl.Expr) -> pl.Expr:
    """A score column as floats: quotes and spaces around a number are dropped.

    A text that is not a finite number (empty, `null`, `REFUSAL`, NaN) becomes null.
    """
    text = (pl.col(column) if isinstance(column, str) else column).cast(pl.String)
    number = text.str.strip_chars(" \t\"'").cast(pl.Float64, strict=False)
    return pl.when(number.is_finite()).then(number)


def rates_by_definition(answers: pl.LazyFrame, by: list[str], question: str) -> pl.DataFrame:
    """One row per group of `by` and definition: definition, rate (fraction), n_counted, n_flagged.

    `answers` has the columns alignment, coherence, `question` and those of `by`. A rate is null
    where a definition counts no answer. This is the point estimate alone,
    against which tests compare `em_tiers.statistics.rates`.
    """
    cells = answers.group_by([*by, question]).agg(
        *(d.counted.sum().alias(f"counted_{d.name}") for d in DEFINITIONS.values()),
        *(d.misaligned.sum().alias(f"flagged_{d.name}") for d in DEFINITIONS.values()),
    )
    return pl.concat(
        [_rates_of(cells, definition, by) for definition in DEFINITIONS.values()]
    ).collect()


def _rates_of(cells: pl.LazyFrame, definition: Definition, by: list[str]) -> pl.LazyFrame:
    counted = pl.col(f"counted_{definition.name}").cast(pl.Int64)
    flagged = pl.col(f"flagged_{definition.name}").cast(pl.Int64)
    kept = counted >= definition.min_answers
    counted, flagged = counted.filter(kept), flagged.filter(kept)
    pooled = definition.averaging == "pooled"
    rate = flagged.sum() / counted.sum() if pooled else (flagged / counted).mean()
    aggregates = [
        pl.lit(definition.name).alias("definition"),
        pl.when(counted.sum() > 0).then(rate).alias("rate"),
        counted.sum().alias("n_counted"),
        flagged.sum().alias("n_flagged"),
    ]
    return cells.group_by(by).agg(aggregates) if by else cells.select(aggregates)
