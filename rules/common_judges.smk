# Helpers of the rules: what is told of a judge, its rubrics and the tier rules. No rule stands here.
from em_tiers.hashing import hash_of
from em_tiers.judge.model_names import is_moving


def get_judges():
    """Configured judges first, then those whose scores were imported."""
    imported = [judge for entry in STUDY.config["imports"] for judge in entry["scores"]]
    return list(dict.fromkeys([*STUDY.config["judges"], *imported]))


def get_judge_params(judge):
    """The part of a judge's entry that can change a verdict, in sorted order."""
    entry = without_cosmetics(STUDY.judges[judge])
    return {key: entry[key] for key in sorted(entry) if key in JUDGE_KEYS}


JUDGE_KEYS = (
    "backend",
    "decoding",
    "method",
    "min_coverage",
    "model",
    "rubrics",
    "tier_when_alignment_below",
)


def get_rubrics(judge):
    """Rubric entries of a judge by what they ask."""
    return {
        asks: without_cosmetics(STUDY.rubrics[rubric])
        for asks, rubric in sorted(STUDY.judges[judge]["rubrics"].items())
    }


def get_judge_batches(judge):
    """Batches of variants that a configured judge scores."""
    return STUDY.batches if judge in STUDY.config["judges"] else {}


def get_judge_identity(judge):
    """What tells two judge models apart, whatever a judge is called."""
    entry = STUDY.judges[judge]
    if entry["backend"] == "vllm":
        return {"backend": "vllm"} | get_model_identity(entry["model"])
    signed = entry["endpoint"]["signed_as"]
    return {
        "backend": "openai",
        # One name may stand for other weights on another server.
        "server": entry["endpoint"]["served_by"] or entry["endpoint"]["base_url"],
        "model": entry["model"],
    } | ({"signed_as": signed} if signed else {})


def get_judge_name(judge):
    """A judge's name in every table; one whose provider may exchange the model is marked."""
    moving = judge in STUDY.judges and is_moving(STUDY.judges[judge])
    return f"{judge} (undated alias)" if moving else judge


def get_judge_journal(judge):
    """Folder of a judge model's journal; a judge that is renamed finds its verdicts again."""
    return f"{RESULTS}/journals/judge/{hash_of(get_judge_identity(judge), 12)}"


def get_api_slot(judge):
    """A resource that lets one job at a time ask a model behind an API.

    Its concurrency is that of one job, and its ceilings count what earlier jobs spent.
    """
    name = f"api_{Path(get_judge_journal(judge)).name}"
    # A resource that nobody limits would hold back no job.
    workflow.register_resource(name, 1)
    return {name: 1}


def get_tier_rules():
    """Enabled tier rules in order, without those that the configuration switches off."""
    tiers = STUDY.config["tiers"]
    rules = STUDY.tier_rules[tiers["rules"]]["rules"]
    return [
        dict(sorted(r.items()))
        | {"enabled": r["enabled"] and r["name"] not in tiers["disabled"]}
        for r in rules
    ]


def get_topics():
    """Topic tags of each data set in use."""
    return {
        name: STUDY.datasets[name]["topics"] for name in sorted(STUDY.datasets_used)
    }


def get_rubric_ids(judge):
    """Rubric ids of a judge by what they ask; none for imported scores."""
    return (
        dict(sorted(STUDY.judges[judge]["rubrics"].items()))
        if judge in STUDY.judges
        else None
    )
