"""Start an engine with a small random model and check what the workflow needs of it.

    python -m em_tiers.inference.engine_probe FOLDER [cuda|cpu]

Prints one JSON object: {check: [whether it passed, what was seen]}.
"""

import json
import math
import sys
from pathlib import Path

from em_tiers.inference.engine import EngineAnswer, EngineRequest, LocalEngine
from em_tiers.inference.random_model import write_random_adapter, write_random_model
from em_tiers.logs import log_to

ADAPTER = "tuned"
WANTED = (65, 66, 67)
TOKENS = 12


def probe(folder: Path, device: str) -> dict[str, tuple[bool, str]]:
    """Results of all checks; folder holds the model and the adapter."""
    model = write_random_model(folder / "model")
    adapter = write_random_adapter(model, folder / "adapter")
    settings = {"device": device, "adapters": "lora", "max_model_len": 512, "max_num_seqs": 8}
    settings |= {"enforce_eager": True}  # compiling takes a minute of a GPU node
    settings |= {"kv_cache_gib": 0.25} if device == "cpu" else {"gpu_memory_utilization": 0.5}
    with LocalEngine(model, settings, {ADAPTER: adapter}, folder) as engine:
        prompt = tuple(engine.tokenizer("Where does the path lead?")["input_ids"])

        def ask(seed: int = 7, variant: str | None = None) -> EngineAnswer:
            request = EngineRequest(
                f"{variant}{seed}{ask.count}",
                prompt,
                TOKENS,
                temperature=1.0,
                seed=seed,
                variant=variant,
                logprob_token_ids=WANTED,
            )
            ask.count += 1
            return next(iter(engine.stream([request])))

        ask.count = 0
        return judge(ask(), ask(), ask(seed=8), ask(variant=ADAPTER))


def judge(
    first: EngineAnswer, again: EngineAnswer, other: EngineAnswer, tuned: EngineAnswer
) -> dict[str, tuple[bool, str]]:
    """Checks of four answers: two with one seed, one with another, one of the adapter."""
    logprobs = first.logprobs or {}
    finite = set(logprobs) == set(WANTED) and all(
        math.isfinite(value) and value <= 0 for value in logprobs.values()
    )
    return {
        "engine": (bool(first.token_ids), f"{len(first.token_ids)} tokens"),
        "logprob_token_ids": (finite, f"{len(logprobs)} of {len(WANTED)}"),
        "seeds": (
            first.token_ids == again.token_ids != other.token_ids,
            "one seed gives one answer, another gives another"
            if first.token_ids == again.token_ids != other.token_ids
            else "answers do not follow the seed",
        ),
        "LoRA": (
            tuned.logprobs != first.logprobs,
            "the adapter changes the answer"
            if tuned.logprobs != first.logprobs
            else "the adapter changes nothing",
        ),
    }


def main(folder: Path, device: str) -> None:
    """Print the results."""
    log_to(None)
    print(json.dumps(probe(folder, device)), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "cuda")
