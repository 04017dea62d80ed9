"""TEMP, replaced by the helper's module."""

from pathlib import Path

from em_tiers.download.manifests import content_identity
from em_tiers.hashing import hash_of
from em_tiers.judge.model_names import is_moving
from em_tiers.study.entries import chat_template, model_identity
from em_tiers.study.load import without_cosmetics

JUDGE_KEYS = (
    "backend",
    "decoding",
    "method",
    "min_coverage",
    "model",
    "rubrics",
    "tier_when_alignment_below",
)


def judge_ids(study):
    imported = [judge for entry in study.config["imports"] for judge in entry["scores"]]
    return list(dict.fromkeys([*study.config["judges"], *imported]))


def judge_params(study, judge):
    entry = without_cosmetics(study.judges[judge])
    return {key: entry[key] for key in sorted(entry) if key in JUDGE_KEYS}


def judge_rubrics(study, judge):
    return {
        asks: without_cosmetics(study.rubrics[r])
        for asks, r in sorted(study.judges[judge]["rubrics"].items())
    }


def judge_identity(study, judge):
    entry = study.judges[judge]
    if entry["backend"] == "vllm":
        return {"backend": "vllm"} | model_identity(study, entry["model"])
    signed = entry["endpoint"]["signed_as"]
    return {
        "backend": "openai",
        "server": entry["endpoint"]["served_by"] or entry["endpoint"]["base_url"],
        "model": entry["model"],
    } | ({"signed_as": signed} if signed else {})


def judge_name(study, judge):
    moving = judge in study.judges and is_moving(study.judges[judge])
    return f"{judge} (undated alias)" if moving else judge


def judge_journal(study, judge, results):
    return f"{results}/journals/judge/{hash_of(judge_identity(study, judge), 12)}"


def full_identity(study, judge):
    entry, identity = study.judges[judge], judge_identity(study, judge)
    if entry["backend"] != "vllm":
        return identity
    folder = Path("results/resources/models") / entry["model"]
    if (folder / "manifest.json").is_file():
        identity = content_identity(identity, folder)
    template = chat_template(study, entry["model"])
    return identity | {
        "thinking": study.models[entry["model"]]["thinking"],
        "chat_template": Path(template[0]).read_text(encoding="utf-8") if template else None,
    }


def judged_batches(study, judge):
    """Batches of responses that a judge scores: all of them, or the imports that bring its scores."""
    if judge in study.config["judges"]:
        return list(study.batches)
    scored = [e["id"] for e in study.config["imports"] if judge in e["scores"]]
    return [
        b for b in study.batches if b.removeprefix("import.") in scored and b.startswith("import.")
    ]


def api_slot(study, judge):
    return f"api_{hash_of(judge_identity(study, judge), 12)}"


def judges_with(study, backend):
    """Configured judges of one backend."""
    return [j for j in study.config["judges"] if study.judges[j]["backend"] == backend]


def judge_engine(study, judge):
    from em_tiers.study.entries import engine

    return engine(study, study.judges[judge]["engine"])
