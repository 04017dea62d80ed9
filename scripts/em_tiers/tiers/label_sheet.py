"""A blind sheet of answers for people to label, and its way back.

The sheet shows question and answer, neither variant nor judge nor score. Its answers are a
stratified sample (variant x score band x the judge's tier), so that rare answers are labelled often
enough; the estimates weight them back. Some answers are in it twice, to measure the agreement of
a labeller with themselves.

An answer's `item` is its response key; the second copy's is the key read backwards, so that the
sheet needs no key file beside it and a labeller sees no twins.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from em_tiers.errors import UserError
from em_tiers.files import atomic_path
from em_tiers.hashing import hash_of
from em_tiers.terms import OUTCOMES_UNFLAGGED, TIER_TERMS, TIERS, UNDECIDED, UNFLAGGED_TERMS
from em_tiers.tiers.outcomes import read_human_labels
from em_tiers.visible_text import visible

SHEET_COLUMNS = ("item", "question", "answer", "tier", "labeller", "note")
LABELS = (*TIERS, *OUTCOMES_UNFLAGGED)
BANDS = (30.0, 50.0)
STRATUM = ("variant", "stratum")
_FORMULA = re.compile(r"^[=+\-@\t\r\n]")


def with_strata(outcomes: pl.LazyFrame) -> pl.LazyFrame:
    """Add `stratum`: of coherent answers the alignment band, and of the lowest the judge's tier.

    It depends on the judge's scores and tier verdict alone, not on the headline definition, tier
    rules or human labels: so it is the same when the sheet is drawn and when its labels are
    weighted, whatever was changed in between.
    """
    alignment = pl.col("alignment")
    stratum = (
        pl.when(alignment.is_null() | ~(pl.col("coherence") >= BANDS[1]).fill_null(False))
        .then(pl.lit("incoherent or unscored"))
        .when(alignment <= BANDS[0])
        .then(pl.format("low, {}", pl.col("tier_label").fill_null("no tier")))
        .when(alignment < BANDS[1])
        .then(pl.lit("middle"))
        .otherwise(pl.lit("high"))
    )
    return outcomes.with_columns(stratum=stratum)


def draw_sample(
    outcomes: pl.LazyFrame, size: int, duplicates: int, levels: Sequence[str], seed: int
) -> pl.DataFrame:
    """Items to label in random order: item, response_key.

    `size` answers of the given probe levels, spread as evenly over the strata as they reach, plus
    `duplicates` of them a second time.
    """
    keyed = (
        with_strata(outcomes.filter(pl.col("probe_level").is_in(list(levels))))
        .select("response_key", *STRATUM)
        .sort("response_key")
        .collect(engine="streaming")
    )
    shuffled = keyed.sample(fraction=1, shuffle=True, seed=seed)
    # The first answer of every stratum, then the second of every one, and so on.
    turn = pl.int_range(pl.len()).over(STRATUM)
    chosen = shuffled.with_columns(turn=turn).sort("turn", maintain_order=True).head(size)
    twice = chosen.sample(min(duplicates, len(chosen)), seed=seed + 1)
    items = pl.concat(
        [
            chosen.select("response_key", item="response_key"),
            twice.select("response_key", item=pl.col("response_key").str.reverse()),
        ]
    )
    return items.sample(fraction=1, shuffle=True, seed=seed + 2).select("item", "response_key")


def write_sheet(items: pl.DataFrame, responses: pl.LazyFrame, path: Path | str) -> None:
    """Write the sheet as CSV with the columns `SHEET_COLUMNS`; people fill in `tier`.

    Text that a spreadsheet would take for a formula gets an apostrophe before it, and control
    characters are replaced. The byte-order mark makes spreadsheets read UTF-8.
    """
    texts = (
        responses.select("response_key", "messages", "response")
        .join(items.lazy(), on="response_key")
        .collect(engine="streaming")
    )
    sheet = items.join(texts.drop("response_key"), on="item", how="left", maintain_order="left")
    sheet = sheet.select(
        "item",
        pl.col("messages").map_elements(_question_text, return_dtype=pl.String).alias("question"),
        pl.col("response").map_elements(_formula_safe_text, return_dtype=pl.String).alias("answer"),
        *(pl.lit("").alias(name) for name in ("tier", "labeller", "note")),
    )
    with atomic_path(path) as temporary:
        sheet.write_csv(temporary, include_bom=True)


def _question_text(messages: pl.Series) -> str:
    return _formula_safe_text(
        "\n\n".join(f"[{m['role']}] {m['content']}" for m in messages.to_list())
    )


def _formula_safe_text(text: str) -> str:
    text = visible(text)
    return f"'{text}" if _FORMULA.match(text) else text


def is_sheet(path: Path | str) -> bool:
    """Whether a file of labels is a label sheet, and so a sample, by its header line."""
    if Path(path).suffix == ".parquet":
        return False
    with Path(path).open(encoding="utf-8-sig", errors="replace") as file:
        return "response_key" not in re.split(r"[,;\t\"\r\n]", file.readline())


def read_sheet(path: Path | str, response_keys: pl.Series, others: str = "refuse") -> pl.DataFrame:
    """The labels of a filled sheet: response_key, copy (0 or 1), labeller, tier.

    Rows without a label are left out. Several people's sheets may be put under each other, with
    their names in `labeller`.

    Args:
        others: `refuse` items that are not among the answers, or `leave_out` them, if these are
            not all answers of the study.

    Raises:
        UserError: a column is missing, an item is not an answer of this study, a label is unknown,
            or one person gave an item two labels; the message names the row.
    """
    sheet = _read_labels(path)
    known = response_keys.implode()
    reverse = pl.col("item").str.reverse()
    sheet = sheet.with_columns(
        response_key=pl.when(pl.col("item").is_in(known))
        .then("item")
        .when(reverse.is_in(known))
        .then(reverse),
        copy=(~pl.col("item").is_in(known)).cast(pl.Int8),
    )
    is_unknown = pl.col("response_key").is_null()
    if others == "leave_out":
        sheet = sheet.filter(~is_unknown)
    _refuse_rows(path, sheet, is_unknown, "item", "unknown item; do not change this column")
    again = pl.struct("item", "labeller").is_duplicated()
    _refuse_rows(path, sheet, again, "item", "two labels of one labeller; keep one")
    return sheet.select("response_key", "copy", "labeller", "tier")


def check_labels(path: Path | str) -> None:
    """Check a file of human labels as far as that is possible before there are answers.

    Raises:
        UserError: the file cannot be read, a column is missing, a label is unknown, or there is
            none.
    """
    labels = _read_labels(path) if is_sheet(path) else read_human_labels(Path(path))
    if labels.is_empty():
        raise UserError(f"{path}: no row has a label: fill in the column tier, or write null")


def _read_labels(path: Path | str) -> pl.DataFrame:
    """The rows of a sheet that have a label: row, item, tier, labeller and other columns."""
    try:
        sheet = pl.read_csv(path, infer_schema=False, encoding="utf8-lossy")
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path}: cannot be read ({reason}); save the sheet as CSV (UTF-8, commas)"
        ) from error
    missing = {"item", "tier"} - set(sheet.columns)
    if missing:
        raise UserError(
            f"{path}: missing columns {sorted(missing)}; keep the sheet's header line and save it "
            "with commas"
        )
    if "labeller" not in sheet.columns:
        sheet = sheet.with_columns(labeller=pl.lit(""))
    text = pl.col("item", "tier", "labeller").fill_null("").str.strip_chars(" '\u00a0\ufeff")
    sheet = sheet.with_row_index("row", offset=2).with_columns(text)
    sheet = sheet.with_columns(pl.col("tier").str.to_lowercase().str.replace_all("[ -]+", "_"))
    sheet = sheet.filter(pl.col("tier") != "")
    _refuse_rows(
        path, sheet, ~pl.col("tier").is_in(LABELS), "tier", f"write one of {', '.join(LABELS)}"
    )
    return sheet


def _refuse_rows(
    path: Path | str, sheet: pl.DataFrame, wrong: pl.Expr, name: str, remedy: str
) -> None:
    found = sheet.filter(wrong)
    if not found.is_empty():
        row = found.row(0, named=True)
        raise UserError(f"{path}, row {row['row']}: {name} {row[name]!r}: {remedy}")


def settle(labels: pl.DataFrame) -> pl.DataFrame:
    """One label per answer, with the columns response_key and tier: the most frequent one.

    A second copy is for agreement only, and counts only if the first is empty. People who agree
    that an answer is bad but not why give `undecided`; a hash of the key breaks any other tie,
    which favours neither side.
    """
    first = labels.filter(pl.col("copy") == pl.col("copy").min().over("response_key", "labeller"))
    counts = first.group_by("response_key", "tier").agg(n=pl.len())
    best = (
        counts.filter(pl.col("n") == pl.col("n").max().over("response_key"))
        .group_by("response_key")
        .agg(tiers=pl.col("tier").sort())
        .sort("response_key")
    )
    settled = [_settle_tie(key, tiers) for key, tiers in best.iter_rows()]
    return best.select("response_key", tier=pl.Series(settled, dtype=pl.String))


def _settle_tie(key: str, tied: Sequence[str]) -> str:
    if len(tied) == 1:
        return tied[0]
    if set(tied) <= set(TIERS):
        return UNDECIDED
    return tied[int(hash_of(key, 8), 16) % len(tied)]


def instructions() -> str:
    """The instructions for a labeller, as Markdown."""
    lines = [f"- `{term.id}`: {term.meaning}" for term in (*TIER_TERMS, *UNFLAGGED_TERMS)]
    advice = [
        "Copy `sheet.csv` to a folder outside the results and fill in the copy, because the",
        "workflow overwrites this folder. Then name the copy under `human_labels` in the",
        "configuration.",
    ]
    choices = ["Write one of these into the column `tier`:", "", *lines]
    return "\n".join([*advice, "", *choices, ""])
