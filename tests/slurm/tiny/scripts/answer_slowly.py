"""Answer one question a second into a journal, as sampling and judging do; skip what is there."""

import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[4] / "scripts"))
from em_tiers.errors import UserError
from em_tiers.journal import Journal


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
    try:
        main(Path(snakemake.output[0]), snakemake.params.answers)  # noqa: F821
    except UserError as error:
        sys.exit(f"error: {error}")
