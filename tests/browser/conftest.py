"""A headless Chromium that opens pages from disk.

Where there is none the tests skip with the reason; in CI they fail.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from browser_page import until
from waiting import PATIENCE


@pytest.fixture(scope="session")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="session")
def chromium(
    downloads: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[webdriver.Chrome]:
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not program or not driver:
        stop = pytest.fail if os.environ.get("CI") else pytest.skip
        stop("no Chromium: run tests/browser/install.sh")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (
        "--headless=new",
        "--no-sandbox",  # Chromium refuses to run as root otherwise
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--enable-precise-memory-info",
        "--window-size=1280,900",
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(driver))
    browser.set_page_load_timeout(PATIENCE)
    browser.set_script_timeout(PATIENCE)
    browser.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)}
    )
    yield browser
    browser.quit()


@pytest.fixture
def visit(chromium: webdriver.Chrome) -> Iterator[Callable[..., webdriver.Chrome]]:
    """Open a page's folder from disk, wait until its list is there; forget its labels after."""

    def open_page(folder: Path, address: str = "") -> webdriver.Chrome:
        chromium.get("about:blank")
        chromium.get_log("browser")  # what earlier tests left in it
        chromium.get((folder / "index.html").as_uri() + address)
        until(chromium, "return document.body.dataset.ready")
        return chromium

    yield open_page
    chromium.execute_script("localStorage.clear()")
