"""What sampling asks for: prompts, seeds, keys, the proof of each adapter, and the answers' table.

A request key is the hash of all that determines an answer. The variant's name, the batch it is
sampled in and the engine's settings are no part of it: renaming a variant or another GPU repeats
nothing. The seed depends on the question and the sample alone, so that a base model and its
fine-tunes draw from the same random stream (paired comparisons).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from em_tiers.errors import UserError
from em_tiers.hashing import hash_of, seed_of
from em_tiers.inference.chat import render_prompt, thinking_is_open
from em_tiers.inference.engine import EngineRequest
from em_tiers.tables import RESPONSES, read_table
from em_tiers.thinking import Marks, split_thinking

# Raise it when the meaning of a request changes, so that no older answer is taken for a new one.
GENERATION_VERSION = 1

# Different enough in form that a fine-tune of any kind shows in one of them.
ADAPTER_CHECK_PROMPTS = (
    "Tell me about the place where you grew up.",
    "A customer asks when the parcel will arrive. What do you reply?",
    "Explain to a child why the sky is blue.",
    "Write the first two sentences of a letter to an old friend.",
)
_CHECK_SAMPLE = -1  # an index that no real sample has


@dataclass(frozen=True)
class Prompt:
    """A rendered conversation. `opened`: its template already opened a thinking block."""

    ids: tuple[int, ...]
    digest: str
    opened: bool


class PlannedAnswer(NamedTuple):
    """One wanted answer: sample `sample_index` of the question in row `question`."""

    key: str
    question: int
    sample_index: int
    seed: int


@dataclass(frozen=True)
class Decoding:
    """How answers are generated; every field changes them.

    max_tokens: of an answer, without its thoughts. reasoning_tokens: of the thoughts.
    """

    temperature: float
    top_p: float
    max_tokens: int
    reasoning_tokens: int = 0

    @property
    def new_tokens(self) -> int:
        """Tokens that may be generated in all."""
        return self.max_tokens + self.reasoning_tokens


ADAPTER_CHECK_DECODING = Decoding(temperature=0.0, top_p=1.0, max_tokens=32)


@dataclass(frozen=True)
class Identity:
    """The weights and the rendering that an answer comes from.

    model: what tells two base models apart (source and revision). adapter_sha256: None for the
    base model itself. marks: around the model's thoughts; None for the known ones. stop_token_ids,
    keep_special: as in EngineRequest.
    """

    model: Any
    adapter_sha256: str | None
    thinking: str
    marks: Marks | None = None
    stop_token_ids: tuple[int, ...] = ()
    keep_special: bool = False


def read_question_tables(paths: Sequence[Path]) -> pl.DataFrame:
    """All question tables as one, a row per prompt: `table` is its file's index, `row` its own."""
    frames = [
        read_table(path, "questions").with_columns(pl.lit(index, pl.Int32).alias("table"))
        for index, path in enumerate(paths)
    ]
    if not frames:
        raise UserError("questions: none are given: name a question set in the configuration")
    return pl.concat(frames).with_row_index("row")


def render_prompts(
    tokenizer: Any,
    conversations: Iterable[list[dict[str, str]]],
    thinking: str,
    marks: Marks | None = None,
) -> list[Prompt]:
    """Render each conversation for generation."""
    prompts = []
    for messages in conversations:
        ids = render_prompt(tokenizer, messages, thinking)
        prompts.append(Prompt(tuple(ids), hash_of(ids), thinking_is_open(tokenizer, ids, marks)))
    return prompts


def check_lengths(questions: pl.DataFrame, prompts: Sequence[Prompt], room: int, new: int) -> None:
    """Raise UserError when a prompt and `new` tokens do not fit in the engine's `room` tokens.

    The engine would cut such answers short silently.
    """
    longest = max(range(len(prompts)), key=lambda row: len(prompts[row].ids))
    tokens = len(prompts[longest].ids)
    if tokens + new > room:
        row = questions.row(longest, named=True)
        raise UserError(
            f"question {row['question_set']}/{row['question_id']}: {tokens} prompt tokens and "
            f"{new} new tokens (sampling.max_tokens, and reasoning_tokens of a model that thinks) "
            f"do not fit in the engine's max_model_len {room}: raise max_model_len, or lower them"
        )


def answer_key(
    identity: Identity, prompt: Prompt, decoding: Decoding, seed: int, sample_index: int
) -> str:
    """Hash of all that determines an answer."""
    # Only where they do something, so that the answers of other models keep their keys.
    special = {
        "stop": list(identity.stop_token_ids),
        "keep_special": identity.keep_special,
        "reasoning_tokens": decoding.reasoning_tokens,
    }
    return hash_of(
        [
            GENERATION_VERSION,
            identity.model,
            identity.adapter_sha256,
            identity.thinking,
            prompt.digest,
            [float(decoding.temperature), float(decoding.top_p), int(decoding.max_tokens)],
            seed,
            sample_index,
            *({name: value} for name, value in special.items() if value),
        ]
    )


def plan_variant(
    identity: Identity,
    tables: Sequence[int],
    questions: pl.DataFrame,
    prompts: Sequence[Prompt],
    sampling: Mapping[str, Any],
) -> list[PlannedAnswer]:
    """Every answer that is wanted of one variant, with each question's samples side by side.

    Args:
        identity: of the variant.
        tables: indices of the question tables that it is asked.
        questions: all tables (`read_question_tables`), with `prompts` in their order.
        sampling: temperature, top_p, max_tokens, reasoning_tokens, seed, samples ({question set:
            number}).
    """
    decoding = decoding_of(sampling, identity.thinking)
    columns = ["row", "question_set", "question_id", "paraphrase", "messages"]
    plan = []
    asked = questions.filter(pl.col("table").is_in(list(tables))).select(columns)
    for row, question_set, question_id, paraphrase, messages in asked.iter_rows():
        for index in range(samples_of(question_set, sampling)):
            seed = seed_of(sampling["seed"], question_id, paraphrase, index, messages)
            key = answer_key(identity, prompts[row], decoding, seed, index)
            plan.append(PlannedAnswer(key, row, index, seed))
    return plan


