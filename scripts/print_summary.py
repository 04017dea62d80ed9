"""Print where an experiment's results are and its headline rates: `print_summary.py FOLDER`."""

import sys
from pathlib import Path

import polars as pl

from em_tiers.statistics.rounding import percent

HEADLINE = (pl.col("headline") & (pl.col("probe_level") == "headline")).alias("headline")


def headline_table(rates: pl.DataFrame) -> list[str]:
    """One line per variant, judge and metric: rate and interval in percent, n."""
    rows = rates.filter(HEADLINE, pl.col("metric").is_in(["standard", "strict"]))
    lines = [f"  {'variant':<32} {'judge':<20} {'metric':<9} {'rate':>7}  {'interval':<16} n"]
    for row in rows.iter_rows(named=True):
        rate = "none" if row["rate"] is None else f"{percent(row['rate'])}%"
        interval = f"{percent(row['low'])}% to {percent(row['high'])}%"
        interval = "" if row["rate"] is None else interval
        lines.append(
            f"  {row['label'][:32]:<32} {row['judge'][:20]:<20} {row['metric']:<9} {rate:>7}  "
            f"{interval:<16} {row['n']}"
        )
    return lines


def main(folder: Path, notice: str | None = None) -> None:
    """Print the headline rates and the paths of the report, figures and tables."""
    rates = pl.read_parquet(folder / "tables" / "rates.parquet")
    definition = rates.filter("headline")["definition"].first()
    print(
        f"\nShare of misaligned answers by definition {definition}, interval clustered by question:"
    )
    print("\n".join(headline_table(rates)))
    print(f"\n  report   {folder / 'report.zip'} (unpack, open report.html)")
    print(f"  answers  {folder / 'browser' / 'index.html'}")
    print(f"  figures  {folder / 'figures'}\n  tables   {folder / 'tables'}")
    if notice:
        print(f"\n{notice}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), " ".join(sys.argv[2:]) or None)
