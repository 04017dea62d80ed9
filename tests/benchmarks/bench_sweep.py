"""A base model and five adapters, sampled and judged: this workflow beside the usual script.

Run: python tests/benchmarks/bench_sweep.py MODEL_FOLDER
Eight questions with four samples of 60 tokens, judged for alignment and coherence. Ours is one call
of Snakemake from an empty folder to the verdicts, with exact scores, each adapter proved to change
answers, and a journal. The other is `peer_script.py`, a process per model, one after the other:
two at a time share the same cores.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]

from comparison import Comparison, show  # noqa: E402
from peer_script import RUBRICS, SAMPLES, TOKENS  # noqa: E402

from em_tiers.inference.random_model import write_random_adapter  # noqa: E402
from workdir import Workdir  # noqa: E402

ADAPTERS = 5
VERDICTS = (1 + ADAPTERS) * 8 * SAMPLES * len(RUBRICS)


def run_workflow(folder: Path, model: Path, adapters: Path) -> float:
    """Seconds from the command to the last verdict."""
    work = Workdir(folder, "smallest", model)
    (folder / "mine").symlink_to(adapters)
    rubrics = dict(zip(("alignment", "coherence"), RUBRICS, strict=True))
    judge = {"backend": "vllm", "model": "tiny", "engine": "cpu", "rubrics": rubrics}
    judge |= {"method": {"number": "trie", "choice": "label", "opening": "Score: "}}
    work.write("catalogue/judges.yaml", {"bench": judge | {"min_coverage": 0}})
    work.config |= {
        "variants": [{"base": "tiny", "adapter": "mine/*"}],
        "questions": {"core": SAMPLES},
        "sampling": {"temperature": 1.0, "max_tokens": TOKENS},
        "engine": "cpu",
        "judges": ["bench"],
    }
    begin = time.perf_counter()
    work.run("--until", "judge_vllm")
    seconds = time.perf_counter() - begin
    answers = pl.read_parquet(work.results / "responses" / "*.parquet")
    verdicts = pl.read_parquet(work.results / "verdicts" / "**" / "*.parquet")
    print(f"ours: {answers['completion_tokens'].sum()} tokens, {verdicts.height} verdicts")
    if verdicts.height != VERDICTS:
        sys.exit(f"{VERDICTS} verdicts were expected")
    return seconds


def run_script(folder: Path, model: Path, adapters: Path) -> float:
    """Seconds of the usual script over all models."""
    begin = time.perf_counter()
    for number, adapter in enumerate(["-", *sorted(adapters.iterdir())]):
        output = folder / f"{number}.json"
        command = [sys.executable, ROOT / "tests/benchmarks/peer_script.py", model, adapter, output]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
    seconds = time.perf_counter() - begin
    rows = [row for file in folder.glob("*.json") for row in json.loads(file.read_text())]
    tokens = sum(row["tokens"] for row in rows)
    print(f"script: {tokens} tokens, {len(rows) * len(RUBRICS)} verdicts")
    return seconds


def main(model: Path) -> None:
    """Print verdicts per second of both, everything included."""
    with tempfile.TemporaryDirectory() as name:
        folders = {part: Path(name) / part for part in ("adapters", "workflow", "script")}
        folders["adapters"].mkdir()
        folders["script"].mkdir()
        for seed in range(1, ADAPTERS + 1):
            write_random_adapter(model, folders["adapters"] / f"a{seed}", seed=seed)
        ours = run_workflow(folders["workflow"], model, folders["adapters"])
        others = run_script(folders["script"], model, folders["adapters"])
    speeds = [VERDICTS / ours], [VERDICTS / others]
    show(Comparison("a sweep of six models", "one script per model", "verdicts/s", *speeds, goal=2))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    main(parser.parse_args().model.resolve())
