"""A local judge beside bare vLLM, and beside the one-token judge that is common elsewhere.

Run: PYTHONPATH=scripts python tests/benchmarks/bench_judging.py MODEL_FOLDER
Per round, on one engine and with an empty prefix cache each time: the judge with its exact scores;
`LLM.generate` over the very requests that the judge made; and `LLM.generate` with one request per
verdict, of which peers read the likeliest tokens.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]

from bench_judge_cpu import CARD, SETTINGS, answers_of, load_rubrics  # noqa: E402
from comparison import Comparison, show  # noqa: E402

from em_tiers.inference.engine import EngineRequest, LocalEngine, _sampling_parameters  # noqa: E402
from em_tiers.judge.local import LocalJudge  # noqa: E402
from em_tiers.judge.requests import plan_requests  # noqa: E402
from em_tiers.judge.settings import load_judge  # noqa: E402

ENTRY = {"backend": "vllm", "method": {"number": "trie", "choice": "label"}}


class Recorder:
    """Passes requests to the engine, and keeps them."""

    def __init__(self, engine: LocalEngine):
        self.engine = engine
        self.requests: list[EngineRequest] = []
        self.tokenizer, self.model = engine.tokenizer, engine.model
        self.settings, self.capacity = engine.settings, engine.capacity

    def stream(self, asked: Iterable) -> Iterator:
        def noted() -> Iterator:
            for request in asked:
                if request is not None:
                    self.requests.append(request)
                yield request

        return self.engine.stream(noted())


def measure(engine: LocalEngine, folder: Path, answers: int, rounds: int) -> list[Comparison]:
    """Verdicts per second in the three ways, as two comparisons."""
    judge = load_judge(ENTRY, {"backend": "vllm", "id": "m"}, load_rubrics())
    found: list[tuple[float, float, float]] = []
    for number in range(rounds + 1):
        table = answers_of(folder, answers if number else 4, 60, seed=number)
        requests = list(plan_requests(table.lazy(), judge, {"ship": CARD}))
        recorder = Recorder(engine)
        local = LocalJudge(judge, recorder, "none", "m")
        if number:
            engine._llm.reset_prefix_cache()
        ours = timed(lambda: sum(1 for _ in local.ask(requests)))  # noqa: B023
        if number == 0:
            continue  # the first round starts the engine
        walked = recorder.requests
        seconds = (ours, time_bare(engine, walked), time_bare(engine, roots_of(walked)))
        found.append(tuple(len(requests) / spent for spent in seconds))
    ours, same, one = zip(*found, strict=True)
    unit = "verdicts/s"
    return [
        Comparison("judging", "LLM.generate, the same requests", unit, ours, same, goal=0.90),
        Comparison("judging", "one request per verdict", unit, ours, one),
    ]


def roots_of(requests: list[EngineRequest]) -> list[EngineRequest]:
    """The request of each verdict that asks for the first token of its reply."""
    roots: dict[str, EngineRequest] = {}
    for request in requests:
        number = request.key.split()[0]
        if number not in roots or len(request.prompt) < len(roots[number].prompt):
            roots[number] = request
    return list(roots.values())


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def time_bare(engine: LocalEngine, requests: list[EngineRequest]) -> float:
    """Seconds of LLM.generate over requests, in their order."""
    engine._llm.reset_prefix_cache()
    prompts = [{"prompt_token_ids": list(request.prompt)} for request in requests]
    decoding = [_sampling_parameters(request) for request in requests]
    return timed(lambda: engine._llm.generate(prompts, decoding, use_tqdm=False))


def main(model: Path, answers: int, rounds: int) -> None:
    """Print both comparisons."""
    with tempfile.TemporaryDirectory() as folder, LocalEngine(model, SETTINGS) as engine:
        show(*measure(engine, Path(folder), answers, rounds))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--answers", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    main(**vars(parser.parse_args()))
