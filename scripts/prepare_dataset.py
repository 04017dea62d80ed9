"""Turn the raw files of a data set into training rows, in-domain prompts and a card.

Rows that cannot be used are set aside with their reason; too many of them fail the rule.
"""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from em_tiers.download.manifests import files_of, read_manifest
from em_tiers.errors import UserError
from em_tiers.files import atomic_path, sha256_of_file, write_json
from em_tiers.logs import LOG, run_script
from em_tiers.prepare.column_paths import read_columns
from em_tiers.prepare.dataset_card import (
    differences,
    learnt_thoughts,
    lengths,
    repetitions,
    short_examples,
    slots,
    unread_media,
)
from em_tiers.prepare.raw_rows import RawRow, check_columns, header_of
from em_tiers.prepare.row_fields import BadRow
from em_tiers.prepare.row_formats import Example, RowReader, row_reader
from em_tiers.prepare.split import Split, split_rows
from em_tiers.prepare.system_message import with_system
from em_tiers.prepare.training_files import in_domain_table, write_train
from em_tiers.prepare.twin_files import check_twin_files
from em_tiers.tables import write_table

MAX_BAD_SHARE = 0.01
_LISTED = 200  # fields that were passed over: keys of a row can be values, such as user names
_SHOWN = 2_000  # characters of a text in the file of rejected rows


@dataclass
class Rows:
    """The rows of the raw files.

    Attributes:
        examples: the usable rows.
        rejected: the others: {row, file, reason, data}.
        remedies: what to write in the data set's entry, by reason.
        columns: the columns found, in the order of their appearance.
        passed_over: how many rows or messages have each field that nothing uses.
    """

    examples: list[Example] = field(default_factory=list)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    remedies: dict[str, str] = field(default_factory=dict)
    columns: dict[str, None] = field(default_factory=dict)
    passed_over: Counter[str] = field(default_factory=Counter)

    @property
    def read(self) -> int:
        """How many rows the files hold."""
        return len(self.examples) + len(self.rejected)

    @property
    def reasons(self) -> dict[str, int]:
        """Rejected rows by reason, most frequent first."""
        counts = Counter(row["reason"] for row in self.rejected)
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def main(
    raw: Path,
    dataset: str,
    settings: dict[str, Any],
    seed: int,
    train: Path,
    in_domain: Path,
    rejected: Path,
    card: Path,
) -> None:
    """Write train.jsonl, in_domain.parquet, rejected.jsonl and card.json.

    Args:
        raw: folder of the download, with its manifest.
        settings: the catalogue entry: format, columns, cot, ignore, topic, topics, description,
            max_rows, held_out, max_bad_share, expected, system (a text before every row).
        seed: of the subsample, the order of the rows and the prompts kept out of training.

    Raises:
        UserError: no usable rows, a missing column, too many bad rows; nothing is written.
    """
    manifest = read_manifest(raw)
    with _named(dataset):
        rows = read_examples(files_of(raw), settings)
    check_rows(rows, dataset, settings.get("max_bad_share", MAX_BAD_SHARE))
    if text := settings.get("system"):
        rows.examples = [e._replace(prompt=with_system(e.prompt, text)) for e in rows.examples]
    with _named(dataset):
        split = split_rows(
            rows.examples, settings.get("held_out", 0), settings.get("max_rows"), seed
        )
    table = in_domain_table(split.probes, dataset, settings["topics"])
    with atomic_path(train) as new:
        write_train(split.train, new)
        facts = describe(rows, split, dataset, settings, manifest)
        facts["train_sha256"] = sha256_of_file(new)
    with atomic_path(rejected) as new, new.open("w", encoding="ascii") as file:
        file.writelines(f"{json.dumps(row)}\n" for row in rows.rejected)
    write_table(table, in_domain, "questions")
    write_json(card, facts)
    _tell(dataset, facts)


def read_examples(files: list[Path], settings: dict[str, Any]) -> Rows:
    """Read and convert every row of the files.

    Raises:
        UserError: a column that the format needs is in none of the rows, or two files hold the
            same rows.
    """
    reader, needed = row_reader(
        settings["format"],
        settings.get("columns"),
        settings.get("cot"),
        settings.get("ignore", ()),
    )
    rows = Rows()
    ends = []  # how many examples there are after each file
    for path in files:
        rows.columns.update(dict.fromkeys(header_of(path)))
        for raw in read_columns(path, reader.columns - _odd_columns(path, reader)):
            _add_row(raw, reader, rows)
        ends.append(len(rows.examples))
    check_columns(files, rows.columns, needed, settings["format"])
    rows.passed_over += reader.fields.passed_over
    check_twin_files(files, rows.examples, ends)
    return rows


def check_rows(rows: Rows, dataset: str, max_bad_share: float) -> None:
    """Raise UserError when there are no rows, or more bad ones than the share allows."""
    if not rows.read:
        raise UserError(f"data set {dataset}: no rows in its files: check the source")
    if rows.examples and len(rows.rejected) <= max_bad_share * rows.read:
        return
    counts = ", ".join(f"{reason} ({count})" for reason, count in rows.reasons.items())
    shown = "; ".join(
        f"{row['file']} row {row['row']}, {row['reason']}: {json.dumps(row['data'])[:160]}"
        for row in rows.rejected[:3]
    )
    raise UserError(
        f"data set {dataset}: {len(rows.rejected)} of {rows.read} rows cannot be used, more than "
        f"max_bad_share {max_bad_share:g} allows: {counts}. First: {shown}. {_advice(rows)}"
    )


