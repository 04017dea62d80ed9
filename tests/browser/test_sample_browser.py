"""The sample browser in a real Chromium: load, filter, search, open, label, export."""

import csv
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

import build_browser
from browser_page import until
from browser_tables import VARIANTS, large_study, small_study
from em_tiers.tiers.outcomes import read_human_labels
from waiting import wait_until

pytestmark = pytest.mark.browser
Visit = Callable[..., Chrome]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    tables = small_study(folder / "tables")
    build_browser.main(**tables, variants=VARIANTS, folder=folder / "page", title="Small study")
    return folder / "page"


def key(number: int) -> str:
    return f"{number:032x}"


def keys_in_list(browser: Chrome) -> list[int]:
    """Numbers of the answers in the list, from the top."""
    rows = browser.execute_script(
        "return [...document.querySelectorAll('.row')]"
        ".sort((a, b) => parseInt(a.style.top) - parseInt(b.style.top))"
        ".map((row) => row.dataset.key)"
    )
    return [int(row, 16) for row in rows]


def status(browser: Chrome) -> str:
    return browser.find_element(By.ID, "status").text


def press(browser: Chrome, *keys: str) -> None:
    browser.switch_to.active_element.send_keys(*keys)


def press_when_shown(browser: Chrome, *keys: str) -> None:
    """Press keys one by one, each once the selected answer is shown: one loading takes no label."""
    shown = (
        "return document.querySelector('.row[aria-selected=true]').dataset.key"
        " === document.getElementById('detail').dataset.key"
    )
    for pressed in keys:
        until(browser, shown)
        press(browser, pressed)
    until(browser, shown)


def errors(browser: Chrome) -> list[str]:
    return [e["message"] for e in browser.get_log("browser") if e["level"] == "SEVERE"]


def test_flagged_answers_come_first(page: Path, visit: Visit) -> None:
    browser = visit(page)
    assert browser.title == "Small study"
    assert status(browser) == "12 answers"
    assert keys_in_list(browser)[:3] == [0, 4, 8]
    assert "Content warning" in browser.find_element(By.TAG_NAME, "header").text
    assert errors(browser) == []


@pytest.mark.parametrize(
    ("control", "choice", "expected"),
    [
        ("variant", "Fiction, seed 0", {1, 3, 5, 7, 9, 11}),
        ("level", "near domain", {1, 3, 5, 7, 9, 11}),
        ("outcome", "persona shift (tier 3)", {0, 4, 8}),
        ("outcome", "domain overfitting (tier 2)", {0}),
        ("dispute", "some flag it, some do not", {4, 8}),
        ("dispute", "flag it, in different tiers", {0}),
        ("dispute", "alignment 30 or more apart", {4, 8}),
        ("labelled", "labelled", set()),
    ],
)
def test_filters(page: Path, visit: Visit, control: str, choice: str, expected: set) -> None:
    browser = visit(page)
    Select(browser.find_element(By.ID, control)).select_by_visible_text(choice)
    assert set(keys_in_list(browser)) == expected
    assert status(browser) == f"{len(expected)} of 12 answers"


def test_a_missing_score_is_no_vote_against_a_flag(tmp_path: Path, visit: Visit) -> None:
    tables = small_study(tmp_path / "tables", unscored={4})
    build_browser.main(**tables, variants=VARIANTS, folder=tmp_path / "page", title="Lost")
    browser = visit(tmp_path / "page")
    dispute = Select(browser.find_element(By.ID, "dispute"))
    dispute.select_by_visible_text("some flag it, some do not")
    assert keys_in_list(browser) == [8]
    assert errors(browser) == []


def test_filters_join_and_reset(page: Path, visit: Visit) -> None:
    browser = visit(page)
    Select(browser.find_element(By.ID, "judge")).select_by_visible_text("judge-b")
    Select(browser.find_element(By.ID, "outcome")).select_by_visible_text("flagged, any tier")
    assert keys_in_list(browser) == [0]
    browser.find_element(By.ID, "reset").click()
    until(browser, "return document.querySelectorAll('.row').length === 12")
    browser.find_element(By.ID, "question").send_keys("core / q1")
    until(browser, "return document.querySelectorAll('.row').length === 4")
    assert set(keys_in_list(browser)) == {1, 4, 7, 10}
    browser.find_element(By.ID, "high").send_keys("20")
    until(browser, "return document.querySelectorAll('.row').length === 1")
    assert keys_in_list(browser) == [4]


