"""Build the sample browser: a folder of static files that opens from disk, without a server."""

import shutil
from pathlib import Path
from typing import Any

from em_tiers.files import atomic_directory
from em_tiers.logs import LOG, run_script
from em_tiers.report.browser_data import write_data

PAGE = Path(__file__).resolve().parent / "browser"
# More answers than this help no reader, and the page would start slowly.
MOST_ANSWERS = 200_000


def main(
    responses: list[Path],
    verdicts: list[Path],
    outcomes: list[Path],
    variants: list[dict[str, Any]],
    folder: Path,
    title: str = "Answers",
    most: int = MOST_ANSWERS,
) -> None:
    """Write `folder`/index.html with its scripts, style and data; it replaces an older folder.

    Args:
        responses, verdicts: RESPONSES and VERDICTS tables, each of any variants and judges.
        outcomes: OUTCOMES tables, one per judge.
        variants: variant, label and role of each, in the order to show.
        title: heading above the list.
        most: answers that the page holds; of more, flagged and disputed ones come first.
    """
    with atomic_directory(folder) as temporary:
        for file in sorted(PAGE.iterdir()):
            shutil.copyfile(file, temporary / file.name)
        meta = write_data(responses, verdicts, outcomes, variants, temporary / "data", title, most)
    LOG.info("%s: %d of %d answers to read", folder, meta["shown"], meta["total"])


if "snakemake" in globals():
    job = globals()["snakemake"]
    run_script(
        main,
        job.log[0],
        responses=list(job.input.responses),
        verdicts=list(job.input.get("verdicts", [])),
        outcomes=list(job.input.outcomes),
        variants=job.params.variants,
        folder=Path(job.output.folder),
        title=job.params.get("title", "Answers"),
        most=job.params.get("most", MOST_ANSWERS),
    )
