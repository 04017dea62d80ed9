"""Rates with intervals, by variant and by group of training seeds, and differences to the base."""

from pathlib import Path

from em_tiers.errors import UserError
from em_tiers.logs import LOG, run_script
from em_tiers.report.table_files import write_tables
from em_tiers.statistics.cells import count_cells
from em_tiers.statistics.differences import summarize_differences
from em_tiers.statistics.question_rates import question_rates, set_rates
from em_tiers.statistics.rates import (
    Settings,
    scan_outcomes,
    summarize_groups,
    summarize_rates,
    variant_table,
)
from em_tiers.statistics.variant_notes import import_notes, one_outcome_warnings, with_notes


def main(
    outcomes: list[Path],
    variants: list[dict],
    settings: dict,
    outputs: dict[str, Path],
    import_warnings: dict[str, Path] | None = None,
) -> None:
    """Write the tables rates, groups, differences, question_rates and set_rates.

    Args:
        outcomes: one outcomes table per judge.
        variants: label, role and the other columns of each variant, in the order to show.
        settings: the fields of `em_tiers.statistics.rates.Settings`.
        outputs: paths by `<table>_<format>`.
        import_warnings: what each import warned of, by its id.

    Raises:
        UserError: no question is on a headline level, so there would be no headline rate.
    """
    chosen = Settings(**settings)
    table = variant_table(variants)
    scanned = scan_outcomes(outcomes)
    cells = count_cells(scanned, chosen.strict_counts)
    levels = cells["probe_level"].unique().sort().to_list()
    if not set(levels) & set(chosen.headline_levels):
        raise UserError(
            f"config.headline.levels: no question is on the level "
            f"{', '.join(chosen.headline_levels)}; use {', '.join(levels)}, or add questions of "
            "that level"
        )
    rates = with_notes(summarize_rates(cells, table, chosen), import_notes(import_warnings or {}))
    notes = one_outcome_warnings(scanned)
    for row in notes.iter_rows(named=True):
        LOG.warning("%s, judge %s: %s", row["variant"], row["judge"], row["note"])
    frames = {
        "rates": with_notes(rates, notes),
        "groups": summarize_groups(cells, table, chosen),
        "differences": summarize_differences(cells, table, chosen),
        "question_rates": question_rates(cells, chosen),
        "set_rates": set_rates(cells, chosen),
    }
    write_tables(frames, outputs)


if "snakemake" in globals():
    job = globals()["snakemake"]
    run_script(
        main,
        job.log[0],
        outcomes=list(job.input.outcomes),
        variants=job.params.variants,
        settings=job.params.settings,
        outputs=dict(job.output.items()),
        import_warnings=dict(
            zip(job.params.imports, map(Path, job.input.get("import_warnings", [])), strict=True)
        ),
    )
