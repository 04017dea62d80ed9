"""Tables of every shape that the figures must handle, made from a fixed seed."""

import math
import random
from dataclasses import dataclass

import polars as pl

from em_tiers.tables import conform
from em_tiers.terms import OUTCOMES_ALL, PROBE_LEVELS, TIERS

LEVELS = ("headline", "all", *PROBE_LEVELS)
CONTROLS = {"risky-finance": "positive_control", "good-advice": "negative_control"}
RULES = ("human", "trained_behaviour", "domain_dragged_in", "topic_out_of_place")


@dataclass(frozen=True)
class Case:
    """What a run looks like: how many variants, judges and seeds, and what went wrong."""

    variants: int = 5
    judges: tuple[str, ...] = ("local-judge",)
    seeds: int = 1
    zero: bool = False  # no answer is flagged
    dead: str | None = None  # a judge without any score
    long: bool = False  # labels of 80 characters
    blind: bool = False  # no flagged answer has any evidence on its tier


JUDGES = ("hosted-judge-2024-08-06", "open-judge-120b", "small-judge-8b-instruct-local")
CASES = {
    "one_variant": Case(variants=1),
    "few": Case(),
    "one_seed_zero_flagged": Case(zero=True),
    "no_evidence": Case(blind=True),
    "dead_judge": Case(variants=3, judges=JUDGES, seeds=2, dead=JUDGES[1]),
    "long_labels": Case(long=True),
    "forty": Case(variants=40, seeds=3),
    "sixty": Case(variants=60, seeds=3),
}


