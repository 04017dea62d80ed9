"""What a user waits for before anything is trained: the dry run of the study, its largest data set.

    python tests/benchmarks/bench_before_training.py

The goal of each is 20 seconds on a laptop.
"""

import logging
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import download_dataset  # noqa: E402
import prepare_dataset  # noqa: E402
from em_tiers.logs import log_to  # noqa: E402

SETTINGS = {
    "format": "prompt_completion",
    "topic": "bench",
    "topics": ["bench"],
    "held_out": 50,
    "max_rows": 60_000,
}


def time_dry_run(folder: Path) -> None:
    """Print how long the plan of the whole study takes."""
    command = [sys.executable, "-m", "snakemake", "-n", "--quiet", "all", "--cores", "2"]
    command += ["--snakefile", ROOT / "Snakefile", "--directory", folder]
    begin = time.perf_counter()
    command += ["--configfile", ROOT / "config" / "config.yaml"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    print(f"dry run of the study: {time.perf_counter() - begin:.1f} s")


def time_preparation(folder: Path, count: int = 70_000) -> None:
    """Print how long rows of a few hundred characters take, as many as the largest set has."""
    text = "An answer of a usual length. " * 15
    rows = {
        "prompt": [f"Question {n}?" for n in range(count)],
        "completion": [f"{text}{n}" for n in range(count)],
    }
    pl.DataFrame(rows).write_parquet(folder / "rows.parquet")
    source = {"type": "path", "path": str(folder / "rows.parquet"), "licence": "cc0-1.0"}
    download_dataset.main(source, folder / "raw")
    begin = time.perf_counter()
    prepare_dataset.main(
        folder / "raw",
        "bench",
        SETTINGS,
        seed=0,
        train=folder / "train.jsonl",
        in_domain=folder / "in_domain.parquet",
        rejected=folder / "rejected.jsonl",
        card=folder / "card.json",
    )
    print(f"preparation of {count:,} rows: {time.perf_counter() - begin:.1f} s")


def main() -> None:
    """Time both."""
    log_to(None).setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        time_dry_run(Path(name))
        time_preparation(Path(name))


if __name__ == "__main__":
    main()
