"""Answers that try to run in the reader's browser, hide, or drown it: all are shown as text."""

from collections.abc import Callable
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

import build_browser
from browser_page import until
from browser_tables import VARIANTS, small_study

pytestmark = pytest.mark.browser
LONG = "0123456789" * 104_858  # a mebibyte

HOSTILE = [
    "<script>window.canary = 1</script>",
    "</script><script>window.canary = 2</script>",
    '<img src=x onerror="window.canary = 3">',
    '<svg xmlns="http://www.w3.org/2000/svg" onload="window.canary = 4"><script>1</script></svg>',
    "&lt;b&gt; &amp; &#x3c;script&#x3e;window.canary = 5&#x3c;/script&#x3e;",
    '"); window.canary = 6; emTiers.add("meta", {}); ("',
    "\u2028window.canary = 7\u2029*/ // --> ]]>",
    "<iframe srcdoc='<script>parent.canary = 8</script>'></iframe><a href='javascript:canary=8'>",
    "<style>body { display: none }</style><meta http-equiv=refresh content='0;url=about:blank'>",
    "{{constructor.constructor('window.canary = 9')()}} ${window.canary = 9} `",
]
HIDDEN = (
    "safe \u202etxet desrever\u202c \u2066isolate\u2069 zero\u200bwidth nul\x00end bell\x07 "
    "filler\u3164 selector\U000e0142"
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    tables = small_study(folder / "tables", [*HOSTILE, HIDDEN, LONG])
    variants = [VARIANTS[0], VARIANTS[1] | {"label": HOSTILE[2]}]
    build_browser.main(**tables, variants=variants, folder=folder / "page", title=HOSTILE[1])
    return folder / "page"


def open_answer(browser: Chrome, number: int) -> None:
    browser.execute_script(f"location.hash = '#r={number:032x}'")
    until(browser, f"return document.getElementById('detail').dataset.key === '{number:032x}'")


def shown(browser: Chrome) -> str:
    return browser.execute_script("return document.querySelector('.answer').textContent")


def assert_harmless(browser: Chrome) -> None:
    assert browser.execute_script("return window.canary === undefined")
    foreign = "script:not([src]), img, svg, iframe, object, style, #detail a:not(.permalink)"
    assert browser.find_elements(By.CSS_SELECTOR, foreign) == []
    assert browser.find_element(By.ID, "list").is_displayed()


def test_no_markup_runs_and_all_of_it_is_shown(page: Path, visit: Callable[..., Chrome]) -> None:
    browser = visit(page)
    assert browser.title == HOSTILE[1]
    for number, text in enumerate(HOSTILE):
        open_answer(browser, number)
        expected = text.replace("\u2028", "U+2028").replace("\u2029", "U+2029")
        assert shown(browser) == expected
        assert_harmless(browser)
    assert HOSTILE[2] in browser.find_element(By.ID, "list").text
    assert HOSTILE[2] in browser.find_element(By.ID, "variant").text


def test_the_policy_holds_when_the_page_is_attacked_from_within(
    page: Path, visit: Callable[..., Chrome]
) -> None:
    """What a fault of the page could do: the policy stops it all the same."""
    browser = visit(page)
    browser.execute_script(
        """
        const refused = window.refused = [];
        document.addEventListener("securitypolicyviolation",
          (event) => refused.push(event.effectiveDirective));
        const script = document.createElement("script");
        try { script.text = "window.canary = 10"; } catch (error) { refused.push("text"); }
        document.body.append(script);
        try { document.body.innerHTML = "<img src=x onerror='window.canary = 11'>"; }
        catch (error) { refused.push("innerHTML"); }
        const image = document.createElement("img");
        image.setAttribute("src", "http://127.0.0.1:9/x.png");
        document.body.append(image);
        image.remove();
        fetch("http://127.0.0.1:9/").catch(() => refused.push("fetch"));
        """
    )
    for directive in ("innerHTML", "fetch", "img-src", "connect-src"):
        until(browser, f"return window.refused.includes('{directive}')")
    assert browser.execute_script("return window.canary === undefined")


def test_hidden_characters_are_shown_as_codes(page: Path, visit: Callable[..., Chrome]) -> None:
    browser = visit(page)
    open_answer(browser, len(HOSTILE))
    text = shown(browser)
    for code in (
        "U+202E",
        "U+202C",
        "U+2066",
        "U+2069",
        "U+200B",
        "\u2400",
        "\u2407",
        "U+3164",
        "U+E0142",
    ):
        assert code in text
    assert not set("\u202e\u202c\u2066\u2069\u200b\x00\x07") & set(text)
    listed = browser.find_element(By.ID, "list").text
    assert "\u202e" not in listed and "[U+202E]" in listed


def test_a_mebibyte_is_cut_and_shown_whole_on_demand(
    page: Path, visit: Callable[..., Chrome]
) -> None:
    browser = visit(page)
    open_answer(browser, len(HOSTILE) + 1)
    assert (
        len(browser.execute_script("return document.querySelector('.answer pre').textContent"))
        == 20_000
    )
    button = browser.find_element(By.CSS_SELECTOR, ".whole")
    assert button.text == "Show all 1,048,580 characters"
    button.click()
    assert shown(browser) == LONG
    starts = browser.execute_script(
        "return [...document.querySelectorAll('.start')].map((e) => e.textContent.length)"
    )
    assert max(starts) <= 200
