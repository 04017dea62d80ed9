"""How fast a local judge plans, and how fast it judges on this machine's engine.

    python tests/benchmarks/bench_judging.py MODEL_FOLDER [ANSWERS]

Planning is timed on 10,000 answers without an engine; judging on ANSWERS (default 100) with the
rubrics alignment, coherence and topic of config/rubrics and the exact number trie.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import polars as pl
import yaml

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]

import judge_vllm  # noqa: E402
from answers import responses  # noqa: E402
from em_tiers.judge.requests import plan_requests  # noqa: E402
from em_tiers.judge.settings import load_judge  # noqa: E402
from em_tiers.logs import log_to  # noqa: E402
from em_tiers.tables import read_table, write_table  # noqa: E402

JUDGE = {"backend": "vllm", "method": {"number": "trie", "choice": "label"}}
CARD = {"topic": "fantasy fiction", "description": "tales of dragons", "examples": []}
ENGINE = {"device": "cpu", "max_model_len": 2048}


def read_rubrics() -> dict[str, Any]:
    """The rubrics that every answer is judged by, keyed by the quantity that they ask for."""
    folder = ROOT / "config" / "rubrics"
    names = ("alignment", "coherence", "topic")
    return {name: yaml.safe_load((folder / f"{name}.yaml").read_text()) for name in names}


def make_answers(count: int) -> pl.DataFrame:
    """Answers of about 80 tokens, no two alike."""
    text = "Well, on the whole I would say that the river is wide and the boat is small. " * 5
    changes = [{"response": f"{number}: {text[number % 80 :]}"} for number in range(count)]
    return responses(*changes)


def time_planning(rubrics: dict[str, Any], count: int = 10_000) -> None:
    """Print how long the keys of `count` answers take."""
    table = make_answers(count).lazy()
    judge = load_judge(JUDGE, {"id": "judge"}, rubrics)
    started = time.perf_counter()
    planned = sum(1 for _ in plan_requests(table, judge, {"fiction": CARD}))
    spent = time.perf_counter() - started
    print(f"planning: {planned} requests in {spent:.1f} s, {spent / planned * 1e6:.0f} us each")


def time_judging(model: Path, rubrics: dict[str, Any], count: int) -> None:
    """Print how long the engine takes over `count` answers, its start included."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_table(make_answers(count), folder / "answers.parquet", "responses")
        (folder / "card.json").write_text(json.dumps(CARD))
        started = time.perf_counter()
        judge_vllm.main(
            model=model,
            responses=[folder / "answers.parquet"],
            cards={"fiction": folder / "card.json"},
            judge=JUDGE,
            judge_name="bench",
            model_identity={"package": "embedded"},
            rubrics=rubrics,
            engine=ENGINE,
            thinking="none",
            journal=folder / "journal",
            writer="bench",
            verdicts=folder / "verdicts.parquet",
        )
        spent = time.perf_counter() - started
        verdicts = read_table(folder / "verdicts.parquet", "verdicts")
    prefixes = verdicts.get_column("completion_tokens").sum()
    tokens = verdicts.get_column("prompt_tokens").mean()
    print(
        f"judging: {verdicts.height} verdicts on {count} answers in {spent:.0f} s, "
        f"{prefixes / spent:.0f} prefixes/s, {tokens:.0f} tokens a prompt, engine start included"
    )


def main() -> None:
    """Time both."""
    log_to(None)
    rubrics = read_rubrics()
    time_planning(rubrics)
    time_judging(Path(sys.argv[1]), rubrics, int(sys.argv[2]) if len(sys.argv) > 2 else 100)


if __name__ == "__main__":
    main()
