"""What is asked of models behind an API: planned by the job, and counted before it runs."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from em_tiers.api.spending import PricedRequest, estimate
from em_tiers.hashing import hash_of
from em_tiers.inference.missing_answers import exists
from em_tiers.inference.sampling import (
    ADAPTER_CHECK_DECODING,
    ADAPTER_CHECK_PROMPTS,
    Decoding,
    Identity,
    PlannedAnswer,
    Prompt,
    decoding_of,
    plan_adapter_checks,
    plan_variant,
    read_question_tables,
)
from em_tiers.journal import read_journal

# Of a question that is not there yet.
QUESTION_CHARACTERS = 300
ANSWERS, CHECKS = "answers", "checks that two names are two models"


class Asked(NamedTuple):
    """Requests to one model: the plan, its conversations, and how they are decoded."""

    plan: list[PlannedAnswer]
    conversations: Sequence[Sequence[Mapping[str, str]]]
    decoding: Decoding


def identity_of(entry: Mapping[str, Any]) -> Identity:
    """The identity of a model's answers; `entry` as `study.api_models.api_model` gives it."""
    return Identity(entry["identity"], None, entry["thinking"])


def prompts_of(conversations: Sequence) -> list[Prompt]:
    """Conversations as prompts that a server renders: known by their text."""
    return [Prompt((), hash_of([dict(m) for m in c]), opened=False) for c in conversations]


def asked_answers(
    entry: Mapping[str, Any], questions: Any, tables: Sequence[int], sampling: Mapping[str, Any]
) -> Asked:
    """The answers of one variant; see `sampling.plan_variant`."""
    conversations = questions["messages"].to_list()
    identity, prompts = identity_of(entry), prompts_of(conversations)
    plan = plan_variant(identity, tables, questions, prompts, sampling)
    return Asked(plan, conversations, decoding_of(sampling, entry["thinking"]))


def asked_checks(entry: Mapping[str, Any]) -> Asked:
    """The greedy answers that show whether two names are two models."""
    conversations = [[{"role": "user", "content": text}] for text in ADAPTER_CHECK_PROMPTS]
    plan = plan_adapter_checks(identity_of(entry), prompts_of(conversations))
    return Asked(plan, conversations, ADAPTER_CHECK_DECODING)


def plan_models(
    variants: Sequence[Mapping[str, Any]],
    missing: Mapping[str, int | None],
    sampling: Mapping[str, Any],
) -> Iterator[str]:
    """A line on each model behind an API: the requests that are left, and their highest cost.

    Args:
        variants: of the study; `api` holds the model's entry and its base model's, or is None.
        missing: answers that are still to be sampled, by variant; None: not known.
    """
    entries: dict[str, Mapping[str, Any]] = {}
    planned: dict[str, list[PricedRequest]] = {}

    def add(entry: Mapping[str, Any], requests: list[PricedRequest]) -> None:
        entries[entry["name"]] = entry
        planned.setdefault(entry["name"], []).extend(requests)

    for variant in variants:
        if not variant["api"]:
            continue
        model, base = variant["api"]["model"], variant["api"]["base"]
        if base:
            for entry in (base, model):
                add(entry, _priced(asked_checks(entry), CHECKS))
        add(model, _answers(variant, model, missing[variant["variant"]], sampling))
    for name, entry in entries.items():
        done = read_journal(entry["journal"])
        words = estimate(planned[name], done.keys(), entry["prices"], "cost unknown (no prices)")
        yield f"{name}: {words}"


def _answers(
    variant: Mapping[str, Any], model: Mapping[str, Any], missing: int | None, sampling: Any
) -> list[PricedRequest]:
    paths = list(variant["questions"])
    if all(map(exists, paths)):
        questions = read_question_tables([Path(path) for path in paths])
        asked = asked_answers(model, questions, range(len(paths)), sampling)
        return _priced(asked, ANSWERS)
    tokens = decoding_of(sampling, model["thinking"]).new_tokens
    return [PricedRequest(None, QUESTION_CHARACTERS, tokens, ANSWERS, missing)] if missing else []


def _priced(asked: Asked, what: str) -> list[PricedRequest]:
    characters = [sum(len(m["content"]) for m in each) for each in asked.conversations]
    tokens = asked.decoding.new_tokens
    return [PricedRequest(p.key, characters[p.question], tokens, what) for p in asked.plan]
