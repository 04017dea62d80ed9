"""Snakemake's report runs no text of the study: titles, labels and captions stay text."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from selenium.webdriver import Chrome

import build_report
from browser_page import until

pytestmark = pytest.mark.browser

LABEL = "</script><script>window.canary = 1</script><img src=x onerror='window.canary = 2'>"
SNAKEFILE = f"""
report: "title.rst"

rule made:
    output:
        report("made.txt", caption="caption.rst", category="Tables", labels={{"name": {LABEL!r}}}),
    shell:
        "echo made > {{output}}"
"""
CAPTION = f"""\
.. raw:: html

   <img src=x onerror="window.canary = 3"><svg onload="window.canary = 4"></svg>
   {LABEL}
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile-report")
    (folder / "Snakefile").write_text(SNAKEFILE)
    for name in ("title.rst", "caption.rst"):
        (folder / name).write_text(CAPTION)
    subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", "--quiet", "all"],
        cwd=folder,
        check=True,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        build_report.main(Path("report.zip"), ["made.txt"], {}, folder / "Snakefile")
    with zipfile.ZipFile(folder / "report.zip") as packed:
        packed.extractall(folder)
    return folder / "report" / "report.html"


def test_hostile_texts_do_not_run_and_the_page_works(page: Path, chromium: Chrome) -> None:
    chromium.get("about:blank")
    chromium.get_log("browser")
    chromium.get(page.as_uri())
    until(chromium, "return document.body.innerText.includes('Statistics')")
    # The handlers are there, and the policy keeps them from running.
    assert chromium.execute_script("return document.querySelectorAll('[onerror]').length")
    log = [entry["message"] for entry in chromium.get_log("browser")]
    assert sum("inline event handler violates" in message for message in log) >= 3
    assert chromium.execute_script("return window.canary === undefined")
