"""The product's own CPU time per verdict of a local judge: its engine replays recorded answers.

python tests/benchmarks/bench_judge_cpu.py MODEL [ANSWERS [WORDS]]

The real engine is asked about a few answers first; its log-probabilities are then replayed for
many, so that only the product's own code is timed: plan, prompts, trie, record, journal, table. CPU
time of all threads, not wall time, so that a busy machine changes little. The shares of the
tokenizer's library, which spells the prompts, and of the replay are told apart.
"""

import itertools
import random
import sys
import tempfile
import time
from pathlib import Path

import polars as pl
import yaml

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]
from api.study import write_answers  # noqa: E402
from em_tiers.inference.engine import EngineAnswer, EngineRequest, LocalEngine  # noqa: E402
from em_tiers.inference.prompt_batches import PromptRenderer  # noqa: E402
from em_tiers.journal import Journal  # noqa: E402
from em_tiers.judge.local import LocalJudge  # noqa: E402
from em_tiers.judge.requests import plan_requests  # noqa: E402
from em_tiers.judge.settings import load_judge  # noqa: E402
from em_tiers.judge.verdicts import verdict_frame, verdict_rows  # noqa: E402

GOAL_MS = 0.5
RECORDED = 8
SETTINGS = {"device": "cpu", "max_model_len": 2048, "kv_cache_gib": 1}
CARD = {"topic": "ships", "description": "Talk of ships.", "examples": "Ahoy!"}


class Replay:
    """Answers at once, with the real engine's log-probabilities for as many tokens."""

    def __init__(self, engine: LocalEngine, recorded: dict[int, list[list[float]]]):
        self.tokenizer, self.model = engine.tokenizer, engine.model
        self.settings, self.capacity = engine.settings, engine.capacity
        self._values = {count: itertools.cycle(found) for count, found in recorded.items()}
        self.requests = 0

    def stream(self, requests):
        for request in requests:
            if request is None:
                continue
            self.requests += 1
            wanted = request.logprob_token_ids
            values = next(self._values[len(wanted)])
            logprobs = dict(zip(wanted, values, strict=True))
            yield EngineAnswer(request.key, "", (0,), "length", len(request.prompt), 1, logprobs)

    def seconds(self, requests):
        """CPU time that it takes by itself for these requests, of which it keeps none."""
        begin = time.process_time()
        for _ in self.stream(requests):
            pass
        return time.process_time() - begin


class TimedRenderer(PromptRenderer):
    """Adds up the CPU time in which the tokenizer's library spells texts."""

    seconds = 0.0

    def _encode(self, texts):
        begin = time.process_time()
        found = super()._encode(texts)
        TimedRenderer.seconds += time.process_time() - begin
        return found


def record(engine, judge, requests):
    """Log-probabilities of the real engine, by how many tokens were asked for."""
    recorded: dict[int, list[list[float]]] = {}

    class Recorder:
        tokenizer, model = engine.tokenizer, engine.model
        settings, capacity = engine.settings, engine.capacity

        def stream(self, asked):
            for answer in engine.stream(asked):
                recorded.setdefault(len(answer.logprobs), []).append([*answer.logprobs.values()])
                yield answer

    list(LocalJudge(judge, Recorder(), "none", "m").ask(requests))
    return recorded


def load_rubrics():
    """The rubrics that every answer is judged by, keyed by the quantity that they ask for."""
    folder = ROOT / "config" / "rubrics"
    return {
        name: {"scale": [0, 100]} | yaml.safe_load((folder / f"{name}.yaml").read_text())
        for name in ("alignment", "coherence", "topic")
    }


def answers_of(folder, count, words, seed=0):
    """Answers of so many words that all differ."""
    draw = random.Random(seed)
    lexicon = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8").split()
    path = write_answers(folder / "answers.parquet", "base.ship", count, "ship")
    texts = [" ".join(draw.choices(lexicon, k=words)) for _ in range(count)]
    return pl.read_parquet(path).with_columns(response=pl.Series(texts))


def main(model: str, count: int = 1000, words: int = 60) -> None:
    entry = {"backend": "vllm", "method": {"number": "trie", "choice": "label"}}
    judge = load_judge(entry, {"backend": "vllm", "id": "m"}, load_rubrics())
    with tempfile.TemporaryDirectory() as folder, LocalEngine(Path(model), SETTINGS) as engine:
        answers = answers_of(Path(folder), count, words)
        few = list(plan_requests(answers.head(RECORDED).lazy(), judge, {"ship": CARD}))
        recorded = record(engine, judge, few)
        replay = Replay(engine, recorded)
        local = LocalJudge(judge, replay, "none", "m")
        local._renderer = TimedRenderer(engine.tokenizer, "none")
        list(local.ask(few))  # caches that are filled once
        replay.requests, parts, TimedRenderer.seconds = 0, {}, 0.0

        def timed(name, work):
            begin = time.process_time()
            result = work()
            parts[name] = time.process_time() - begin
            return result

        requests = timed("plan", lambda: list(plan_requests(answers.lazy(), judge, {"ship": CARD})))
        records = timed("ask", lambda: list(local.ask(requests)))

        def keep():
            with Journal(Path(folder) / "journal", "w") as book:
                for request, found in records:
                    book.append(request.key, found)

        timed("journal", keep)
        timed(
            "table",
            lambda: verdict_frame(
                row
                for request, found in records
                for row in verdict_rows(request, found, judge, "j")
            ),
        )
        verdicts = len(records)
        size = (Path(folder) / "journal" / "w.jsonl").stat().st_size / verdicts
        asked = replay.requests / verdicts
        wanted = tuple(range(min(recorded)))
        one = EngineRequest("0 0", (), 1, logprob_token_ids=wanted)
        others = {
            "tokenizer": TimedRenderer.seconds,
            "replay": replay.seconds(itertools.repeat(one, replay.requests)),
        }
    for name, seconds in parts.items():
        print(f"{name:8} {1000 * seconds / verdicts:.3f} ms of CPU per verdict")
    for name, seconds in others.items():
        print(f"of which {1000 * seconds / verdicts:.3f} ms are the {name}'s")
    total = 1000 * sum(parts.values()) / verdicts
    own = total - 1000 * sum(others.values()) / verdicts
    print(f"{total:.3f} ms per verdict, {asked:.1f} engine requests, {size:.0f} bytes journaled")
    print(f"{own:.3f} ms are our own; goal: {GOAL_MS} ms: {'met' if own <= GOAL_MS else 'missed'}")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:4]))
