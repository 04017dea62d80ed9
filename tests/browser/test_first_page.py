"""The first page as the report embeds it: the links to its cards stay within the frame."""

import re
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
from jinja2 import Template
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from browser_page import until
from build_overview import card_blocks
from em_tiers.report.pages import html_page
from em_tiers.statistics.judge_card import CARD_COLUMNS

pytestmark = pytest.mark.browser
CAPTION = Path(__file__).parents[2] / "config" / "captions" / "workflow.rst"


@pytest.fixture
def framed(tmp_path: Path) -> Path:
    """The judge card below much text, embedded by the template of the report."""
    row = ("a", "flag_sensitivity", None, 0.3, 0.1, 0.6, 10, "at least 80.0 %", "missed")
    card = pl.DataFrame([row], schema=CARD_COLUMNS, orient="row")
    blocks = [("links", ["Judge card"]), *[("p", f"Line {i}.") for i in range(200)]]
    page = tmp_path / "overview.html"
    page.write_text(html_page("A study", [*blocks, *card_blocks(card, None)]))
    shown = Template(CAPTION.read_text()).render(files=[SimpleNamespace(path=page)])
    [frame] = re.findall(r"<iframe.*?</iframe>", shown, re.DOTALL)
    (tmp_path / "report.html").write_text(f"<!doctype html>{frame}")
    return tmp_path / "report.html"


def test_a_link_to_a_card_scrolls_within_the_frame(framed: Path, chromium: Chrome) -> None:
    chromium.get(framed.as_uri())
    chromium.switch_to.frame(chromium.find_element(By.TAG_NAME, "iframe"))
    assert chromium.execute_script("return scrollY") == 0
    chromium.find_element(By.LINK_TEXT, "Judge card").click()
    until(chromium, "return scrollY > 1000")
    assert "flag sensitivity" in chromium.find_element(By.TAG_NAME, "body").text
    chromium.switch_to.default_content()
    chromium.get((framed.parent / "overview.html").as_uri())  # and on the page by itself
    chromium.find_element(By.LINK_TEXT, "Judge card").click()
    until(chromium, "return scrollY > 1000")