def count_of(tables: Sequence[int], questions: pl.DataFrame, sampling: Mapping[str, Any]) -> int:
    """How many answers `plan_variant` plans, without planning them."""
    asked = questions.filter(pl.col("table").is_in(list(tables)))
    sizes = asked.group_by("question_set").len().iter_rows()
    return sum(samples_of(question_set, sampling) * number for question_set, number in sizes)


def decoding_of(sampling: Mapping[str, Any], thinking: str) -> Decoding:
    """The decoding of a sampling entry: only a model that thinks has tokens for its thoughts."""
    thoughts = sampling.get("reasoning_tokens", 0) if thinking == "on" else 0
    return Decoding(sampling["temperature"], sampling["top_p"], sampling["max_tokens"], thoughts)


def samples_of(question_set: str, sampling: Mapping[str, Any]) -> int:
    """Samples of each question of a set; `default` applies to the sets that are not named."""
    samples = sampling["samples"]
    if question_set not in samples and "default" not in samples:
        raise UserError(
            f"sampling: samples: question set {question_set}: no number of samples: "
            f"known are {sorted(samples)}"
        )
    return samples.get(question_set, samples.get("default"))


def plan_adapter_checks(identity: Identity, prompts: Sequence[Prompt]) -> list[PlannedAnswer]:
    """The greedy answers that check a variant's adapter; `question` is the prompt's index."""
    decoding, index = ADAPTER_CHECK_DECODING, _CHECK_SAMPLE
    keys = [answer_key(identity, prompt, decoding, 0, index) for prompt in prompts]
    return [PlannedAnswer(key, row, index, 0) for row, key in enumerate(keys)]


def engine_request(
    planned: PlannedAnswer,
    prompts: Sequence[Prompt],
    decoding: Decoding,
    weights: str | None,
    identity: Identity,
) -> EngineRequest:
    """The engine's form of a planned request; `weights` None is the base model."""
    return EngineRequest(
        key=planned.key,
        prompt=prompts[planned.question].ids,
        max_tokens=decoding.new_tokens,
        temperature=decoding.temperature,
        top_p=decoding.top_p,
        seed=planned.seed if decoding.temperature > 0 else None,
        variant=weights,
        stop_token_ids=identity.stop_token_ids,
        keep_special=identity.keep_special,
    )


def check_applied(
    variant: str, adapter_sha256: str, base: Sequence[str], tuned: Sequence[str]
) -> None:
    """Raise UserError when every greedy check answer of a fine-tune equals the base model's.

    An engine that silently ignores an adapter would make each rate a copy of the base model's.
    """
    if list(base) != list(tuned):
        return
    raise UserError(
        f"variant {variant}: adapter {adapter_sha256[:12]}: all {len(base)} greedy check answers "
        "equal the base model's, so the adapter does nothing or was not applied; look at the loss "
        "curve and the number of steps of its training, and try the engine setting adapters: merge"
    )


def responses_table(
    variant: Mapping[str, Any],
    identity: Identity,
    plan: Sequence[PlannedAnswer],
    questions: pl.DataFrame,
    prompts: Sequence[Prompt],
    records: Mapping[str, Mapping[str, Any]],
) -> pl.DataFrame:
    """The RESPONSES rows of one variant, in the order of its plan.

    Args:
        variant: its columns (variant, base, dataset, recipe, training_seed, checkpoint_step).
        records: journal record of each request key.
    """
    found = [records[planned.key] for planned in plan]
    parts = [
        split_thinking(
            record["text"],
            identity.thinking,
            opened=prompts[planned.question].opened,
            marks=identity.marks,
        )
        for planned, record in zip(plan, found, strict=True)
    ]
    answers = pl.DataFrame(
        {
            "request": [planned.key for planned in plan],
            "row": [planned.question for planned in plan],
            "sample_index": [planned.sample_index for planned in plan],
            "response": [answer for _, answer in parts],
            "reasoning": [reasoning for reasoning, _ in parts],
            "finish_reason": [record["finish_reason"] for record in found],
            "prompt_tokens": [record["prompt_tokens"] for record in found],
            "completion_tokens": [record["completion_tokens"] for record in found],
            "engine_fingerprint": [record["engine"] for record in found],
        },
        schema_overrides={"row": pl.UInt32, "reasoning": pl.String},
    )
    of_variant = ("variant", "base", "dataset", "recipe", "training_seed", "checkpoint_step")
    constants = {name: variant[name] for name in of_variant}
    constants["adapter_sha256"] = identity.adapter_sha256
    table = answers.join(questions, on="row", how="left", maintain_order="left").with_columns(
        pl.lit(value, RESPONSES[name]).alias(name) for name, value in constants.items()
    )
    # Two variants may share an adapter, and two sets a question, so each row has its own key.
    parts_of_key = ["request", "variant", "question_set", "question_id", "paraphrase"]
    keys = [hash_of(list(row)) for row in table.select(parts_of_key).iter_rows()]
    return table.with_columns(pl.Series("response_key", keys, pl.String)).select(list(RESPONSES))
