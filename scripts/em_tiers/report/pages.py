"""Self-contained pages of the report from blocks of text, as HTML and as Markdown.

A block is a pair: ("h2", text), ("p", text), ("warn", text), ("warnings", [text]),
("ul", [text]), ("pre", text), ("answer", text): the answer in one sentence,
("links", [headings]): links to the "h2" blocks of these texts,
("table", (header, rows)), ("data", the same, for many columns, in HTML only) or
("figure", (path of an SVG, caption)). Every text is escaped here.
"""

import base64
import hashlib
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

Block = tuple[str, Any]
LINE = 4000

STYLE_SHEET = """
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #5d636b; --line: #dcdedf; --back: #fff;
  --warn: #fff4d6; --warn-ink: #5c4300; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ea; --soft: #a0a7af; --line: #343a40;
  --back: #17191c; --warn: #3a3012; --warn-ink: #f3dfa2; } }
body { margin: 0 auto; padding: 24px 20px 60px; max-width: 68rem; color: var(--ink);
  background: var(--back); font: 16px/1.5 system-ui, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .6rem; }
h2 { font-size: 1.1rem; margin: 2rem 0 .4rem; }
p, ul { max-width: 46rem; margin: .5rem 0; }
.warn { background: var(--warn); color: var(--warn-ink); padding: .45rem .8rem;
  border-radius: 5px; }
ul.warn { padding-left: 2rem; margin-bottom: 1rem; }
.answer { font-size: 1.12rem; max-width: 58rem; }
.wide { overflow-x: auto; }
.data { overflow: visible; } body:has(.data) { max-width: none; }
.data table { width: max-content; } .data td { max-width: 24rem; }
td:first-child { white-space: nowrap; }
table { border-collapse: collapse; font-size: .84rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; }
thead th { border-bottom: 1px solid var(--ink); vertical-align: bottom; }
td { border-bottom: 1px solid var(--line); }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: .85rem; padding: .6rem .8rem;
  border: 1px solid var(--line); border-radius: 5px; }
figure { margin: 1rem 0; } figure img { width: 100%; background: #fff; padding: 8px;
  border-radius: 4px; box-sizing: border-box; }
td small { color: var(--soft); }
figcaption { color: var(--soft); font-size: .88rem; max-width: 46rem; }
@media print { body { max-width: none; } }
"""


def html_page(title: str, blocks: Iterable[Block]) -> str:
    """One HTML file that loads and runs nothing: its policy allows only its own style."""
    digest = base64.b64encode(hashlib.sha256(STYLE_SHEET.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'"
    body = "\n".join(_html_block(kind, content) for kind, content in blocks)
    body = "\n".join(_short_lines(body))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE_SHEET}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def _short_lines(body: str) -> Iterator[str]:
    """Lines short enough for docutils, broken at spaces: a list of many models is long."""
    for line in body.split("\n"):
        if len(line) <= LINE:
            yield line
        else:
            yield from textwrap.wrap(
                line, LINE, break_long_words=False, break_on_hyphens=False, expand_tabs=False
            )


def _html_block(kind: str, content: Any) -> str:
    if kind in ("table", "data"):
        return _html_table(kind, *content)
    if kind == "figure":
        path, caption = content
        data = base64.b64encode(Path(path).read_bytes()).decode()
        # Line ends inside an address are ignored; docutils refuses lines of 10,000 characters.
        data = "\n".join(data[i : i + LINE] for i in range(0, len(data), LINE))
        # As an image an SVG can neither run a script nor load anything.
        return (
            f'<figure><img alt="{escape(caption)}" src="data:image/svg+xml;base64,{data}">'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
        )
    if kind in ("ul", "warnings"):
        opening = "<ul>" if kind == "ul" else '<ul class="warn">'
        return opening + "".join(f"<li>{escape(item)}</li>" for item in content) + "</ul>"
    if kind == "links":
        listed = (f'<a href="#{_anchor(text)}">{escape(text)}</a>' for text in content)
        return f"<p>{' · '.join(listed)}</p>"
    if kind == "h2":
        return f'<h2 id="{_anchor(content)}">{escape(content)}</h2>'
    if kind == "answer":
        return f'<p class="answer">{escape(content)}</p>'
    if kind == "warn":
        return f'<p class="warn">{escape(content)}</p>'
    return f"<{kind}>{escape(content)}</{kind}>"


def _anchor(heading: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", heading.casefold()).strip("-")


def _html_table(kind: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{_html_cell(value)}</td>" for value in row) + "</tr>\n"
        for row in rows
    )
    table = f"<table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>"
    return f'<div class="wide {kind}">{table}</div>'


def _html_cell(value: Any) -> str:
    """A cell's text; its first line is the number, further ones are smaller."""
    first, *more = _page_cell(value).split("\n")
    return escape(first) + "".join(f"<br><small>{escape(line)}</small>" for line in more)


def markdown_page(title: str, blocks: Iterable[Block]) -> str:
    """The same as Markdown; a figure is replaced by its caption."""
    parts = [f"# {_escape_markdown(title)}", *(_markdown_block(*block) for block in blocks)]
    return "\n\n".join(parts) + "\n"


def _markdown_block(kind: str, content: Any) -> str:
    if kind == "h2":
        return f"## {_escape_markdown(content)}"
    if kind in ("ul", "warnings"):
        return "\n".join(f"- {_escape_markdown(item)}" for item in content)
    if kind == "pre":
        # A fence longer than any in the text cannot be closed by it.
        longest = max((len(run) for run in re.findall("`+", content)), default=0)
        fence = "`" * max(3, longest + 1)
        return f"{fence}text\n{content}\n{fence}"
    if kind == "table":
        header, rows = content
        lines = [header, ["---"] * len(header), *rows]
        return "\n".join(
            f"| {' | '.join(_escape_markdown(_page_cell(c)) for c in line)} |" for line in lines
        )
    if kind == "links":
        return ", ".join(map(_escape_markdown, content))
    if kind == "figure":
        return f"*Figure: {_escape_markdown(content[1])}*"
    return f"**{_escape_markdown(content)}**" if kind == "warn" else _escape_markdown(content)


def _escape_markdown(text: str) -> str:
    """Text without Markdown's meaning, on one line."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))


def _page_cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
