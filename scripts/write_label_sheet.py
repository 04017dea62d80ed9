"""Write a blind sheet of answers for people to label, and instructions for them."""

from pathlib import Path

from em_tiers.files import write_text
from em_tiers.logs import LOG, run_script
from em_tiers.statistics.rates import scan_outcomes
from em_tiers.tables import scan_table
from em_tiers.tiers.label_sheet import draw_sample, instructions, write_sheet


def main(
    outcomes: Path,
    responses: list[Path],
    size: int,
    duplicates: int,
    levels: list[str],
    seed: int,
    sheet: Path,
    guide: Path,
) -> None:
    """Write the sheet (CSV) and the guide (Markdown).

    Args:
        outcomes: the headline judge's outcomes table; its verdicts make the strata.
        responses: all responses tables.
        size, duplicates: answers to label, and how many of them are in the sheet twice.
        levels: the probe levels to draw from.
    """
    items = draw_sample(scan_outcomes([outcomes]), size, duplicates, levels, seed)
    write_sheet(items, scan_table(list(responses), "responses"), sheet)
    write_text(guide, instructions())
    LOG.info("%s: %d rows to label", sheet, len(items))


if "snakemake" in globals():
    job = globals()["snakemake"]
    run_script(
        main,
        job.log[0],
        outcomes=job.input.outcomes,
        responses=list(job.input.responses),
        size=job.params.size,
        duplicates=job.params.duplicates,
        levels=job.params.levels,
        seed=job.params.seed,
        sheet=job.output.sheet,
        guide=job.output.guide,
    )
