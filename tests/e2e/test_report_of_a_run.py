"""The report at the end of each run: complete, offline, with the answer first."""

import re
import zipfile
from html import unescape
from pathlib import Path

import pytest

import build_report
from em_tiers.errors import UserError
from workdir import Workdir

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    work = Workdir(tmp_path_factory.mktemp("report"), "import_only", Path("/nowhere"))
    # Settings from the command line must reach the report too.
    work.run("--config", "title=From the command line")
    return work


def test_a_run_ends_with_its_report(run):
    with zipfile.ZipFile(run.results / "report.zip") as report:
        names = report.namelist()
        text = report.read("report/report.html").decode()
    kinds = {Path(name).name for name in names}
    assert {"overview.html", "rates.svg", "rates.html", "rates.csv", "method.html"} <= kinds
    described = re.search(r"var workflow_desc = (.*);\n", text).group(1)
    assert described.index("Content warning") < described.index("srcdoc")
    assert "From the command line" in unescape(described)


def test_the_report_loads_nothing_from_outside(run):
    outside = re.compile(rb"""(?:src|href)\s*=\s*["']?(?:https?:)?//|@import|url\(["']?https?:""")
    with zipfile.ZipFile(run.results / "report.zip") as report:
        pages = [n for n in report.namelist() if n.endswith((".html", ".svg"))]
        own = [n for n in pages if not n.endswith("report.html")]
        assert own and not [n for n in own if outside.search(report.read(n))]
        # Snakemake's own page loads no element; its libraries' comments contain addresses.
        page = report.read("report/report.html")
    assert not re.search(rb"<(?:script|link|img)[^>]+(?:src|href)=[\"']?(?:https?:)?//", page)


def test_a_missing_report_is_built_alone(run):
    assert not run.run("-n", "--config", "title=From the command line").jobs
    (run.results / "report.zip").unlink()
    jobs = run.run("-n", "--config", "title=From the command line").jobs
    assert set(jobs) == {"build_report", "all"}


def test_a_report_that_cannot_be_built_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"report r\.zip: Snakemake says:"):
        build_report.main(Path("r.zip"), ["nothing"], {"experiment": "UPPER CASE"})
    assert not list(tmp_path.glob("*.zip*"))
