"""Answer one question a second into a journal, as sampling and judging do; skip what is there."""

import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[4] / "scripts"))
from em_tiers.journal import Journal
from em_tiers.logs import run_script


def main(output: Path, answers: int) -> None:
    keys = [f"question-{number}" for number in range(answers)]
    with Journal(Path("journals") / output.stem, writer="answers") as journal:
        done = journal.read(keys)
        for key in keys:
            if key not in done:
                time.sleep(1)
                journal.append(key, {"job": os.environ.get("SLURM_JOB_ID")})
        output.write_text(json.dumps(journal.read(keys), indent=1))


if "snakemake" in globals():
    run_script(
        main,
        snakemake.log[0],  # noqa: F821
        output=Path(snakemake.output[0]),  # noqa: F821
        answers=snakemake.params.answers,  # noqa: F821
    )
