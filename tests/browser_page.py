"""Waiting for a page in a browser."""

from selenium import webdriver

from waiting import PATIENCE, wait_until


def until(browser: webdriver.Chrome, script: str) -> object:
    """Wait until a script returns something true, and return it."""

    def output() -> str:
        status = browser.execute_script("return document.getElementById('status')?.textContent")
        return f"status: {status}\nlog: {browser.get_log('browser')}"

    # A page that fails does not end, so it is given less time than a process.
    return wait_until(
        lambda: browser.execute_script(script),
        f"true value of '{script}'",
        output=output,
        seconds=PATIENCE / 6,
    )
