"""The first rows of an import, and whether its base model is asked the same questions."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from em_tiers.errors import UserError
from em_tiers.prepare.column_paths import read_columns
from em_tiers.prepare.import_rows import fits
from em_tiers.prepare.imported_row import read_row
from em_tiers.prepare.question_texts import check_shared, compared, conversation
from em_tiers.prepare.questions import read_questions, text_of
from em_tiers.prepare.row_fields import BadRow
from em_tiers.study.study import Study

_FIRST_ROWS = 200
_LARGEST = 20_000_000  # bytes of a file that is read through: about a second


def check_first_rows(entry: dict[str, Any], path: Path) -> None:
    """Check that the first rows of a file hold at least one question with its answer.

    Raises:
        UserError: none does, and why.
    """
    reasons = []
    for found in islice(_conversations(entry, path), _FIRST_ROWS):
        if isinstance(found, str):
            return
        reasons += [str(found)] if found else []
    if reasons:
        raise UserError(
            f"columns: none of the first {len(reasons)} rows has a question in "
            f"{entry['columns']['question']!r} and an answer in {entry['columns']['answer']!r} "
            f"({reasons[0]}): correct columns, or the file"
        )


def check_base_questions(study: Study, entry: dict[str, Any], path: Path) -> None:
    """Check that an import shares a question with its sampled base model, where files can tell.

    Question sets that are downloaded, and probes of data sets, are known to the import's job only.

    Raises:
        UserError: no question is shared.
    """
    base = entry["base"]
    if not base or base in study.imports or path.stat().st_size > _LARGEST:
        return
    files = [_file_of(study, name) for name in study.config["questions"]]
    if not all(files):
        return
    asked = {
        compared(text_of(form)) for f in files for q in read_questions(f) for form in q.paraphrases
    }
    alone: dict[str, str] = {}
    for text in _conversations(entry, path):
        if isinstance(text, str):
            if compared(text) in asked:
                return
            alone[compared(text)] = text
    check_shared(base, alone.values(), len(alone))


def _conversations(entry: dict[str, Any], path: Path) -> Iterator[str | BadRow | None]:
    """The question of each row, or why it cannot be used; None where `where` leaves it out."""
    columns, where = entry["columns"], entry["where"]
    for raw in read_columns(path, {columns["question"], columns["answer"], *where}):
        try:
            if raw.problem:
                raise BadRow(raw.problem)
            own = fits(raw.data, where)
            yield conversation(read_row(raw.data, columns).messages) if own else None
        except BadRow as error:
            yield error


def _file_of(study: Study, question_set: str) -> Path | None:
    """A question set's file that is on this machine."""
    if question_set not in study.question_sets:
        return None
    source = study.question_sets[question_set]["source"]
    path = study.workdir / study.find_file(source.get("path", ""))
    return path if source["type"] == "path" and path.is_file() else None
