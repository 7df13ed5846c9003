"""What a person does at the page, and sees."""

import time

from playwright.sync_api import Page, expect

_PATIENCE = 60.0  # seconds


def start(page: Page) -> None:
    """Begins a conversation as soon as that can be done; returns when the model listens."""
    expect(page.locator("#state")).to_have_text("Ready")
    page.click("#primary")
    expect(page.locator("#state")).to_have_text("Listening")


def wait_for(page: Page, expression: str) -> None:
    """Until the expression is true in the page. Playwright's own way is forbidden by the page's policy."""
    until = time.monotonic() + _PATIENCE
    while not page.evaluate(expression):
        assert time.monotonic() < until, expression
        page.wait_for_timeout(50)


def loudness(page: Page, who: str) -> int:
    """What the meter of "user" or "model" shows, in dB."""
    return int(page.get_attribute(f"#{who}-meter", "aria-valuenow") or "")


def wait_until_loud(page: Page, who: str) -> None:
    """Until somebody speaks."""
    wait_for(page, f"Number(document.getElementById('{who}-meter').getAttribute('aria-valuenow')) > -40")
