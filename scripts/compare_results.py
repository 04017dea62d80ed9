"""Compare two runs: `python scripts/compare_results.py BEFORE AFTER --output FOLDER`.

BEFORE and AFTER are archives or results folders. Writes comparison.md, rates.csv and
configuration.csv: the changes of the configuration and of the rates, paired by question.
"""

import argparse
import sys
from pathlib import Path

import polars as pl

from em_tiers.errors import UserError
from em_tiers.files import write_text
from em_tiers.report.comparison import (
    Run,
    compare_configurations,
    compare_rates,
    only_in_one,
    opened,
    settings_of,
)
from em_tiers.report.table_files import markdown, write_all
from em_tiers.statistics.rounding import fractions


def main(
    before: Path,
    after: Path,
    output: Path,
    judges: list[tuple[str, str]],
    config_before: Path | None = None,
    config_after: Path | None = None,
) -> int:
    """Write the comparison; returns the exit status."""
    try:
        with opened(before, config_before) as first, opened(after, config_after) as second:
            changes = compare_configurations(first, second)
            rates = compare_rates(first, second, judges)
            text = comparison_page(first, second, changes, rates)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    write_all(changes, {"csv": output / "configuration.csv"})
    write_all(rates, {"csv": output / "rates.csv"})
    write_text(output / "comparison.md", text)
    print(text)
    return 0


def comparison_page(before: Run, after: Run, changes: pl.DataFrame, rates: pl.DataFrame) -> str:
    """The comparison in Markdown; the table of rates shows the headline, the CSV file all."""
    known = before.config and after.config
    settings = settings_of(after)
    headline = rates.filter(
        (pl.col("probe_level") == "headline")
        & (pl.col("definition") == settings.headline)
        & pl.col("metric").is_in(["standard", "strict"])
    ).drop("probe_level", "definition")
    known_difference = pl.when(pl.col("difference").is_not_null())
    headline = headline.with_columns(fractions("before", "after")).with_columns(
        difference=known_difference.then(pl.col("after") - pl.col("before"))
    )
    alone = only_in_one(before, after)
    parts = [
        "# Comparison",
        f"Before: `{before.name}`. After: `{after.name}`.",
        "## Configuration",
        _configuration_part(changes) if known else
        "The configuration of at least one run is unknown: compare archives, or pass "
        "--config-before and --config-after.",
        "## Rates",
        f"Definition {settings.headline}, probe levels {', '.join(settings.headline_levels)}; "
        f"after minus before over the common questions, with "
        f"{100 * settings.confidence:g} % intervals paired by question (by answer where both runs "
        "hold the same answers; see the column method), and p-values from "
        "sign flips over questions, adjusted by Holm over the variants. Runs without a common "
        "question have no difference. All definitions, metrics and levels: rates.csv.",
        markdown(headline) if len(headline) else "The runs have no variant in common.",
        f"Not compared, because only one run has them: {', '.join(alone)}." if alone else "",
    ]  # fmt: skip
    return "\n\n".join(part.rstrip() for part in parts if part) + "\n"


def _configuration_part(changes: pl.DataFrame) -> str:
    return markdown(changes) if len(changes) else "No difference."


def pair(text: str) -> tuple[str, str]:
    """BEFORE=AFTER as a pair."""
    before, sign, after = text.partition("=")
    if not (before and sign and after):
        raise argparse.ArgumentTypeError(f"{text!r}: write BEFORE=AFTER")
    return before, after


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--output", type=Path, default=Path("results/comparison"))
    parser.add_argument(
        "--judges", nargs="+", type=pair, default=[], metavar="BEFORE=AFTER",
        help="judges to compare if their names differ",
    )  # fmt: skip
    parser.add_argument("--config-before", type=Path, help="configuration of a results folder")
    parser.add_argument("--config-after", type=Path)
    return parser


if __name__ == "__main__":
    sys.exit(main(**vars(arguments().parse_args())))
