"""Render every training row and question with a model's template, and stop before any GPU job."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from em_tiers.errors import UserError
from em_tiers.files import atomic_path, read_json
from em_tiers.inference.chat import load_tokenizer
from em_tiers.inference.prompt_lengths import (
    COLUMNS,
    Lengths,
    context_problems,
    model_columns,
)
from em_tiers.inference.sampling import read_question_tables
from em_tiers.inference.template_checks import check_template, measure_prompt
from em_tiers.judge.prompt_checks import measure_judge, spelling_problems
from em_tiers.judge.settings import load_judge
from em_tiers.lean_imports import leave_out
from em_tiers.logs import LOG, run_script
from em_tiers.train.encoded_rows import read_training_rows
from em_tiers.train.row_checks import measure_rows, module_problems, training_problems

SHOWN = 5  # problems in the message; the log has all

Found = tuple[list[dict[str, Any]], list[str]]  # rows of the table, problems in one line each


def main(
    model: Path,
    train: Mapping[str, Path],
    trainings: list[dict[str, Any]],
    questions: list[Path],
    asked: list[Path],
    judges: list[dict[str, Any]],
    cards: Mapping[str, Path],
    room: int,
    new_tokens: int,
    thinking: str,
    thinking_marks: str | Mapping[str, str] | None,
    table: Path,
    chat_template: Path | None = None,
) -> None:
    """Write the table of lengths of everything that a model is trained on, asked or judges.

    Args:
        model: the model's folder; its name is the model's catalogue id.
        train: data set -> its training rows.
        trainings: {dataset, name, recipe, checkpoints} of each data set and recipe.
        questions: QUESTIONS tables that the model is asked; none for a model that only judges.
        asked: QUESTIONS tables whose answers it judges.
        judges: {name, entry, identity, rubrics, room} of each judge that is this model; room is
            the engine's max_model_len in tokens.
        cards: data set -> its card, for rubrics about a data set.
        room, new_tokens: max_model_len of sampling, and the tokens that an answer may have.
        thinking, thinking_marks, chat_template: as in the model's catalogue entry.

    Raises:
        UserError: a job of the model would fail, or cut more than the limits allow.
    """
    tokenizer = load_tokenizer(model, chat_template)
    try:
        facts = check_template(tokenizer, model, thinking, thinking_marks)
    except UserError as error:
        raise UserError(f"models.{model.name}: {error}") from error
    found = [
        ([], context_problems(model, {"sampling": room} if questions else {})),
        ([], context_problems(model, {f"judges.{j['name']}": j["room"] for j in judges})),
        *check_rows(tokenizer, model, train, trainings, thinking),
        *check_questions(tokenizer, questions, room, new_tokens, thinking),
        *check_judges(tokenizer, judges, asked, cards, thinking),
    ]
    rows = [model_columns(model.name, thinking, facts) | row for part, _ in found for row in part]
    problems = list(dict.fromkeys(problem for _, part in found for problem in part))
    for row in rows:
        LOG.info("%s", describe(row))
    for problem in problems:
        LOG.warning("%s", problem)
    if problems:
        more = len(problems) - SHOWN
        raise UserError(
            f"model {model.name}: "
            + "; ".join(problems[:SHOWN])
            + (f"; {more} more are in the log" if more > 0 else "")
        )
    with atomic_path(table) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def check_rows(
    tokenizer: Any,
    model: Path,
    train: Mapping[str, Path],
    trainings: list[dict[str, Any]],
    thinking: str,
) -> Iterator[Found]:
    """Training rows with each recipe; a data set is rendered once."""
    for recipe in {t["name"]: t for t in trainings}.values():
        yield [], module_problems(model, recipe["name"], recipe["recipe"])
    for dataset, path in train.items():
        lengths = measure_rows(tokenizer, read_training_rows(path), thinking, dataset)
        yield [], lengths.refusal(f"datasets.{dataset}: row")
        for training in (t for t in trainings if t["dataset"] == dataset):
            name, limit = training["name"], training["recipe"]["max_length"]
            row = lengths.row("training", f"{dataset} with {name}", limit)
            yield [row], [f"{dataset}: {p}" for p in training_problems(lengths, training)]


def check_questions(
    tokenizer: Any, paths: list[Path], room: int, new_tokens: int, thinking: str
) -> Iterator[Found]:
    """Questions, one set at a time, with room for an answer."""
    for name, questions in _sets(paths).items():
        lengths = Lengths.of(measure_prompt(tokenizer, q, thinking) for q in questions)
        problems = lengths.refusal(f"questions {name}: prompt")
        if lengths.longest + new_tokens > room:
            problems.append(
                f"questions {name}: {lengths.longest} prompt tokens and {new_tokens} new tokens "
                "(sampling.max_tokens, and reasoning_tokens of a model that thinks) do not fit in "
                f"the engine's max_model_len {room}: raise max_model_len, or lower them"
            )
        yield [lengths.row("sampling", name, room - new_tokens)], problems


def check_judges(
    tokenizer: Any,
    judges: list[dict[str, Any]],
    paths: list[Path],
    cards: Mapping[str, Path],
    thinking: str,
) -> Iterator[Found]:
    """Prompts of each judge's rubrics about an empty answer to each question."""
    questions = [messages for found in _sets(paths).values() for messages in found]
    contexts = {dataset: read_json(path) for dataset, path in cards.items()}
    for settings in judges:
        name, room = settings["name"], settings["room"]
        judge = load_judge(
            settings["entry"], settings["identity"], settings["rubrics"], f"judges.{name}"
        )
        yield [], spelling_problems(tokenizer, judge, name, thinking)
        for role in judge.rubrics:
            lengths = measure_judge(tokenizer, judge, role, questions, contexts, thinking)
            problems = lengths.refusal(f"judges.{name}, rubric {role}: prompt")
            if lengths.longest >= room:
                problems.append(
                    f"judges.{name}: rubric {role}: a prompt without the answer has "
                    f"{lengths.longest} tokens, but the engine's max_model_len is {room}: raise it"
                )
            yield [lengths.row("judging", f"{name}, {role}", room)], problems


