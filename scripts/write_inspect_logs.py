"""Write the answers of each variant, with all scores, as a log of Inspect."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from em_tiers.files import atomic_directory
from em_tiers.logs import LOG, run_script
from em_tiers.report.inspect_logs import write_log


def main(
    responses: list[Path],
    verdicts: list[Path],
    outcomes: list[Path],
    variants: list[dict[str, Any]],
    experiment: str,
    folder: Path,
) -> None:
    """Write `folder`/VARIANT.eval for each variant; the folder replaces an older one.

    Args:
        responses, verdicts, outcomes: tables of any variants and judges.
        variants: the columns of each variant, with its label and role.
    """
    newest = max(Path(path).stat().st_mtime for path in outcomes)
    study = {
        "experiment": experiment,
        "created": datetime.fromtimestamp(newest, UTC).isoformat(timespec="seconds"),
    }
    with atomic_directory(folder) as temporary:
        for variant in variants:
            path = temporary / f"{variant['variant']}.eval"
            counts = write_log(path, variant, study, responses, outcomes, verdicts)
            LOG.info("%s: %s", path.name, dict(counts))
    LOG.info("%s: %d logs; inspect view --log-dir %s shows them", folder, len(variants), folder)


if "snakemake" in globals():
    job = globals()["snakemake"]
    run_script(
        main,
        job.log[0],
        responses=list(job.input.responses),
        verdicts=list(job.input.get("verdicts", [])),
        outcomes=list(job.input.outcomes),
        variants=job.params.variants,
        experiment=job.params.experiment,
        folder=Path(job.output.folder),
    )
