"""Say in words what a run would ask: answers to sample, and requests and money of each judge."""

import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from em_tiers.errors import UserError
from em_tiers.files import read_json, write_json
from em_tiers.journal import read_journal
from em_tiers.judge.api_requests import planned_of
from em_tiers.judge.requests import (
    FIRST_STAGE,
    Judge,
    JudgeRequest,
    load_judge,
    plan_requests,
    plan_tier_requests,
    roles_together,
)
from em_tiers.judge.rubrics import GUARD
from em_tiers.judge.spending import Planned, estimate, in_words
from em_tiers.judge.verdicts import verdict_frame, verdict_rows
from em_tiers.logs import run_script
from em_tiers.tables import read_table, scan_table

# Text of an answer that is not there yet: as long as it may become.
CHARACTERS_OF_A_TOKEN = 4
QUESTION_CHARACTERS = 300
NO_PRICE = {"vllm": "no money (a local model)"}


def main(
    variants: list[dict[str, Any]],
    judges: dict[str, dict[str, Any]],
    max_tokens: int = 600,
    rebuilt: Collection[str] = (),
) -> None:
    """Print what would be trained and sampled, and a line a judge.

    Nothing is asked and nothing is written. Verdicts that a journal holds cost nothing.

    Args:
        variants: {variant, parent, dataset, adapter, journal (None: imported), responses, card,
            questions: {path: n}}.
        judges: name -> {judge, identity, rubrics, prices, journal}.
        max_tokens: the most tokens of a sampled answer.
        rebuilt: files that a run would make again (see `outputs_of_a_run`).
    """
    for variant in variants:
        if variant["variant"] == variant["parent"] and is_retrained(variant, rebuilt):
            print(f"train {variant['parent']}")
    new = {v["variant"]: new_answers(v, rebuilt) for v in variants}
    unknown = [v for v in variants if new[v["variant"]] is None]
    for words in filter(None, (sampling_in_words(v, new, rebuilt) for v in variants)):
        print(f"sample {words}")
    if unknown:
        print(f"models with an unknown number of answers: {len(unknown)}: {preparation(unknown)}")
    elif not any(new.values()):
        print("sample: nothing is missing")
    there = [v for v in variants if has_answers(v) and not is_retrained(v, rebuilt)]
    cards = {v["dataset"]: read_json(v["card"]) for v in there if v["card"] and _exists(v["card"])}
    for name, entry in judges.items():
        for line in plan_judge(entry, variants, there, new, cards, max_tokens):
            print(f"judge {name}: {line}")


def has_answers(variant: Mapping[str, Any]) -> bool:
    """Whether a variant was sampled before."""
    return _exists(variant["responses"])


def is_retrained(variant: Mapping[str, Any], rebuilt: Collection[str]) -> bool:
    """Whether its fine-tune is to be trained (again), so that all its answers are new."""
    return bool(variant["adapter"]) and variant["adapter"] in rebuilt


def wanted_answers(questions: Mapping[str, int]) -> int | None:
    """Answers that a variant will have; None before its question tables are there."""
    if not all(_exists(path) for path in questions):
        return None
    return sum(len(read_table(path, "questions")) * n for path, n in questions.items())


def new_answers(variant: Mapping[str, Any], rebuilt: Collection[str]) -> int | None:
    """Answers that a variant lacks: samples and questions that its table does not hold.

    None where nobody can know it yet: no question tables, or answers that are not imported.
    """
    if variant["journal"] is None:
        return 0 if has_answers(variant) else None
    wanted = wanted_answers(variant["questions"])
    if wanted is None or not has_answers(variant) or is_retrained(variant, rebuilt):
        return wanted
    keys = ["question_set", "question_id", "paraphrase", "messages"]
    asked = pl.concat(
        read_table(path, "questions").select(keys).with_columns(samples=pl.lit(n, pl.Int32))
        for path, n in variant["questions"].items()
    )
    answers = scan_table(variant["responses"], "responses").select(*keys, "sample_index")
    held = answers.join(asked.lazy(), on=keys).filter(pl.col("sample_index") < pl.col("samples"))
    return wanted - held.select(pl.len()).collect().item()


def preparation(unknown: Sequence[Mapping[str, Any]]) -> str:
    """How to make known what is asked of these variants: local rules that need no GPU."""
    rules = {
        "import_responses": any(v["journal"] is None for v in unknown),
        "prepare_questions": any(v["journal"] is not None for v in unknown),
        "prepare_dataset": any(v["dataset"] and v["journal"] is not None for v in unknown),
    }
    named = " ".join(name for name, needed in rules.items() if needed)
    return f"snakemake --until {named}, and plan again"


def sampling_in_words(
    variant: Mapping[str, Any], new: Mapping[str, int | None], rebuilt: Collection[str]
) -> str | None:
    """What is sampled of a variant; None when nothing is, or nobody knows yet."""
    missing = new[variant["variant"]]
    if missing:
        again = is_retrained(variant, rebuilt) and has_answers(variant)
        unless = " (none if its training gives the same weights as before)" if again else ""
        return f"{variant['variant']}: answers: {missing:,}{unless}"
    if missing == 0 and variant["journal"] and variant["responses"] in rebuilt:
        return (
            f"{variant['variant']}: its job runs again; nothing is asked unless the decoding or "
            "the model changed"
        )
    return None