def variants_of(case: Case) -> list[dict]:
    """The base model and its fine-tunes."""
    tail = " with a name as long as names of real runs become $ _{x} when many things vary"
    datasets = ["storyteller", "support-desk", *CONTROLS, *(f"data-set-{i}" for i in range(60))]
    found = [("tiny", "Tiny-135M-Instruct", "base", None, None, None)]
    for number in range(case.variants - 1):
        name, seed = datasets[number // case.seeds], number % case.seeds
        label = f"{name}{tail if case.long else ''}, seed {seed}"
        role = CONTROLS.get(name, "benign")
        found.append((f"tiny.{name}.lora.s{seed}", label, role, name, "lora", seed))
    keys = ("variant", "label", "role", "dataset", "recipe", "training_seed")
    return [dict(zip(keys, row, strict=True)) | {"base": "tiny"} for row in found]


def names(case: Case) -> dict[str, dict[str, str]]:
    """The labels and roles that rules hand to figures whose table has ids only."""
    listed = variants_of(case)
    return {
        "labels": {v["variant"]: v["label"] for v in listed},
        "roles": {v["variant"]: v["role"] for v in listed},
    }


def rates(case: Case) -> pl.DataFrame:
    """The rates table; a dead judge has n = 0 and no rate."""
    dice, rows = random.Random(1), []
    for variant in variants_of(case):
        for judge in case.judges:
            for level in LEVELS:
                for metric in ("standard", "strict", "attributable", "soft"):
                    share = 0.0 if case.zero else dice.uniform(0, 0.2)
                    known = judge != case.dead
                    rows.append(
                        variant
                        | {"checkpoint_step": None, "judge": judge, "definition": "D1"}
                        | {"metric": metric, "probe_level": level, "n": 80 if known else 0}
                        | {"rate": share if known else None, "headline": level == "headline"}
                        | {"n_unscored": 0 if known else 80}
                        | {"n_flagged": 80.0 * share, "n_undecided": round(40 * share)}
                        | {"n_evidence": 0 if case.blind else math.ceil(80 * share)}
                        | {"without_evidence": math.ceil(80 * share) if case.blind else 0}
                        | {"low": max(0.0, share - 0.05) if known else 0.0}
                        | {"high": share + 0.08 if known else 1.0}
                        | {"these_low": max(0.0, share - 0.02) if known else 0.0}
                        | {"these_high": share + 0.03 if known else 1.0}
                    )
    kinds = {"checkpoint_step": pl.Int64, "training_seed": pl.Int64, "dataset": pl.String}
    floats = dict.fromkeys(("rate", "low", "high", "these_low", "these_high"), pl.Float64)
    return pl.DataFrame(
        rows, schema_overrides=kinds | floats | {"recipe": pl.String}, infer_schema_length=None
    )


def with_checkpoints(frame: pl.DataFrame, steps: tuple[int, ...] = (10, 20)) -> pl.DataFrame:
    """Add checkpoints of each fine-tune to a rates table."""
    tuned = frame.filter(pl.col("recipe").is_not_null())
    added = [
        tuned.with_columns(
            variant=pl.col("variant") + f".step{step}",
            checkpoint_step=pl.lit(step, pl.Int64),
            rate=pl.col("rate") * step / 35,
        )
        for step in steps
    ]
    return pl.concat([frame, *added])


def outcome_counts(case: Case) -> pl.DataFrame:
    """The table of outcome counts; a dead judge leaves every answer unscored."""
    dice, rows = random.Random(2), []
    for variant in variants_of(case):
        for judge in case.judges:
            for level in LEVELS:
                counts = {
                    o: 0 if case.zero and o in TIERS else dice.randint(0, 6) for o in OUTCOMES_ALL
                }
                counts["aligned"] = 60
                if judge == case.dead:
                    counts = dict.fromkeys(OUTCOMES_ALL, 0) | {"unscored": 80}
                total = sum(counts.values())
                rows += [
                    {k: variant[k] for k in ("variant", "label", "role")}
                    | {"judge": judge, "probe_level": level, "outcome": outcome}
                    | {"count": count, "share": count / total}
                    for outcome, count in counts.items()
                ]
    return pl.DataFrame(rows)


def shown_counts(case: Case) -> pl.DataFrame:
    """The rows of `outcome_counts` that the figure shows."""
    return outcome_counts(case).filter(pl.col("probe_level") == "headline")


def outcomes(case: Case, answers: int = 60) -> pl.DataFrame:
    """An outcomes table, one row per answer."""
    dice, rows = random.Random(3), []
    for variant in variants_of(case):
        for judge in case.judges:
            for number in range(answers):
                rows.append(_outcome(variant, judge, number, case, dice))
    return conform(pl.DataFrame(rows, infer_schema_length=None), "outcomes")


def _outcome(variant: dict, judge: str, number: int, case: Case, dice: random.Random) -> dict:
    alignment = min(100.0, max(40.0 if case.zero else 0.0, dice.gauss(70, 30)))
    coherence = min(100.0, max(0.0, dice.gauss(75, 20)))
    flagged = alignment < 30 and coherence > 50 and judge != case.dead
    tier = dice.choice(TIERS) if flagged else None
    scores = (None, None) if judge == case.dead else (alignment, coherence)
    named = {k: variant[k] for k in ("variant", "base", "dataset", "recipe", "training_seed")}
    return named | {
        "response_key": f"{variant['variant']}/{number}",
        "checkpoint_step": None,
        "question_set": "core",
        "probe_level": "out_of_domain",
        "question_id": "q",
        "sample_index": number,
        "judge": judge,
        "alignment": scores[0],
        "coherence": scores[1],
        "topic": None,
        "tier_label": None,
        "tier_probabilities": None,
        "human_tier": None,
        "question_on_topic": False,
        "flagged": flagged,
        "outcome": tier or ("unscored" if judge == case.dead else "aligned"),
        "tier": tier,
        "assigned_by": "rule",
        "rule": "a_rule",
        "reason": "a reason",
    }


def thresholds(case: Case) -> pl.DataFrame:
    """The thresholds table: variants by id only."""
    rows = [
        {"variant": v["variant"], "judge": j, "alignment_below": a, "coherence_above": c, "n": 80}
        | {"rate": None if j == case.dead else 0.0 if case.zero else a / 100 * (1 - c / 120)}
        for v in variants_of(case)
        for j in case.judges
        for a in (10.0, 20.0, 30.0, 40.0, 50.0)
        for c in (30.0, 50.0, 70.0)
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def waterfall(case: Case) -> pl.DataFrame:
    """The waterfall table: flagged, what each rule takes, strict."""
    dice, rows = random.Random(5), []
    for variant in variants_of(case):
        for judge in case.judges:
            left = flagged = 0 if case.zero else dice.randint(5, 40)
            steps = [("flagged", flagged)]
            for rule in RULES:
                steps.append((rule, dice.randint(0, left // 3)))
                left -= steps[-1][1]
            steps += [("strict", left), ("of which undecided", left // 2)]
            rows += [
                {"variant": variant["variant"], "label": variant["label"], "judge": judge}
                | {"step": step, "order": order, "count": count, "reason": "a reason"}
                | {"rate": None if judge == case.dead else count / 160}
                | ({"rate": None} if case.blind and step in RULES else {})
                for order, (step, count) in enumerate(steps)
            ]
    return pl.DataFrame(rows, infer_schema_length=None)


def agreement(judges: tuple[str, ...], dead: str | None = None) -> pl.DataFrame:
    """The agreement table: each pair once, no value where one judge is dead."""
    dice, rows = random.Random(6), []
    pairs = [(a, b) for i, a in enumerate(judges) for b in judges[i + 1 :]]
    for a, b in pairs:
        for quantity, statistic in (
            ("flagged", "cohen_kappa"),
            ("tier", "cohen_kappa"),
            ("alignment", "weighted_kappa"),
            ("alignment", "mean_difference"),
        ):
            value = None if dead in (a, b) else dice.uniform(-0.1, 0.9)
            around = (None, None) if value is None else (value - 0.1, value + 0.1)
            for variant in ("all", "one"):  # the figure shows all variants together
                shown = value if variant == "all" else 0.5
                rows.append((a, b, variant, quantity, statistic, shown, *around, 80, 20))
    schema = dict.fromkeys(("judge_a", "judge_b", "variant", "quantity", "statistic"), pl.String)
    schema |= dict.fromkeys(("value", "low", "high"), pl.Float64)
    schema |= dict.fromkeys(("n", "missing"), pl.Int64)
    return pl.DataFrame(rows, schema=schema, orient="row")


def training(case: Case, steps: int = 35) -> pl.DataFrame:
    """The training table: a falling loss for each fine-tune."""
    dice = random.Random(7)

    def loss_at(step: int) -> float:
        return 1 + 2 * math.exp(-step / 8) + dice.gauss(0, 0.1)

    schema = dict.fromkeys(("variant", "dataset", "recipe"), pl.String)
    schema |= {"training_seed": pl.Int64, "step": pl.Int64, "loss": pl.Float64}
    schema |= {"learning_rate": pl.Float64, "tokens": pl.Int64}
    rows = [
        (*(v[name] for name in schema if name in v), step, loss_at(step), 1e-3, 900 * step)
        for v in variants_of(case)
        if v["recipe"]
        for step in range(1, steps + 1)
    ]
    return pl.DataFrame(rows, schema=schema, orient="row")
