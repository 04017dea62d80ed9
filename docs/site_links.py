"""MkDocs hook: pages outside docs/ join the site, and links that leave it become plain text.

Markdown links are relative to the file, so that they work in a checkout and on a code host. In the
site, a link to a page of the site is rewritten, and a link to any other file keeps its text only.
"""

import posixpath
import re

from mkdocs.structure.files import File

PAGES = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "config/README.md",
    "envs/README.md",
    "slurm/README.md",
    "tests/benchmarks/interval_coverage.md",
    "tests/benchmarks/side_by_side.md",
)
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")


def on_files(files, config):
    """Add the pages that are not below docs/, under their own paths."""
    root = posixpath.dirname(config.config_file_path)
    for page in PAGES:
        files.append(File.generated(config, page, abs_src_path=posixpath.join(root, page)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Rewrite the links of a page."""
    source = page.file.src_uri
    folder = posixpath.dirname(source if source in PAGES else f"docs/{source}")

    def rewritten(match):
        text, target = match.groups()
        path, mark, anchor = target.partition("#")
        if "://" in target or not path:
            return match[0]
        uri = posixpath.normpath(posixpath.join(folder, path)).removeprefix("docs/")
        if files.get_file_from_path(uri) is None:
            return text
        here = posixpath.dirname(source) or "."
        return f"[{text}]({posixpath.relpath(uri, here)}{mark}{anchor})"

    return LINK.sub(rewritten, markdown)
