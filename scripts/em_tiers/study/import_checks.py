"""Checks of imports: base models, columns that must differ, scales and training seeds."""

from typing import Any

from em_tiers.errors import ConfigError, require_known
from em_tiers.prepare.score_columns import score_columns
from em_tiers.study.study import Study


def check_import(study: Study, entry: dict[str, Any]) -> None:
    """Check one import's base model, columns, scales and training seed.

    Raises:
        ConfigError: the base is the import itself, not a base model or judged by no common judge,
            two meanings are in one column, or a scale or a seed cannot be what is written.
    """
    where = f"config.imports.{entry['id']}"
    _check_twin(study, entry, where)
    if entry["base"]:
        _check_base(study, entry, f"{where}.base")
    # A question and an answer in one column are a conversation.
    names = {key: name for key, name in entry["columns"].items() if key != "answer"}
    _check_different(names, f"{where}.columns")
    if entry["columns"]["answer"] != entry["columns"]["question"]:
        _check_different(entry["columns"], f"{where}.columns")
    for judge, columns in entry["scores"].items():
        _check_scores(entry, columns, f"{where}.scores.{judge}")
    seed = entry["training_seed"]
    if seed is not None and not entry["id"].endswith(f"-s{seed}"):
        raise ConfigError(
            f"{where}.id: {entry['id']!r} does not end in '-s{seed}', its training seed: imports "
            f"whose ids differ in the seed alone are pooled; write id: {entry['id']}-s{seed}"
        )


def _check_twin(study: Study, entry: dict[str, Any], where: str) -> None:
    """Refuse a training seed with the answers of another one: pooled, they would count twice."""
    if entry["training_seed"] is None:
        return
    names = ("path", "where", "columns", "scores")
    for other in study.config["imports"]:
        if other is entry:
            return
        if other["training_seed"] is not None and all(other[n] == entry[n] for n in names):
            raise ConfigError(
                f"{where}: reads the same answers and scores as {other['id']!r}: correct path or "
                "where, or remove one of the two"
            )


def _check_base(study: Study, entry: dict[str, Any], where: str) -> None:
    base = entry["base"]
    if base not in study.imports:
        _check_sampled_base(study, entry, where)
        return
    if base == entry["id"]:
        raise ConfigError(
            f"{where}: {base!r} is this import itself: name the import of its base model, or null"
        )
    if study.imports[base]["base"]:
        raise ConfigError(
            f"{where}: {base!r} has a base of its own, {study.imports[base]['base']!r}, and so is "
            "not a base model: name that one"
        )
    if study.imports[base]["role"] not in ("base", "imported"):
        raise ConfigError(
            f"{where}: {base!r} has the role {study.imports[base]['role']}: write role: base "
            "there, or name another import"
        )
    if not study.config["judges"] and not entry["scores"].keys() & study.imports[base]["scores"]:
        raise ConfigError(
            f"{where}: {base!r} has no judge in common with this import, so they cannot be "
            "compared: give both the scores of one judge, add a judge, or remove base"
        )


def _check_sampled_base(study: Study, entry: dict[str, Any], where: str) -> None:
    """Check a base that is not imported: it must be a base model that this study samples."""
    base = entry["base"]
    sampled = list(dict.fromkeys(block["base"] for block in study.config["variants"]))
    require_known(base, [*study.imports, *sampled], where, "import or sampled base model")
    if not study.config["judges"]:
        raise ConfigError(
            f"{where}: {base!r} is sampled here, and no judge scores its answers: add a judge to "
            "config.judges, or remove base"
        )


def _check_scores(entry: dict[str, Any], columns: dict[str, Any], where: str) -> None:
    named = {
        f"{asks}.{number}" if number else asks: column
        for asks, listed in score_columns(columns).items()
        for number, column in enumerate(listed)
    }
    _check_different(named, where)
    for meaning, other in (("alignment", "coher"), ("coherence", "align")):
        column = named.get(meaning, "").rpartition(".")[2].lower()
        if other in column and meaning[:5] not in column:
            raise ConfigError(
                f"{where}.{meaning}: column {named[meaning]!r} seems to hold another score: name "
                "the right column, or rename this one"
            )
    texts = {entry["columns"]["question"], entry["columns"]["answer"]}
    for meaning, column in named.items():
        if column in texts:
            raise ConfigError(
                f"{where}.{meaning}: {column!r} is the column of the question or the answer: name "
                "the column with the scores"
            )
    _check_labels(columns, where)
    stated = columns.get("scale")
    for asks, scale in stated.items() if isinstance(stated, dict) else [(None, stated)]:
        if scale and scale[0] >= scale[1]:
            key = f"{where}.scale" if asks is None else f"{where}.scale.{asks}"
            raise ConfigError(
                f"{key}: {scale} does not rise: write [LOWEST, HIGHEST], and harmful: high where "
                "high scores are the harmful ones"
            )


def _check_labels(columns: dict[str, Any], where: str) -> None:
    """Refuse labels of a column that is not named, and a scale for one of labels."""
    for asks in columns.get("labels", {}):
        if not columns.get(asks):
            raise ConfigError(
                f"{where}.labels.{asks}: {asks} has no column: write {asks}: COLUMN, or "
                f"remove these labels"
            )
        stated = columns.get("scale")
        scale = stated.get(asks) if isinstance(stated, dict) else stated
        if scale or (asks == "alignment" and columns.get("harmful")):
            key = "scale" if scale else "harmful"
            raise ConfigError(
                f"{where}.{key}: {asks} has labels, which say what each stands for: remove {key}, "
                "or state it for the other columns only"
            )


def _check_different(columns: dict[str, str], where: str) -> None:
    names = list(columns.values())
    for meaning, column in columns.items():
        if names.count(column) > 1:
            other = next(m for m in columns if columns[m] == column and m != meaning)
            raise ConfigError(
                f"{where}: {meaning} and {other} are both in column {column!r}: name the right "
                "column of each"
            )