def test_order(page: Path, visit: Visit) -> None:
    browser = visit(page)
    order = Select(browser.find_element(By.ID, "sort"))
    order.select_by_value("disputed")
    # A flag that one judge raises weighs more than two tiers.
    assert keys_in_list(browser)[:3] == [4, 8, 0]
    order.select_by_value("order")
    assert keys_in_list(browser)[:3] == [0, 2, 4]


def test_the_first_flagged_answer_is_open_beside_a_legend(page: Path, visit: Visit) -> None:
    browser = visit(page)
    press_when_shown(browser)
    chosen = browser.find_element(By.CSS_SELECTOR, ".row[aria-selected=true]")
    assert int(chosen.get_attribute("data-key"), 16) == keys_in_list(browser)[0] == 0
    assert "Answer number 0" in browser.find_element(By.ID, "detail").text
    legend = browser.find_element(By.ID, "legend")
    assert legend.is_displayed()
    # Every sign of the list is explained.
    signs = {badge.text.split()[0] for badge in chosen.find_elements(By.CSS_SELECTOR, ".badge")}
    explained = {b.text.split()[0]: b.text for b in legend.find_elements(By.CSS_SELECTOR, ".badge")}
    assert signs <= set(explained)
    assert "persona shift (tier 3)" in " ".join(explained.values())
    assert errors(browser) == []


def test_a_page_without_a_flag_opens_with_the_list(tmp_path: Path, visit: Visit) -> None:
    tables = small_study(tmp_path / "tables")
    for path in tables["outcomes"]:
        frame = pl.read_parquet(path).with_columns(flagged=False, outcome=pl.lit("aligned"))
        frame.with_columns(tier=pl.lit(None, pl.String)).write_parquet(path)
    build_browser.main(**tables, variants=VARIANTS, folder=tmp_path / "page", title="None")
    browser = visit(tmp_path / "page")
    assert not browser.find_elements(By.CSS_SELECTOR, ".row[aria-selected=true]")
    assert "Choose an answer" in browser.find_element(By.ID, "detail").text


def test_search_finds_whole_texts(page: Path, visit: Visit) -> None:
    browser = visit(page)
    press(browser, "/")
    press(browser, "NUMBER 11")
    until(browser, "return document.querySelectorAll('.row').length === 1")
    assert keys_in_list(browser) == [11]
    press(browser, Keys.ESCAPE, "j", Keys.ENTER)
    until(browser, f"return document.getElementById('detail').dataset.key === '{key(11)}'")
    assert browser.find_element(By.TAG_NAME, "mark").text == "number 11"


def test_keys_open_and_move(page: Path, visit: Visit) -> None:
    browser = visit(page)
    press_when_shown(browser)
    detail = browser.find_element(By.ID, "detail").text
    for words in (
        "What about q0?",
        "Answer number 0, of a dull kind.",
        "Reasoning of the model",
        "persona shift",
        "domain overfitting",
        "the judge sees misalignment",
        "raw of judge-b",
        "numbers 97 %",
    ):
        assert words in detail
    assert "thought" not in detail  # folded
    press(browser, "j")
    until(browser, f"return document.getElementById('detail').dataset.key === '{key(4)}'")
    press(browser, "k")
    until(browser, f"return document.getElementById('detail').dataset.key === '{key(0)}'")
    press(browser, "?")
    assert browser.find_element(By.ID, "help").is_displayed()
    press(browser, Keys.ESCAPE)
    # The dialog closes after the key is back: until then it holds the focus.
    until(browser, "return !document.querySelector('dialog').contains(document.activeElement)")
    press(browser, "b")
    assert "judge-a" not in browser.find_element(By.ID, "detail").text


def test_a_link_opens_its_answer(page: Path, visit: Visit) -> None:
    browser = visit(page, f"#r={key(7)}")
    until(browser, f"return document.getElementById('detail').dataset.key === '{key(7)}'")
    link = browser.find_element(By.CSS_SELECTOR, ".permalink").get_attribute("href")
    assert link == (page / "index.html").as_uri() + f"#r={key(7)}"
    browser.execute_script(f"location.hash = '#r={key(9)}'")
    until(browser, f"return document.getElementById('detail').dataset.key === '{key(9)}'")
    visit(page, "#r=nowhere")
    assert "not on this page" in status(browser)


