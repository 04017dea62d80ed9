"""Probe levels: at which level anything is asked, as far as that is known before the downloads."""

from em_tiers.errors import ConfigError
from em_tiers.prepare.questions import probe_level_of, read_questions
from em_tiers.study.asked import is_near
from em_tiers.study.study import Study
from em_tiers.terms import PROBE_LEVELS

# The level of the probes of data sets; see terms.DATASET_PROBES.
_OF_PROBES = {"in-domain": "in_domain", "trigger": "trigger"}


def check_levels(study: Study) -> None:
    """Check that something is asked at each level of the headline.

    Raises:
        ConfigError: nothing is asked at one of them, so its share of the headline would be empty.
    """
    with_rows = any(map(study.has_rows, study.datasets_used))
    if study.config["variants"] and not with_rows:
        for name in _OF_PROBES:
            if name in study.config["questions"]:
                raise ConfigError(
                    f"config.questions.{name}: no block of variants has datasets, or a dataset "
                    "with rows, so it has no rows to be made from: remove it"
                )
    asked = levels_asked(study)
    if missing := [level for level in study.config["headline"]["levels"] if level not in asked]:
        known = [level for level in PROBE_LEVELS if level in asked]
        raise ConfigError(
            f"config.headline.levels: no question is on the level {missing[0]}: use "
            f"{', '.join(known)}, or add questions of that level to config.questions"
        )


def levels_asked(study: Study) -> set[str]:
    """Levels of the study's questions; all that are possible for a file that is yet to come."""
    levels: set[str] = set()
    if study.config["variants"]:
        probes = _OF_PROBES.items() if any(map(study.has_rows, study.datasets_used)) else ()
        levels |= {level for name, level in probes if name in study.config["questions"]}
        for name in study.question_sets_used:
            # Near questions are those near the topics of data sets.
            if study.datasets_used or not is_near(study, name):
                levels |= _levels_of_set(study, name)
    for entry in study.config["imports"]:
        levels |= {entry["probe_level"], *entry["probe_levels"].values()}
        if "probe_level" in entry["columns"]:
            levels |= set(PROBE_LEVELS)
    return levels


def _levels_of_set(study: Study, name: str) -> set[str]:
    entry = study.question_sets[name]
    path = study.workdir / study.find_file(entry["source"].get("path", ""))
    if entry["source"]["type"] != "path" or not path.is_file():
        return set(PROBE_LEVELS)
    questions = read_questions(path)
    return {probe_level_of(question, entry["probe_level"]) for question in questions}
