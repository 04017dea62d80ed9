"""How many prompts a question table will hold, before it is made: for an estimate of a run."""

from pathlib import Path
from typing import NamedTuple

from em_tiers.download.manifests import MANIFEST, files_of
from em_tiers.errors import UserError
from em_tiers.prepare.prompt_format import MOST_QUESTIONS
from em_tiers.prepare.questions import Question, near_to, probe_level_of, read_questions
from em_tiers.study.asked import PROBE_TABLES, near_topics, plain_set
from em_tiers.study.study import Study


class Expected(NamedTuple):
    """A number of prompts, and its source."""

    prompts: int
    basis: str


def expected_prompts(study: Study, table: str) -> Expected | None:
    """The prompts of a question table, as far as known without it; None for nothing.

    Args:
        table: as `asked.question_tables` names it.
    """
    path = Path(table)
    folder, stem = path.parts[-2], path.stem
    if stem == PROBE_TABLES["in-domain"]:
        held_out = study.datasets[folder]["held_out"]
        return Expected(held_out, f"held_out of {folder}: {held_out}")
    if stem == PROBE_TABLES["trigger"]:
        return _triggers(study, folder)
    name, near, owner = stem.partition(".of.")
    return _of_set(study, name, near + owner)


def _of_set(study: Study, name: str, owner: str) -> Expected | None:
    entry = study.question_sets[name]
    if questions := _questions(study, name):
        topics = near_topics(study, owner)
        asked = questions if topics is None else near_to(questions, topics)
        prompts = sum(len(question.paraphrases) for question in asked)
        return Expected(prompts, f"the file of {_in_words(name, owner)}: {prompts}")
    if entry["prompts"] is None:
        return None
    return Expected(entry["prompts"], f"prompts of {name} in the catalogue: {entry['prompts']}")


def _triggers(study: Study, dataset: str) -> Expected | None:
    """At most: a data set whose prompts have no format of their own gets none."""
    name = plain_set(study)
    level = study.question_sets[name]["probe_level"]
    if questions := _questions(study, name):
        plain = [q for q in questions if probe_level_of(q, level) == "out_of_domain"]
        prompts = min(MOST_QUESTIONS, len(plain))
    else:
        prompts = MOST_QUESTIONS
    return Expected(prompts, f"trigger questions of {dataset}: at most {prompts}")


def _in_words(name: str, owner: str) -> str:
    return f"{name} for {owner.removeprefix('.of.')}" if owner else name


def _questions(study: Study, name: str) -> list[Question] | None:
    """The questions of a file that is on this machine; None for one that is not, or not usable."""
    source = study.question_sets[name]["source"]
    if source["type"] == "path":
        path = study.workdir / study.find_file(source["path"])
    else:
        folder = study.workdir / "results" / "resources" / "questions" / name
        if not (folder / MANIFEST).is_file():
            return None
        path = next(iter(files_of(folder)), folder)
    try:
        return read_questions(path) if path.is_file() else None
    except UserError:
        return None  # the run names the problem
