"""Print what `check_gpu` found on a node of each GPU partition, as a table with remedies.

    python scripts/show_gpu_checks.py FOLDER [SITE_FILE]

Alone it prints the reports that are there, for when the check ended before all were.
"""

import sys
from pathlib import Path

from em_tiers.files import read_json
from em_tiers.logs import run_script
from em_tiers.study.gpu_checks import HERE
from em_tiers.study.site_file import read_site

COLUMNS = ("partition", "node", "check", "state", "seen")


def main(reports: dict[str, Path], finished: bool = True) -> None:
    """Print the table.

    Args:
        reports: the report of each partition, which may be missing.
        finished: all jobs of the check ended well; else a report may be of an earlier check.
    """
    print(format_table(reports, finished))


def format_table(reports: dict[str, Path], finished: bool = True) -> str:
    """A line for each check of each partition, then a remedy for each that failed."""
    lines, remedies = [], []
    for partition, path in reports.items():
        if not path.is_file():
            lines.append((partition, "-", "job", "FAILED", "no report"))
            also = "" if partition == HERE else f", results/slurm_logs, and `sinfo -p {partition}`"
            remedies.append(f"{partition}: no report: see the job's message above{also}")
            continue
        report = read_json(path)
        for row in report["rows"]:
            lines.append((partition, report["node"], row["check"], row["state"], row["seen"]))
            if row["state"] == "FAILED":
                remedies.append(f"{partition}: {row['check']}: {row['remedy']}")
    if not finished:
        remedies.append(
            "the check did not finish: see the messages above and run it again; reports of an "
            "earlier check may be in this table"
        )
    widths = [max(len(line[i]) for line in [COLUMNS, *lines]) for i in range(len(COLUMNS) - 1)]
    shown = [
        "  ".join(
            [*(text.ljust(width) for text, width in zip(line, widths, strict=False)), line[-1]]
        )
        for line in [COLUMNS, *lines]
    ]
    if not remedies:
        return "\n".join([*shown, "", "All checks passed."])
    return "\n".join([*shown, "", "To do:", *(f"- {remedy}" for remedy in remedies)])


if __name__ == "__main__" and "snakemake" in globals():
    job = globals()["snakemake"]
    reports = dict(zip(job.params.partitions, map(Path, job.input.reports), strict=True))
    run_script(main, job.log[0], reports=reports)
elif __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    folder, site = Path(sys.argv[1]), {}
    if sys.argv[2:] and Path(sys.argv[2]).is_file():
        site = read_site(Path(sys.argv[2])).get("partitions") or {}
    names = [name for name, limits in site.items() if limits.get("max_gpu")]
    names = names or sorted(path.stem for path in folder.glob("*.json")) or [HERE]
    main({name: folder / f"{name}.json" for name in names}, finished=False)