def describe(row: Mapping[str, Any]) -> str:
    """A row of the table in words, for the log."""
    refused = f", {row['refused']} refused ({row['reasons']})" if row["refused"] else ""
    return (
        f"{row['use']}: {row['name']}: {row['conversations']} conversations of "
        f"{row['median_tokens']} to {row['longest_tokens']} tokens (median to longest), "
        f"{row['over_limit']} over the limit of {row['limit']}{refused}"
    )


def _sets(paths: list[Path]) -> dict[str, list[list[dict[str, str]]]]:
    """Conversations by the question set that they belong to."""
    found: dict[str, list[list[dict[str, str]]]] = {}
    table = read_question_tables(paths) if paths else None
    for row in table.iter_rows(named=True) if table is not None else ():
        found.setdefault(row["question_set"], []).append(row["messages"])
    return found


if "snakemake" in globals():
    leave_out("torch", "sklearn")
    job = globals()["snakemake"]
    params = job.params
    run_script(
        main,
        job.log[0],
        model=Path(job.input.model),
        train={t["dataset"]: Path(job.input.train[n]) for n, t in enumerate(params.trainings)},
        trainings=params.trainings,
        questions=[Path(path) for path in job.input.get("questions", [])],
        asked=[Path(path) for path in job.input.get("asked", [])],
        judges=params.judges,
        cards=dict(zip(params.carded, map(Path, job.input.get("cards", [])), strict=True)),
        room=params.sampled.get("room", 0),
        new_tokens=params.sampled.get("new_tokens", 0),
        thinking=params.thinking,
        thinking_marks=params.thinking_marks,
        table=Path(job.output.table),
        chat_template=Path(job.input.chat_template) if job.input.get("chat_template") else None,
    )
