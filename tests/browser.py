"""A real browser for the tests of the report: headless Chromium, driven by Playwright."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def launch_browser() -> Iterator[object]:
    """Chromium as the system has it; the test is skipped where there is none."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no chromium is installed")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield launched
        launched.close()


def open_page(browser, path: Path, *, state: str = "", **options):
    """The page in a context of its own, and two lists that fill with its requests and complaints. `state`: what stands behind the `#`."""
    tab = browser.new_context(**options).new_page()
    requests: list[str] = []
    complaints: list[str] = []
    tab.on("request", lambda request: None if request.url.startswith("data:") else requests.append(request.url))
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("dialog", lambda dialog: (complaints.append("alert"), dialog.dismiss()))
    tab.goto(path.as_uri() + (f"#{state}" if state else ""))
    return tab, requests, complaints
