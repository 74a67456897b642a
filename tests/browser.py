"""A real browser for the tests of the report: headless Chromium, driven by Playwright."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

AXE = Path(__file__).parent / "axe" / "node_modules" / "axe-core" / "axe.min.js"
"""The rules of accessibility, where they are installed."""
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
"""Those that a page is held to: WCAG 2.2 AA, and what axe-core calls good practice."""


@contextmanager
def launch_browser() -> Iterator[object]:
    """Chromium as the system has it; the test is skipped where there is none."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        _do_without("no chromium is installed")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _do_without("Playwright is not installed")
    with sync_playwright() as playwright:
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


def violations(tab) -> list[str]:
    """What axe-core finds wrong on a page that was opened with `bypass_csp=True`, as `rule: element` with its reason; the test is skipped where
    axe-core is not installed.
    """
    if not AXE.exists():
        _do_without("axe-core is not installed: npm --prefix tests/axe ci")
    tab.evaluate(AXE.read_text(encoding="utf-8"))
    found = tab.evaluate("rules => axe.run(document, { runOnly: rules, resultTypes: ['violations'] })", list(RULES))
    return [f"{rule['id']}: {node['html'][:200]} {node['failureSummary']}" for rule in found["violations"] for node in rule["nodes"]]


def _do_without(reason: str) -> NoReturn:
    """Skip what cannot be tried here; where everything must be there (`APFGAN_BROWSER=required`), fail."""
    if os.environ.get("APFGAN_BROWSER") == "required":
        pytest.fail(reason)
    pytest.skip(reason)
