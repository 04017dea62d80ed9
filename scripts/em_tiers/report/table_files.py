"""One table in five formats: Parquet and CSV in full; Markdown, LaTeX and HTML for people.

Rule outputs are named `parquet`, `csv`, `md`, `tex`, `html`; a rule with several tables puts the
table's name before: `rates_csv`.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import polars as pl

from em_tiers.files import atomic_path, write_text
from em_tiers.report.pages import html_page
from em_tiers.visible_text import REPLACEMENT, UNSEEN, visible

SHOWN_ROWS = 200
DIGITS = 4
_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    # At the start of a row these would be taken for arguments of the line end before it.
    "[": "{[}",
    "*": "{*}",
}


def write_tables(
    frames: Mapping[str, pl.DataFrame],
    outputs: Mapping[str, str | Path],
    shown: Mapping[str, pl.DataFrame] | None = None,
) -> None:
    """Write each table to the outputs that bear its name (or to all, if there is one table).

    `shown` holds tables as people see them (see `write_all`), where they differ from `frames`.
    """
    for name, frame in frames.items():
        own = {
            key.rpartition("_")[2]: path
            for key, path in outputs.items()
            if key.rpartition("_")[0] in ({name, ""} if len(frames) == 1 else {name})
        }
        write_all(frame, own, (shown or {}).get(name))


def write_all(
    frame: pl.DataFrame,
    outputs: Mapping[str, str | Path],
    shown: pl.DataFrame | None = None,
) -> None:
    """Write `frame` to the paths of `outputs`, by format; each file appears whole or not at all.

    Markdown, LaTeX and the page hold `shown` (default: `frame`), at most 200 rows, numbers at
    four significant digits.
    """
    shown = frame if shown is None else shown
    for kind, path in outputs.items():
        if kind == "parquet":
            with atomic_path(path) as temporary:
                frame.write_parquet(temporary, compression="zstd")
        elif kind == "csv":
            with atomic_path(path) as temporary:
                formula_safe(frame).write_csv(temporary)
        elif kind == "md":
            write_text(path, markdown(shown))
        elif kind == "tex":
            write_text(path, latex(shown))
        elif kind == "html":
            write_text(path, table_page(Path(path).stem.replace("_", " "), shown))
        else:
            raise ValueError(f"table format {kind!r}: write parquet, csv, md, tex or html")


def formula_safe(frame: pl.DataFrame) -> pl.DataFrame:
    """Put an apostrophe before text that a spreadsheet would run as a formula; make it visible."""
    text = pl.col(pl.String).str.replace_all(UNSEEN, REPLACEMENT)
    return frame.with_columns(
        pl.when(text.str.contains(r"^[=+\-@\t\r]")).then("'" + text).otherwise(text).name.keep()
    )


def markdown(frame: pl.DataFrame) -> str:
    """A GitHub table; text is escaped, because labels and reasons come from outside."""
    lines = [
        "| " + " | ".join(_markdown_text(name) for name in frame.columns) + " |",
        "|" + "|".join(" ---: " if t.is_numeric() else " --- " for t in frame.dtypes) + "|",
    ]
    lines += ["| " + " | ".join(row) + " |" for row in _escaped_rows(frame, _markdown_text)]
    return "\n".join(lines + _cut_note(frame, "\n")) + "\n"


def latex(frame: pl.DataFrame) -> str:
    """A booktabs tabular, to be put into a table environment."""
    columns = "".join("r" if t.is_numeric() else "l" for t in frame.dtypes)
    lines = [
        f"\\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(_latex_text(name) for name in frame.columns) + r" \\",
        r"\midrule",
        *(" & ".join(row) + r" \\" for row in _escaped_rows(frame, _latex_text)),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines + _cut_note(frame, "% ")) + "\n"


def table_page(title: str, frame: pl.DataFrame) -> str:
    """An HTML page of the table, for the report; columns without any value are left out."""
    frame = frame.select(s.name for s in frame if s.null_count() < len(s) or not len(s))
    header = [name.replace("_", " ") for name in frame.columns]
    rows = [[_format_value(value) for value in row] for row in frame.head(SHOWN_ROWS).rows()]
    return html_page(title, [("data", (header, rows)), *(("p", t) for t in _cut_note(frame, ""))])


def _escaped_rows(frame: pl.DataFrame, escape: Callable[[str], str]) -> list[list[str]]:
    return [
        [escape(_format_value(value)) for value in row] for row in frame.head(SHOWN_ROWS).rows()
    ]


def _cut_note(frame: pl.DataFrame, before: str) -> list[str]:
    if len(frame) <= SHOWN_ROWS:
        return []
    return [f"{before}The first {SHOWN_ROWS} of {len(frame):,} rows; the CSV file holds all."]


def _format_value(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.{DIGITS}g}"
    return visible(str(value))


def _markdown_text(text: str) -> str:
    text = " ".join(text.split())
    return re.sub(r"([\\`*|<>\[\]])", r"\\\1", text)


def _latex_text(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))
