"""Snakemake's report page made safe: its data cannot end a script, and only its own scripts run.

Snakemake writes JSON into script elements as it is, so `</script>` in a text that it shows would
end one, and the rest of the text would be markup of the page.
"""

import base64
import hashlib
import json
import re
import zipfile
from pathlib import Path

from em_tiers.errors import UserError

_DATA = re.compile(r'<script id="[a-z-]+">\s*var \w+ = ')
_SCRIPT = re.compile(r"<script\b[^>]*>(.*?)</script", re.S | re.I)
_HEAD = '<meta charset="utf-8">'


def secure_report(built: Path, target: Path) -> None:
    """Copy Snakemake's report, a zip, with a safe page.

    Raises:
        UserError: the page is not as this version of Snakemake writes it.
    """
    with zipfile.ZipFile(built) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            if info.filename.endswith("/report.html"):
                content = secure_page(content.decode()).encode()
            new.writestr(info, content, zipfile.ZIP_DEFLATED)


def secure_page(page: str) -> str:
    """The page with `<` escaped in its data, and a policy that allows the scripts that it has.

    The policy names each script by its hash, so handlers in markup and scripts that are added later
    do not run. Vega, which draws the statistics, compiles its expressions.

    Raises:
        UserError: the page has no data, or no place for a policy.
    """
    page = _escape_data(page)
    if _HEAD not in page:
        raise UserError("report: Snakemake's page has another head: use the locked version")
    hashes = " ".join(sorted({f"'sha256-{_hash(code)}'" for code in _SCRIPT.findall(page)}))
    policy = f"script-src {hashes} 'unsafe-eval'; object-src 'none'; base-uri 'none'"
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    return page.replace(_HEAD, f"{_HEAD}\n    {meta}", 1)


def _escape_data(page: str) -> str:
    parts, end = [], 0
    for found in _DATA.finditer(page):
        if found.start() < end or not page.startswith(("{", "[", '"'), found.end()):
            continue
        try:
            _, after = json.JSONDecoder().raw_decode(page, found.end())
        except ValueError:
            continue  # a constructor call, or a script that only looks like data
        parts += [page[end : found.end()], page[found.end() : after].replace("<", "\\u003c")]
        end = after
    if not parts:
        raise UserError("report: Snakemake's page has no data: use the locked version")
    return "".join([*parts, page[end:]])


def _hash(code: str) -> str:
    """The hash by which a policy names a script; browsers normalise line ends first."""
    normal = code.replace("\r\n", "\n").replace("\r", "\n")
    return base64.b64encode(hashlib.sha256(normal.encode()).digest()).decode()
