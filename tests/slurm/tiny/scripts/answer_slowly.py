"""Answer one question per second into a journal, as sampling and judging do; skip what is there.

A job that finds no answers stops after `stops_after` of them (0: never), until the working
folder holds a file `go` or something ends it: what a test does to it, it does in the middle.
"""

import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[4] / "scripts"))
from em_tiers.journal import Journal
from em_tiers.logs import run_script


def main(output: Path, answers: int, stops_after: int) -> None:
    keys = [f"question-{number}" for number in range(answers)]
    with Journal(Path("journals") / output.stem, writer="answers") as journal:
        done = journal.read(keys)
        for number, key in enumerate(keys):
            if key in done:
                continue
            while not done and number == stops_after > 0 and not Path("go").exists():
                time.sleep(0.2)
            time.sleep(1)
            journal.append(key, {"job": os.environ.get("SLURM_JOB_ID")})
        output.write_text(json.dumps(journal.read(keys), indent=1))


if "snakemake" in globals():
    run_script(
        main,
        snakemake.log[0],  # noqa: F821
        output=Path(snakemake.output[0]),  # noqa: F821
        answers=snakemake.params.answers,  # noqa: F821
        stops_after=snakemake.params.stops_after,  # noqa: F821
    )
