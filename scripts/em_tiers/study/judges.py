"""Judges of a study: the params of their rules, and the identity of a judge model.

A judge is tested in judging batches of their own, `CARD_BATCHES`: see `em_tiers.study.judge_cards`.
"""

from typing import Any

from em_tiers.api.model_names import is_moving
from em_tiers.hashing import hash_of
from em_tiers.judge import rounds
from em_tiers.judge.letter_orders import ordered_rubrics
from em_tiers.judge.model_names import local_identity
from em_tiers.study.api_models import endpoint_identity
from em_tiers.study.entries import chat_template, engine, model_identity
from em_tiers.study.params import without_cosmetics
from em_tiers.study.placebo import placebo_topics
from em_tiers.study.study import Study
from em_tiers.terms import JUDGE_CARD

# Keys of a judge that change no verdict. All other keys are params of its rules, so that a new key
# of the schema always reaches the job.
CHANGES_NO_VERDICT = frozenset({"endpoint", "engine", "limits", "mode", "prices"})

API_BACKENDS = ("openai", "anthropic")
QUALIFICATION = "judge-qualification"
CARD_BATCHES = (JUDGE_CARD, QUALIFICATION)
# Of a judge that is tested: its tier verdict on every case, and no stop at low coverage, which is
# among the findings.
_TESTED = {"tier_when_alignment_below": 101, "min_coverage": 0}


def judge_ids(study: Study) -> list[str]:
    """Configured judges first, then those whose scores were imported."""
    imported = [judge for entry in study.config["imports"] for judge in entry["scores"]]
    return list(dict.fromkeys([*study.config["judges"], *imported]))


def judges_with(study: Study, backend: str) -> list[str]:
    """Judges of one backend that may be asked; `api` for all behind an endpoint."""
    backends = API_BACKENDS if backend == "api" else (backend,)
    return [name for name in study.asked_judges if study.judges[name]["backend"] in backends]


def judge_pattern(study: Study, backend: str) -> str:
    """Wildcard constraint of a back-end's rule; it matches nothing if no judge uses it."""
    return "|".join(judges_with(study, backend)) or "(?!)"


def judged_batches(study: Study, judge: str) -> list[str]:
    """Batches of responses that a judge scores: all, or the imports that contain its scores."""
    if judge in study.config["judges"]:
        return list(study.batches)
    return [f"import.{name}" for name, entry in study.imports.items() if judge in entry["scores"]]


def judge_params(study: Study, judge: str, batch: str | None = None) -> dict[str, Any]:
    """The part of a judge's entry that can change a verdict, in sorted order."""
    entry = without_cosmetics(study.judges[judge]) | (_TESTED if batch in CARD_BATCHES else {})
    if batch not in CARD_BATCHES and (others := placebo_topics(study)):
        entry["placebo_topics"] = others
    return {key: value for key, value in entry.items() if key not in CHANGES_NO_VERDICT}


def judge_prices(study: Study, judge: str) -> dict[str, float] | None:
    """US dollars per million tokens that a judge's requests cost in its mode; None: not given."""
    prices = price_list(study, judge)
    if not prices:
        return None
    share = prices.pop("batch_share")
    if study.judges[judge]["mode"] == "batch":
        return {name: price * share for name, price in prices.items()}
    return prices


def price_list(study: Study, judge: str) -> dict[str, float] | None:
    """A judge's prices for both modes: those of direct requests, and batch_share of them."""
    prices = study.judges[judge]["prices"]
    return dict(sorted(prices.items())) if prices else None


def judge_engine(study: Study, judge: str) -> dict[str, Any]:
    """Settings of the engine that a local judge runs on."""
    return engine(study, study.judges[judge]["engine"])


def judge_rubrics(study: Study, judge: str, batch: str | None = None) -> dict[str, dict[str, Any]]:
    """Rubric entries of a judge by role: alignment, coherence, topic, tier.

    A judge that is tested has its tier rubric in other orders of the letters too.
    """
    found = {
        role: rubric_entry(study, rubric)
        for role, rubric in sorted(study.judges[judge]["rubrics"].items())
    }
    tested = batch in CARD_BATCHES and "tier" in found
    return found | (ordered_rubrics(found["tier"]) if tested else {})


