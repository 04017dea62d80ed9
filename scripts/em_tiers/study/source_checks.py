"""Sources of the entries in use, and the content of those that are files on this machine.

The code that prepares question files and data sets also reads them here, so that a mistake in a
local file stops the run before anything is written.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from em_tiers.download.model_files import check_model_folder, choose_model_files
from em_tiers.errors import ConfigError, UserError
from em_tiers.files import sha256_of_file
from em_tiers.prepare.column_paths import check_path, columns_until
from em_tiers.prepare.questions import check_topics, check_twins, read_questions
from em_tiers.prepare.raw_rows import (
    check_columns,
    is_cheap_to_open,
    read_rows,
)
from em_tiers.prepare.row_formats import row_reader
from em_tiers.prepare.score_columns import score_columns
from em_tiers.study.imported_questions import check_base_questions, check_first_rows
from em_tiers.study.judges import published_sets
from em_tiers.study.study import Study, is_there
from em_tiers.study.variants import dataset_of, tested_models

_LARGEST_HASHED = 100_000_000  # bytes: a second
_FIRST_ROWS = 20


def sources_in_use(study: Study) -> list[tuple[str, str, dict]]:
    """(catalogue, id, source) of everything that the configuration uses."""
    models = tested_models(study.config)
    models |= {
        study.judges[name]["model"]
        for name in study.asked_judges
        if study.judges[name]["backend"] == "vllm"
    }
    datasets = {name for block in study.config["variants"] for name in block["datasets"]}
    datasets |= {n for b in study.config["variants"] if (n := dataset_of(b)) and study.has_rows(n)}
    if study.asked_judges:  # judges are shown the data set of an import
        own = (dataset_of(entry) for entry in study.config["imports"])
        datasets |= {name for name in own if name and study.has_rows(name)}
    datasets = {part for name in datasets for part in study.parts_of(name)}
    used = [("models", m, study.models[m]) for m in sorted(models) if study.models[m]["source"]]
    used += [("datasets", d, study.datasets[d]) for d in sorted(datasets)]
    sets = dict.fromkeys(study.question_sets_used)
    for judge in study.asked_judges:
        sets |= dict.fromkeys(published_sets(study, judge))
    used += [("question_sets", q, study.question_sets[q]) for q in sets]
    return [(catalogue, name, entry["source"]) for catalogue, name, entry in used]


def check_sources(study: Study) -> None:
    """Check the type of each source in use, and the content of local files.

    Raises:
        ConfigError: a type that cannot be downloaded for its catalogue, a missing file, or a
            question file or data set that cannot be used.
    """
    sets = {}
    for catalogue, name, source in sources_in_use(study):
        where = f"{catalogue}.{name}"
        if source["type"] == "package" and catalogue != "models":
            raise ConfigError(
                f"{where}.source.type: 'package' is for models only: use hub, url or path"
            )
        if source["type"] == "url" and catalogue == "models" and "files" not in source:
            raise ConfigError(
                f"{where}.source.url: {source['url']!r} is one file, but a model is several files: "
                "write files: {NAME: SHA-256}, with url as their common beginning"
            )
        if source["type"] == "path":
            path = check_file(study, source["path"], f"{where}.source.path", folder=True)
            _check_content(study, catalogue, name, path)
            if catalogue == "question_sets" and path.is_file():
                sets[f"question_sets.{name}"] = read_questions(path)
        if catalogue == "models" and (template := study.models[name]["chat_template"]):
            file = check_file(study, template, f"{where}.chat_template")
            _check_template(file, f"{where}.chat_template")
    with _named("questions"):
        check_twins(sets)


def check_imported_file(study: Study, entry: dict) -> None:
    """Check that a file of answers has the columns that its entry names.

    Raises:
        ConfigError: the file is missing or cannot be read, or a column is not in it.
    """
    where = f"config.imports.{entry['id']}"
    path = check_file(study, entry["path"], f"{where}.path")
    scores = (c for e in entry["scores"].values() for cs in score_columns(e).values() for c in cs)
    needed = list(dict.fromkeys([*entry["columns"].values(), *scores]))
    for column in needed:
        with _named(where):
            check_path(column, "columns")
    with _named(where):
        if not is_cheap_to_open(path):
            return
        found = columns_until(path, needed)
        if missing := [column for column in needed if found and column not in found]:
            raise ConfigError(
                f"columns: {entry['path']} has no column {missing[0]!r}, only "
                f"{', '.join(map(repr, found))}: correct columns and scores"
            )
        check_first_rows(entry, path)
        check_base_questions(study, entry, path)


def check_imported_hash(study: Study, entry: dict) -> None:
    """Check the SHA-256 of imported answers, unless their file is large.

    Raises:
        ConfigError: it is another one.
    """
    path = study.workdir / study.find_file(entry["path"])
    if not entry["sha256"] or path.stat().st_size > _LARGEST_HASHED:
        return
    if (seen := sha256_of_file(path)) != entry["sha256"]:
        raise ConfigError(
            f"config.imports.{entry['id']}.sha256: {entry['path']} has the SHA-256 {seen}: use "
            "the right file, or write this hash"
        )


def check_file(study: Study, path: str, where: str, folder: bool = False) -> Path:
    """The place of a file that the configuration names.

    Args:
        where: the key that names it.
        folder: whether it may also be a folder.

    Raises:
        ConfigError: it does not exist.
    """
    found = study.workdir / study.find_file(path)
    if not is_there(found, folder):
        kind = "file or folder" if folder else "file"
        raise ConfigError(
            f"{where}: no such {kind} {path!r}: correct the path, or put the {kind} there"
        )
    return found


def _check_content(study: Study, catalogue: str, name: str, path: Path) -> None:
    """Check a file or a model; other folders are checked by their download."""
    if catalogue == "models" and path.is_dir():
        with _named(f"models.{name}"):
            names = sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file())
            check_model_folder(path, choose_model_files(names))
    if not path.is_file():
        return
    with _named(f"{catalogue}.{name}"):
        if catalogue == "question_sets":
            check_topics(read_questions(path), study.question_sets[name]["topics"])
        elif catalogue == "datasets" and is_cheap_to_open(path):
            entry = study.datasets[name]
            _check_first_rows(path)
            _, needed = row_reader(entry["format"], entry["columns"], entry["cot"], entry["ignore"])
            check_columns([path], columns_until(path, needed), needed, entry["format"])


def _check_first_rows(path: Path) -> None:
    rows = list(islice(read_rows(path), _FIRST_ROWS))
    if rows and all(row.problem for row in rows):
        raise ConfigError(
            f"{path.name}: row {rows[0].number} is {rows[0].problem}, and so are the next: correct "
            "the file, or its ending"
        )


def _check_template(file: Path, where: str) -> None:
    """Check that a chat template is one, as far as that is possible without its tokenizer."""
    from jinja2 import Environment, TemplateSyntaxError

    try:
        text = file.read_text(encoding="utf-8")
        # Tags of transformers' own, such as generation, are unknown here.
        known = Environment(extensions=["jinja2.ext.loopcontrols"])
        if "messages" not in text:
            raise ConfigError(f"{where}: {file} does not use messages: name a chat template")
        known.parse(text)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{where}: {file} cannot be read ({error}): name a text file") from None
    except TemplateSyntaxError as error:
        if "unknown tag" not in str(error):
            raise ConfigError(
                f"{where}: {file}, line {error.lineno}: not a Jinja template ({error.message}): "
                "correct it"
            ) from None


@contextmanager
def _named(where: str) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise ConfigError(f"{where}: {error}") from error
    except OSError as error:
        raise ConfigError(
            f"{where}: {error.filename} cannot be read ({error.strerror}): name a file that you "
            "may read"
        ) from error
