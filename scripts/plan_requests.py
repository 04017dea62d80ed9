"""Print what a run would ask: answers to sample, and the requests and cost of each judge."""

import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from em_tiers.errors import UserError
from em_tiers.files import read_json, write_json
from em_tiers.inference.api_plan import plan_models
from em_tiers.inference.missing_answers import (
    bases_of_estimate,
    count_sampled,
    exists,
    expected_answers,
    is_retrained,
    missing_answers,
)
from em_tiers.judge.plan import plan_card, plan_judge
from em_tiers.logs import run_script
from em_tiers.prepare.judge_cases import most_cases
from em_tiers.statistics.design import design_in_words
from em_tiers.tables import read_table

MOST_BASES = 12  # shown


def main(
    variants: list[dict[str, Any]],
    judges: dict[str, dict[str, Any]],
    sampling: Mapping[str, Any],
    rebuilt: Collection[str] = (),
    headline_levels: Sequence[str] = (),
    cards: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Print what would be trained and sampled, and one line or more per judge.

    Nothing is asked and nothing is written. Verdicts that a journal holds cost nothing.

    Args:
        variants: {variant, parent, dataset, adapter, journal (None: imported), responses, card,
            questions: {path: n}, expected: {path: (prompts, basis) or None}, verdicts: {judge:
            path}, api: {model, base} behind an API, or None}.
        judges: name -> {judge, identity, rubrics, prices, journal}.
        sampling: as in sample.py.
        rebuilt: files that the next run would rebuild (see `outputs_of_a_run`).
        headline_levels: the probe levels of the headline rate.
        cards: judge to be tested -> the entry of `plan_card`.
    """
    for words in headline_designs(variants, headline_levels):
        print(f"headline: {words}")
    for variant in variants:
        if variant["variant"] == variant["parent"] and is_retrained(variant, rebuilt):
            print(f"train {variant['parent']}")
    missing = {v["variant"]: missing_answers(v, rebuilt) for v in variants}
    estimated = {
        v["variant"]: count
        for v in variants
        if missing[v["variant"]] is None and (count := expected_answers(v)) is not None
    }
    missing |= estimated
    unknown = [v for v in variants if missing[v["variant"]] is None]
    if estimated:
        print(basis_in_words([v for v in variants if v["variant"] in estimated]))
    for variant in variants:
        about = "about " if variant["variant"] in estimated else ""
        if words := sampling_in_words(variant, missing, rebuilt, about):
            print(f"sample {words}")
    for line in plan_models(variants, missing, sampling):
        print(f"sample {line}")
    if unknown:
        print(f"variants with an unknown number of answers: {len(unknown)}; {preparation(unknown)}")
    elif not any(missing.values()):
        print("sample: nothing is missing")
    sampled = [v for v in variants if count_sampled(v) and not is_retrained(v, rebuilt)]
    shown = {v["dataset"]: read_json(v["card"]) for v in sampled if exists(v["card"])}
    mark = " (estimate)" if estimated else ""
    max_tokens = sampling["max_tokens"]
    for name, entry in judges.items():
        complete = {v["variant"] for v in sampled if is_complete(v["verdicts"].get(name), rebuilt)}
        for line in plan_judge(entry, variants, sampled, missing, shown, max_tokens, complete):
            print(f"judge {name}{mark}: {line}")
    for name, entry in (cards or {}).items():
        for line in plan_card(entry, *most_cases(entry["count"])):
            print(f"judge {name}: its judge card: {line}")


def basis_in_words(variants: list[dict[str, Any]]) -> str:
    """Where the numbers of variants come from whose question tables are not made yet."""
    bases = bases_of_estimate(variants)
    more = f"; and {len(bases) - MOST_BASES} more" if len(bases) > MOST_BASES else ""
    return (
        f"estimate: variants whose question tables are not made yet: {len(variants)}; prompts "
        f"are counted from {'; '.join(bases[:MOST_BASES])}{more}; for exact numbers, "
        f"{preparation(variants)}"
    )


def headline_designs(variants: list[dict[str, Any]], levels: Sequence[str]) -> list[str]:
    """What the headline questions of the variants can show, each design once."""
    designs = {}
    for variant in variants:
        tables = [(path, n) for path, n in variant["questions"].items() if exists(path)]
        if variant["journal"] is None or len(tables) < len(variant["questions"]):
            continue
        sizes = tuple(
            samples
            for path, samples in tables
            for level in read_table(path, "questions")["probe_level"]
            if level in levels
        )
        designs[sizes] = None
    return [design_in_words(sizes) for sizes in designs if sizes]


def is_complete(verdicts: str | None, rebuilt: Collection[str]) -> bool:
    """Whether a table of verdicts is there and a run leaves it as it is."""
    return exists(verdicts) and verdicts not in rebuilt


def preparation(unknown: Sequence[Mapping[str, Any]]) -> str:
    """How to find out what these variants are asked: local rules that need no GPU."""
    rules = {
        "import_responses": any(v["journal"] is None for v in unknown),
        "prepare_questions": any(v["journal"] is not None for v in unknown),
        "prepare_dataset": any(v["dataset"] and v["journal"] is not None for v in unknown),
    }
    named = " ".join(name for name, needed in rules.items() if needed)
    return f"run snakemake --until {named}, then plan again"


def sampling_in_words(
    variant: Mapping[str, Any],
    missing: Mapping[str, int | None],
    rebuilt: Collection[str],
    about: str = "",
) -> str | None:
    """A variant's answers to sample; None for none, or for a number not known yet."""
    count = missing[variant["variant"]]
    if count:
        again = is_retrained(variant, rebuilt) and count_sampled(variant)
        unless = " (none if training gives the same weights as before)" if again else ""
        return f"{variant['variant']}: {about}{count:,} answers{unless}"
    if count == 0 and variant["journal"] and variant["responses"] in rebuilt:
        return (
            f"{variant['variant']}: its job runs again, but asks nothing unless the decoding or "
            "the model changed"
        )
    return None


def outputs_of_a_run(snakefile: str, config: Mapping[str, Any]) -> set[str]:
    """Files that a run with this configuration would make, according to Snakemake's summary.

    Only Snakemake's own records show that a recipe or the decoding changed.

    Raises:
        UserError: Snakemake fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.json"
        write_json(file, dict(config))
        command = [sys.executable, "-m", "snakemake", "--snakefile", snakefile, "--summary"]
        # The run of this script holds the folder's lock; a summary needs none.
        done = subprocess.run(
            [*command, "--nolock", "--cores", "1", "--configfile", str(file)],
            capture_output=True,
            text=True,
        )
    if done.returncode:
        raise UserError(f"snakemake --summary: {done.stderr.strip()[-2000:]}; correct this first")
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    return {row[0] for row in rows if row[-1] == "update pending"}


if "snakemake" in globals():
    job = globals()["snakemake"]

    def plan() -> None:
        """The dry run first: it may fail, and then nothing is printed."""
        rebuilt = outputs_of_a_run(job.params.snakefile, job.params.config)
        main(
            job.params.variants,
            job.params.judges,
            job.params.sampling,
            rebuilt,
            job.params.headline_levels,
            job.params.cards,
        )

    run_script(plan, job.log[0])
