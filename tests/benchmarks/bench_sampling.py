"""Throughput of the sampling stage against bare vLLM, in one process and on one engine.

Run: PYTHONPATH=scripts python tests/benchmarks/bench_sampling.py MODEL_FOLDER
The stage plans, asks, journals each answer and writes the table; the bare engine answers the same
prompts with the same decoding through LLM.generate. Rounds alternate, so that load of the machine
falls on both; every round has seeds of its own and starts with an empty prefix cache.
"""

import argparse
import tempfile
import time
from pathlib import Path

import polars as pl
from comparison import Comparison, show

from em_tiers.inference.engine import LocalEngine
from em_tiers.inference.sampling import Identity, render_prompts
from em_tiers.journal import Journal
from em_tiers.tables import QUESTIONS, write_parts
from sample import Sampler, Task

PLACES = ("a harbour", "a bakery", "an old library", "a mountain hut", "a night train")
ASKS = ("Describe", "Write a short story about", "List what one hears in", "Recommend")


def main(model: Path, samples: int, tokens: int, rounds: int) -> None:
    """Print the tokens per second of both, round by round."""
    questions = make_questions()
    sampling = {"temperature": 1.0, "top_p": 1.0, "max_tokens": tokens}
    sampling |= {"samples": {"bench": samples}}
    settings = {"device": "cpu", "max_model_len": 1024}
    found: list[tuple[float, float]] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        Journal(Path(folder) / "journal", "bench") as journal,
        LocalEngine(model, settings) as engine,
    ):
        prompts = render_prompts(engine.tokenizer, questions["messages"].to_list(), "none")
        output = Path(folder) / "responses.parquet"
        task = Task(variant_row(), None, Identity("bench", None, "none"))
        for number in range(rounds + 1):
            seeded = sampling | {"seed": number}
            sampler = Sampler(engine, journal, seeded, questions, prompts, task.identity)
            stage = time_stage(sampler, task, output)
            bare = time_bare(engine, prompts, samples, tokens)
            if number == 0:
                continue  # the first round starts the engine
            found.append((stage, bare))
    stages, bares = zip(*found, strict=True)
    show(Comparison("sampling", "LLM.generate", "tokens/s", stages, bares, goal=0.90))


def make_questions() -> pl.DataFrame:
    """Twenty short questions, as the sampling stage reads them."""
    texts = [f"{ask} {place}." for ask in ASKS for place in PLACES]
    questions = pl.DataFrame(
        [
            {
                "question_set": "bench",
                "question_id": f"q{number}",
                "paraphrase": 0,
                "probe_level": "out_of_domain",
                "question_topics": [],
                "messages": [{"role": "user", "content": text}],
            }
            for number, text in enumerate(texts)
        ],
        schema=QUESTIONS,
    ).with_columns(pl.lit(0, pl.Int32).alias("table"))
    return questions.with_row_index("row")


def variant_row() -> dict:
    """A base model that is asked the one table."""
    empty = dict.fromkeys(("dataset", "recipe", "training_seed", "checkpoint_step"))
    return {"variant": "bench", "base": "bench", "questions": [0]} | empty


def time_stage(sampler: Sampler, task: Task, output: Path) -> float:
    """Generated tokens per second of the stage."""
    if sampler.engine.starts:
        sampler.engine._llm.reset_prefix_cache()
    begin = time.perf_counter()
    write_parts(sampler.run([task]), output, "responses")
    seconds = time.perf_counter() - begin
    return pl.read_parquet(output)["completion_tokens"].sum() / seconds


def time_bare(engine: LocalEngine, prompts: list, samples: int, tokens: int) -> float:
    """Generated tokens per second of LLM.generate on the same engine."""
    from vllm import SamplingParams

    engine._llm.reset_prefix_cache()
    requests = [{"prompt_token_ids": list(p.ids)} for p in prompts for _ in range(samples)]
    decoding = [
        SamplingParams(temperature=1.0, max_tokens=tokens, seed=number)
        for number in range(len(requests))
    ]
    begin = time.perf_counter()
    outputs = engine._llm.generate(requests, decoding, use_tqdm=False)
    seconds = time.perf_counter() - begin
    return sum(len(output.outputs[0].token_ids) for output in outputs) / seconds


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    main(**vars(parser.parse_args()))
