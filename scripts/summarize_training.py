"""Loss curves and training doses of all fine-tunes."""

from pathlib import Path

from em_tiers.logs import run_script
from em_tiers.report.table_files import write_tables
from em_tiers.statistics.rates import variant_table
from em_tiers.train.summary import by_parent, join_losses, measure_doses


def main(
    losses: list[Path],
    metrics: list[Path],
    parents: list[str],
    variants: list[dict],
    outputs: dict[str, Path],
) -> None:
    """Write the tables training and dose.

    Args:
        losses, metrics: loss.csv and metrics.json of each fine-tune, in the order of `parents`.
        parents: the variants of the final adapters.
        variants: all variants, checkpoints too, in the order to show.
        outputs: paths by `<table>_<format>`.
    """
    table = variant_table(variants)
    training = join_losses(by_parent(parents, losses), table)
    dose = measure_doses(by_parent(parents, metrics), training, table)
    write_tables({"training": training, "dose": dose}, outputs)


if "snakemake" in globals():
    job = globals()["snakemake"]
    run_script(
        main,
        job.log[0],
        losses=list(job.input.losses),
        metrics=list(job.input.metrics),
        parents=job.params.parents,
        variants=job.params.variants,
        outputs=dict(job.output.items()),
    )
