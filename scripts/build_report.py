"""Build the report of a finished run: Snakemake's own, one zip that needs no network."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from em_tiers.errors import UserError
from em_tiers.files import atomic_path
from em_tiers.logs import LOG, run_script
from em_tiers.report.page_policy import secure_report

SNAKEFILE = Path(__file__).resolve().parents[1] / "Snakefile"


def main(
    report: Path, results: Sequence[str], config: Mapping[str, Any], snakefile: Path = SNAKEFILE
) -> None:
    """Write `report`, which shows `results` with their captions and where they come from.

    Args:
        results: outputs of the workflow, relative to the working folder, all of them there.
        config: the configuration as Snakemake read it.

    Raises:
        UserError: Snakemake cannot build the report; no file is left.
    """
    with tempfile.TemporaryDirectory() as folder, atomic_path(report) as temporary:
        settings = Path(folder) / "config.json"
        settings.write_text(json.dumps(config), encoding="utf-8")
        # Its folder inside the zip is named after the file: the name must not be a temporary one.
        built = Path(folder) / report.name
        done = subprocess.run(
            snakemake_command(snakefile, settings, built, results),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={k: v for k, v in os.environ.items() if k != "SNAKEMAKE_PROFILE"},
        )
        if done.returncode:
            raise UserError(f"report {report}: Snakemake says:\n{done.stdout[-4000:].strip()}")
        secure_report(built, temporary)
    LOG.info("%s: %.1f MB", report, report.stat().st_size / 1e6)


def snakemake_command(
    snakefile: Path, config: Path, report: Path, results: Sequence[str]
) -> list[str]:
    """A second Snakemake beside the one that runs this job, which holds the lock: it only reads."""
    return [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(snakefile)),
        *("--directory", str(Path.cwd()), "--configfile", str(config)),
        *("--cores", "1", "--nolock", "--workflow-profile", "none"),
        *("--report", str(report), "--", *results),
    ]


if "snakemake" in globals():
    job = globals()["snakemake"]
    run_script(
        main,
        job.log[0],
        report=Path(job.output.report),
        results=list(job.input.results),
        # Not through params: the report arranges outputs, and is built again when one changes.
        config=job.config,
    )