def rubric_entry(study: Study, rubric: str) -> dict[str, Any]:
    """A rubric as its judge's job reads it: a published prompt by the folder of its file."""
    entry = without_cosmetics(study.rubrics[rubric])
    source = entry.pop("prompt_from")
    if not source:
        return entry
    del entry["prompt"]
    name = source["question_set"]
    pinned = study.question_sets[name]["source"].get("sha256")
    folder = f"results/resources/questions/{name}"
    return entry | {"prompt_from": {"folder": folder, "name": source["name"], "sha256": pinned}}


def published_sets(study: Study, judge: str) -> list[str]:
    """Question sets whose files hold prompts of a judge."""
    entries = (study.rubrics[name] for name in study.judges[judge]["rubrics"].values())
    return sorted({e["prompt_from"]["question_set"] for e in entries if e["prompt_from"]})


def published_prompts(study: Study, judge: str) -> list[str]:
    """The folders of these files, which its rules read."""
    return [f"<resources>/questions/{name}" for name in published_sets(study, judge)]


def judge_identity(study: Study, judge: str) -> dict[str, Any]:
    """The identity of a judge model, whatever the judge's name and rubrics."""
    entry = study.judges[judge]
    if entry["backend"] == "vllm":
        quantization = judge_engine(study, judge)["quantization"]
        own = {"quantization": quantization} if quantization else {}
        return {"backend": "vllm"} | model_identity(study, entry["model"]) | own
    return endpoint_identity(entry)


def full_identity(study: Study, judge: str) -> dict[str, Any]:
    """The identity that a judge's requests are keyed by, as the job computes it.

    A local judge adds its thinking mode and its chat template; a model from a path is known by the
    hash of its files once they are in results/resources.
    """
    entry, identity = study.judges[judge], judge_identity(study, judge)
    if entry["backend"] != "vllm":
        return identity
    folder = study.workdir / "results" / "resources" / "models" / entry["model"]
    there = (folder / "manifest.json").is_file()
    files = (study.workdir / path for path in chat_template(study, entry["model"]))
    template = [file for file in files if file.is_file()]  # prepare_template may yet write it
    model = study.models[entry["model"]]
    return local_identity(
        identity,
        folder if there else None,
        model["thinking"],
        *template or [None],
        model["thinking_marks"],
    )


def judge_name(study: Study, judge: str) -> str:
    """A judge's name in every table; it is marked when the provider may replace the model."""
    moving = judge in study.asked_judges and is_moving(study.judges[judge])
    return f"{judge} (undated alias)" if moving else judge


def _identity_hash(study: Study, judge: str) -> str:
    return hash_of(judge_identity(study, judge), 12)


def judge_journal(study: Study, judge: str, results: str) -> str:
    """Folder of a judge model's journal below `results`; the judge's name is not part of it."""
    return f"{results}/journals/judge/{_identity_hash(study, judge)}"


def due_round(study: Study, verdicts: str) -> int:
    """The round of the job that makes a table of verdicts (see `em_tiers.judge.rounds`)."""
    return rounds.due_round(study.workdir / verdicts, study.config["accept_api_errors"])


def api_slot(study: Study, judge: str) -> str:
    """Name of the resource that the jobs of one model behind an API share."""
    return f"api_{_identity_hash(study, judge)}"


def api_slots(study: Study) -> dict[str, list[str]]:
    """Configured judges by the slot that their jobs share."""
    slots: dict[str, list[str]] = {}
    for judge in judges_with(study, "api"):
        slots.setdefault(api_slot(study, judge), []).append(judge)
    return slots


def key_names(study: Study) -> set[str]:
    """Environment variables that hold the keys of the catalogue's judges and models."""
    entries = [*study.judges.values(), *study.models.values()]
    endpoints = (entry["endpoint"] for entry in entries)
    return {e["key_env"] for e in endpoints if e and e["key_env"]}
