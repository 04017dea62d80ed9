"""How fast the sample browser opens with as many answers as it takes, in a headless Chromium.

    PYTHONPATH=scripts python tests/benchmarks/bench_browser.py [ANSWERS]

Two judges, no verdict texts. Time runs from the address to the first answer's text on the page.
"""

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import build_browser
from browser_tables import VARIANTS, large_study

OPENINGS = 5
GOAL_S = 2.0
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,900")
SHOWN = """
const row = document.querySelector(".row[aria-selected=true]");
return Boolean(document.body.dataset.ready) && row !== null
    && row.dataset.key === document.getElementById("detail").dataset.key;
"""


def open_page(browser: webdriver.Chrome, page: Path) -> float:
    """Seconds until the page shows its first answer."""
    browser.get("about:blank")
    begin = time.monotonic()
    browser.get((page / "index.html").as_uri())
    while not browser.execute_script(SHOWN):
        time.sleep(0.01)
    return time.monotonic() - begin


def main(count: int = build_browser.MOST_ANSWERS) -> None:
    """Build a page and open it some times."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page"
        begin = time.monotonic()
        tables = large_study(Path(folder) / "tables", count)
        build_browser.main(**tables, variants=VARIANTS, folder=page)
        built = time.monotonic() - begin
        size = sum(file.stat().st_size for file in page.rglob("*") if file.is_file())
        for flag in (*FLAGS, f"--user-data-dir={folder}/profile"):
            options.add_argument(flag)
        service = Service(shutil.which("chromedriver"))
        with webdriver.Chrome(options=options, service=service) as browser:
            found = [open_page(browser, page) for _ in range(OPENINGS)]
    print(
        f"{count:,} answers: made in {built:.1f} s, {size / count:.0f} bytes each with their text"
    )
    print(f"opened in {', '.join(f'{seconds:.2f}' for seconds in found)} s")
    seconds = statistics.median(found)
    print(f"median {seconds:.2f} s, goal {GOAL_S} s: {'met' if seconds <= GOAL_S else 'missed'}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
