"""All figures that show the table of rates and nothing else, drawn in one process.

A process loads matplotlib and the rest for a second, and draws a figure in less.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import plot_controls
import plot_metric_card
import plot_probes
import plot_rates
from em_tiers.logs import run_script


def main(
    table: Path | str,
    figures: Mapping[str, Path | str],
    headline_levels: Sequence[str] | None = None,
) -> None:
    """Draw each figure.

    Args:
        figures: the files, by "{figure}_{kind}", such as "metric_card_pdf".
        headline_levels: the probe levels that the headline rate pools.
    """
    files: dict[str, dict[str, Path | str]] = {}
    for name, path in figures.items():
        figure, _, kind = name.rpartition("_")
        files.setdefault(figure, {})[kind] = path
    plot_rates.main(table, files["rates"], headline_levels=headline_levels)
    plot_probes.main(table, files["probes"])
    plot_controls.main(table, files["controls"], headline_levels=headline_levels)
    plot_metric_card.main(table, files["metric_card"], headline_levels=headline_levels)


if "snakemake" in globals():
    run_script(
        main,
        snakemake.log[0],  # noqa: F821
        table=snakemake.input.table,  # noqa: F821
        figures=dict(snakemake.output.items()),  # noqa: F821
        **dict(snakemake.params.items()),  # noqa: F821
    )
