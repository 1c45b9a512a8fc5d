"""The system's Chromium for tests that look at UIs.

Not here: what they look at (`test_ui.py`, `test_airflow_ui.py`).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

_WAIT = 60_000
# As root without a sandbox; and nothing that calls home, which a closed network would answer with noise.
_FLAGS = [
    "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run",
]  # fmt: skip


@contextmanager
def chromium() -> Iterator[Page]:
    """A page."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=_FLAGS)
        page = browser.new_page(viewport={"width": 1700, "height": 1000})
        page.set_default_timeout(_WAIT)
        expect.set_options(timeout=_WAIT)
        yield page
        browser.close()


def picture(page: Page, name: str) -> None:
    """Keep a screenshot where ETL_SCREENSHOTS says."""
    folder = os.environ.get("ETL_SCREENSHOTS")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png")