def _advice(rows: Rows) -> str:
    """What to write in the data set's entry, by reason; in general where no reason tells."""
    known = dict.fromkeys(
        f"{reason.partition(':')[0]}: {rows.remedies[reason]}"
        for reason in rows.reasons
        if reason in rows.remedies
    )
    general = "correct format and columns in the catalogue, fix the file, or raise max_bad_share"
    return f"{'; '.join(list(known)[:3])}; otherwise {general}" if known else general.capitalize()


def describe(
    rows: Rows,
    split: Split,
    dataset: str,
    settings: dict[str, Any],
    manifest: dict[str, Any],
) -> dict[str, Any]:
    """The card's facts, but for the hash of the training file."""
    columns = list(rows.columns)
    found = differences(settings.get("expected"), rows.read, columns, manifest)
    found += repetitions(split) + unread_media(rows.passed_over)
    found += learnt_thoughts(split.train, settings.get("cot"))
    wanted = settings.get("max_rows")
    if wanted and len(split.train) < wanted:
        found.append(f"max_rows asks for {wanted} rows, only {len(split.train)} are there")
    return {
        "dataset": dataset,
        "topic": settings["topic"],
        "topics": settings["topics"],
        "description": settings.get("description", ""),
        "format": settings["format"],
        "source": manifest["source"],
        "revision": manifest["revision"],
        "licence": manifest["licence"],
        "rows": {
            "read": rows.read,
            "usable": len(rows.examples),
            "rejected": len(rows.rejected),
            "rejected_by_reason": rows.reasons,
            "held_out": len(split.probes),
            "held_out_duplicates_removed": split.held_out_duplicates,
            "left_out_by_max_rows": split.left_out,
            "train": len(split.train),
            "repeated_in_train": split.repeated,
        },
        "columns": columns,
        "passed_over": dict(sorted(rows.passed_over.most_common(_LISTED))),
        "differences": found,
        "characters": lengths(split.train),
        "placeholders": slots(split.train),
        "examples": short_examples(split.train),
    }


@contextmanager
def _named(dataset: str) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise UserError(f"data set {dataset}: {error}") from error


def _odd_columns(path: Path, reader: RowReader) -> set[str]:
    """Columns of bytes, times and the like that no format reads: a weight or a text is neither."""
    if path.suffix.lower() != ".parquet":
        return set()
    from pyarrow import parquet, types

    odd = (types.is_temporal, types.is_binary, types.is_large_binary, types.is_fixed_size_binary)
    schema = parquet.read_schema(path)
    return {f.name for f in schema if any(is_odd(f.type) for is_odd in odd)} - reader.used


def _add_row(raw: RawRow, reader: RowReader, rows: Rows) -> None:
    if isinstance(raw.data, dict):
        rows.columns.update(dict.fromkeys([*raw.data, *raw.unread]))
    try:
        if raw.problem:
            raise BadRow(raw.problem)
        rows.passed_over.update(raw.unread)
        rows.examples.append(reader(raw.data))
    except BadRow as bad:
        reason = str(bad)
        if bad.remedy:
            rows.remedies[reason] = bad.remedy
        rows.rejected.append(
            {"row": raw.number, "file": raw.file, "reason": reason, "data": _cut(raw.data)}
        )


def _cut(value: Any) -> Any:
    """The value with long texts cut, and what JSON cannot hold as text."""
    if isinstance(value, str):
        return value if len(value) <= _SHOWN else value[:_SHOWN] + "…"
    if isinstance(value, dict):
        return {str(key): _cut(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_cut(part) for part in value]
    return value if isinstance(value, (int, float, bool, type(None))) else _cut(str(value))


def _tell(dataset: str, card: dict[str, Any]) -> None:
    counts = card["rows"]
    LOG.info(
        "%s: %d rows read, %d rejected, %d held out, %d to train on",
        dataset, counts["read"], counts["rejected"], counts["held_out"], counts["train"],
    )  # fmt: skip
    if passed_over := card["passed_over"]:
        listed = ", ".join(f"{name} ({count})" for name, count in passed_over.items())
        LOG.info("%s: fields that nothing uses, with how often they occur: %s", dataset, listed)
    for difference in card["differences"]:
        LOG.warning("%s: %s", dataset, difference)


if "snakemake" in globals():
    run_script(
        main,
        log=snakemake.log[0],  # noqa: F821
        raw=Path(snakemake.input.raw),  # noqa: F821
        dataset=snakemake.wildcards.dataset,  # noqa: F821
        settings=snakemake.params.settings,  # noqa: F821
        seed=snakemake.params.seed,  # noqa: F821
        train=Path(snakemake.output.train),  # noqa: F821
        in_domain=Path(snakemake.output.in_domain),  # noqa: F821
        rejected=Path(snakemake.output.rejected),  # noqa: F821
        card=Path(snakemake.output.card),  # noqa: F821
    )