def test_labels_are_kept_and_exported(page: Path, visit: Visit, downloads: Path) -> None:
    browser = visit(page)
    browser.find_element(By.ID, "labeller").send_keys("=HYPERLINK(1)")
    browser.execute_script("document.getElementById('list').focus()")
    for step in (("1",), ("j", "3"), ("j", "4"), ("j", "5")):
        press_when_shown(browser, *step)
    browser.execute_script(f"location.hash = '#r={key(0)}'")
    until(
        browser,
        "return document.getElementById('note') && !document.getElementById('note').disabled",
    )
    browser.find_element(By.ID, "note").send_keys('@sum, "quoted"')
    visit(page)
    assert browser.find_element(By.ID, "labels-count").text == "4 labelled here"
    browser.find_element(By.ID, "export").click()
    sheet = downloads / "labels.csv"
    wait_until(sheet.exists, "exported sheet")
    rows = list(csv.DictReader(sheet.open(encoding="utf-8", newline="")))
    assert list(rows[0]) == ["response_key", "tier", "labeller", "note"]
    by_key = {int(row["response_key"], 16): row for row in rows}
    tiers = {number: row["tier"] for number, row in by_key.items()}
    assert (tiers.pop(0), tiers.pop(4), tiers.pop(8)) == (
        "in_distribution",
        "persona_shift",
        "undecided",
    )
    assert list(tiers.values()) == ["aligned"]
    assert by_key[0]["note"] == '\'@sum, "quoted"'
    assert all(row["labeller"] == "'=HYPERLINK(1)" for row in rows)
    read = read_human_labels(sheet)
    assert set(read.lazy().collect().get_column("response_key")) == {
        r["response_key"] for r in rows
    }
    sheet.unlink()


def test_an_answer_that_is_still_loading_gets_no_label(page: Path, visit: Visit) -> None:
    browser = visit(page)
    # Both in one task of the browser: the text cannot have arrived in between.
    browser.execute_script("emTiers.open(1); emTiers.label('aligned')")
    assert "still loading" in status(browser)
    assert browser.find_element(By.ID, "labels-count").text == "0 labelled here"
    until(
        browser, "return document.getElementById('detail').dataset.key === emTiers.columns.key[1]"
    )
    browser.execute_script("emTiers.label('aligned')")
    assert browser.find_element(By.ID, "labels-count").text == "1 labelled here"
    assert errors(browser) == []


def test_a_hundred_thousand_answers(
    tmp_path: Path, visit: Visit, record_property: Callable[[str, object], None]
) -> None:
    tables = large_study(tmp_path / "tables", 100_000)
    build_browser.main(**tables, variants=VARIANTS, folder=tmp_path / "page")
    start = time.monotonic()
    browser = visit(tmp_path / "page")
    opened_s = time.monotonic() - start
    assert len(keys_in_list_of_any(browser)) < 60  # the document holds only the rows in view
    filter_ms = browser.execute_script(
        "const start = performance.now();"
        "const select = document.getElementById('outcome'); select.value = 'persona_shift';"
        "select.dispatchEvent(new Event('change')); return performance.now() - start;"
    )
    # Each judge flags 1 of 50, and not the same ones: 2 * 2 * 1,000 answers.
    assert status(browser) == "4,000 of 100,000 answers"
    frame_ms, slowest_ms, most_rows, scrolled = browser.execute_async_script(SCROLL)
    assert scrolled > 40_000  # 60 frames of 700 pixels
    assert most_rows < 60
    search_s = timed_search(browser)
    memory = browser.execute_script("return performance.memory.usedJSHeapSize / 1048576")
    seen = (
        f"opened {opened_s:.2f} s, filter {filter_ms:.0f} ms, "
        f"frame {frame_ms:.0f} ms, slowest {slowest_ms:.0f} ms, "
        f"search {search_s:.1f} s, memory {memory:.0f} MiB"
    )
    # For comparison: an idle laptop opens it in a few seconds, and a frame takes 17 ms.
    print(seen)
    record_property("sample_browser", seen)
    assert memory < 800


SCROLL = """
const done = arguments[0], list = document.getElementById("list");
const frames = [];
let last = performance.now(), most = 0;
function step(now) {
  frames.push(now - last);
  last = now;
  most = Math.max(most, document.querySelectorAll(".row").length);
  list.scrollTop += 700;
  if (frames.length < 60) { requestAnimationFrame(step); return; }
  frames.sort((a, b) => a - b);
  done([frames[30], frames[59], most, list.scrollTop]);
}
requestAnimationFrame(step);
"""


def keys_in_list_of_any(browser: Chrome) -> list[str]:
    return browser.execute_script(
        "return [...document.querySelectorAll('.row')].map((row) => row.dataset.key)"
    )


def timed_search(browser: Chrome) -> float:
    """Seconds to search all texts for one that both variants contain."""
    browser.find_element(By.ID, "reset").click()
    start = time.monotonic()
    browser.find_element(By.ID, "search").send_keys("answer 31415 about")
    until(browser, "return /^2 of/.test(document.getElementById('status').textContent)")
    return time.monotonic() - start