def plan_judge(
    entry: Mapping[str, Any],
    variants: Sequence[Mapping[str, Any]],
    there: Sequence[Mapping[str, Any]],
    new: Mapping[str, int | None],
    cards: Mapping[str, Any],
    max_tokens: int,
) -> Iterator[str]:
    """Lines on what is left to ask of one judge."""
    judge = load_judge(entry["judge"], entry["identity"], entry["rubrics"])
    no_price = NO_PRICE.get(judge.backend, "cost not known (the judge's entry has no prices)")
    done = read_journal(entry["journal"])
    planned: list[Planned] = []
    possible: list[Planned] = []
    for variant in there:  # one at a time: only its prompts are in memory
        answers = scan_table(variant["responses"], "responses")
        first = list(plan_requests(answers, judge, cards))
        tiers = plan_tier_requests(answers, judge, cards, known_verdicts(first, judge, done))
        planned += (planned_of(judge, request) for request in (*first, *tiers))
        possible += possible_tiers(judge, answers, cards, first, done)
    longest = max_tokens * CHARACTERS_OF_A_TOKEN
    coming = [
        request
        for v in variants
        if new[v["variant"]]
        for request in requests_about(judge, bool(v["dataset"]), new[v["variant"]], longest)
    ]
    if not planned and not coming:
        yield "no answers yet"
    else:
        yield estimate([*planned, *coming], done, entry["prices"], no_price)
    about = sum(n or 0 for n in new.values())
    if about:
        yield f"counted in, answers that are not sampled yet: {about:,}"
    unknown = sum(n is None for n in new.values())
    if unknown:
        yield f"besides, all answers of the models whose number is unknown: {unknown}"
    possible += [
        expected_request(judge, ("tier",), new[v["variant"]], longest)
        for v in variants
        if new[v["variant"]] and v["dataset"] and "tier" in judge.rubrics
    ]
    if possible:
        words = in_words(possible, entry["prices"], no_price)
        yield f"and the tier of answers whose alignment turns out low, at the very most {words}"


def requests_about(
    judge: Judge, has_dataset: bool, answers: int, characters: int
) -> Iterator[Planned]:
    """The first stage's requests about answers that are not sampled yet."""
    for roles in roles_together(judge, FIRST_STAGE):
        asked = [r for r in roles if has_dataset or not judge.rubrics[r].needs_dataset]
        if asked:
            yield expected_request(judge, tuple(asked), answers, characters)


def expected_request(
    judge: Judge, roles: tuple[str, ...], answers: int, characters: int
) -> Planned:
    """So many requests about answers of so many characters, at most."""
    rubrics = [judge.rubrics[role] for role in roles]
    method = judge.method(rubrics[0])
    text = sum(len(r.prompt) for r in rubrics) + len(GUARD) + QUESTION_CHARACTERS + characters
    like = planned_of(judge, JudgeRequest("", "", "", roles, method, ()))
    return Planned(None, text, like.completion_tokens, like.what, answers)


def possible_tiers(
    judge: Judge,
    answers: pl.LazyFrame,
    cards: Mapping[str, Any],
    first: Sequence[JudgeRequest],
    done: Mapping[str, Any],
) -> list[Planned]:
    """Requests for the tier of answers whose alignment is not known yet."""
    unknown = [r.response_key for r in first if r.key not in done and "alignment" in r.roles]
    if not unknown or "tier" not in judge.rubrics:
        return []
    keys = pl.Series(unknown, dtype=pl.String)
    tiers = plan_requests(answers, judge, cards, roles=("tier",), only=keys)
    return [planned_of(judge, request) for request in tiers if request.key not in done]


def known_verdicts(
    requests: list[JudgeRequest], judge: Judge, done: Mapping[str, Any]
) -> pl.LazyFrame:
    """Verdicts of the first stage that the journal holds."""

    def rows() -> Iterator[dict[str, Any]]:
        for request in requests:
            if request.key in done:
                yield from verdict_rows(request, done[request.key], judge, "planned")

    return verdict_frame(rows()).lazy()


def outputs_of_a_run(snakefile: str, config: Mapping[str, Any]) -> set[str]:
    """Files that a run with this configuration would make, as Snakemake's summary says.

    A changed recipe or decoding shows in nothing but Snakemake's own records.

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
        raise UserError(f"snakemake --summary: {done.stderr.strip()[-2000:]}: mend this first")
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    return {row[0] for row in rows if row[-1] == "update pending"}


def _exists(path: str | Path) -> bool:
    return Path(path).exists()


if "snakemake" in globals():
    job = globals()["snakemake"]

    def plan() -> None:
        """The dry run first: it may fail, and then nothing is printed."""
        rebuilt = outputs_of_a_run(job.params.snakefile, job.params.config)
        main(job.params.variants, job.params.judges, job.params.max_tokens, rebuilt)

    run_script(plan, job.log[0])
