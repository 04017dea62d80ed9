"""How much more a system text changes the rates of a fine-tune than those of its base model."""

from pathlib import Path

from em_tiers.logs import run_script
from em_tiers.report.table_files import write_tables
from em_tiers.statistics.cells import count_cells
from em_tiers.statistics.rates import Settings, scan_outcomes
from em_tiers.statistics.system_effects import summarize_system_effects


def main(
    outcomes: list[Path], contrasts: list[dict], settings: dict, outputs: dict[str, Path]
) -> None:
    """Write the table system_effects.

    Args:
        outcomes: one outcomes table per judge.
        contrasts: see `em_tiers.statistics.system_effects.summarize_system_effects`.
        settings: the fields of `em_tiers.statistics.rates.Settings`.
        outputs: paths by `<table>_<format>`.
    """
    chosen = Settings(**settings)
    cells = count_cells(scan_outcomes(outcomes), chosen.strict_counts)
    write_tables({"system_effects": summarize_system_effects(cells, contrasts, chosen)}, outputs)


if "snakemake" in globals():
    job = globals()["snakemake"]
    run_script(
        main,
        job.log[0],
        outcomes=list(job.input.outcomes),
        contrasts=job.params.contrasts,
        settings=job.params.settings,
        outputs=dict(job.output.items()),
    )
