"""The page itself: safe with whatever a model says, usable without a mouse, whole at every size."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, WebSocketRoute, expect

from browser.conftest import OpenPage
from browser.driving import wait_for
from browser.served import Served

_SIZES = {"desk": (1280, 800), "phone": (390, 844)}
_STATE: dict[str, Any] = {
    "progress": None,
    "detail": "",
    "model": "demo",
    "reason": None,
    "mode": "machine",
    "settings": {},
}
_LISTENING: dict[str, Any] = {"type": "state", "state": "listening", "call_seconds": 33.0, **_STATE}


def play(page: Page, url: str, events: list[dict[str, Any]]) -> None:
    """Opens the page again, with these events instead of the server's."""

    def tell(socket: WebSocketRoute) -> None:
        for event in events:
            socket.send(json.dumps(event))

    page.route_web_socket("**/ws", tell)
    page.goto(url)


def test_what_the_model_says_is_text_and_never_markup(served: Served, open_page: OpenPage) -> None:
    page = open_page(served.url)
    evil = "<img src=x onerror='window.evil=1'><script>window.evil=1</script>"
    events: list[dict[str, Any]] = [
        _LISTENING | {"detail": evil, "model": evil},
        {"type": "transcript", "who": "model", "text": f" {evil}", "time": 1.0, "final": False},
        {"type": "log", "level": evil, "text": evil, "time": 1.0},
        {"type": "transcript", "who": "model", "text": evil, "time": 9.0, "final": True},
        {"type": "state", "state": "failed", "call_seconds": None, **_STATE, "reason": evil},
    ]
    play(page, served.url, events)
    expect(page.locator("#lines")).to_contain_text(evil)
    expect(page.locator("#banner-text")).to_have_text(evil)
    assert page.locator("main img, main script, #banner img").count() == 0
    assert page.evaluate("window.evil") is None


def test_the_two_sides_are_in_the_order_of_time(served: Served, open_page: OpenPage) -> None:
    page = open_page(served.url)
    events: list[dict[str, Any]] = [
        _LISTENING,
        {"type": "transcript", "who": "model", "text": " Good", "time": 0.8, "final": False},
        {"type": "transcript", "who": "model", "text": " morn", "time": 0.96, "final": False},
        {"type": "transcript", "who": "model", "text": "ing.", "time": 1.04, "final": False},
        {"type": "speech", "who": "user", "start": 3.0, "end": None},
        {"type": "transcript", "who": "model", "text": " Yes?", "time": 4.0, "final": False},
        {"type": "speech", "who": "user", "start": 3.01, "end": 5.5},
        {"type": "transcript", "who": "model", "text": "Good morning. Yes?", "time": 0.8, "final": True},
    ]
    play(page, served.url, events)
    rows = page.locator("#lines .line")
    expect(rows).to_have_count(3)
    expect(rows.nth(0).locator(".line-text")).to_have_text("Good morning.")
    expect(rows.nth(1).locator(".line-text")).to_have_text("spoke for 2.5 s")
    expect(rows.nth(2).locator(".line-text")).to_have_text("Yes?")


def test_a_page_that_comes_late_sees_the_whole_line(served: Served, open_page: OpenPage) -> None:
    page = open_page(served.url)
    events: list[dict[str, Any]] = [
        _LISTENING,
        {"type": "transcript", "who": "model", "text": "ing.", "time": 1.04, "final": False},
        {"type": "transcript", "who": "model", "text": "Good morning.", "time": 0.8, "final": True},
    ]
    play(page, served.url, events)
    expect(page.locator("#lines .line-text")).to_have_text("Good morning.")


def test_late_frames_are_counted_and_drawn_from_the_servers_figures(served: Served, open_page: OpenPage) -> None:
    page = open_page(served.url)
    frame: dict[str, Any] = {
        "type": "frame",
        "encode_ms": 10,
        "lm_ms": 20,
        "decode_ms": 10,
        "step_ms": 40,
        "late": False,
    }
    frame |= {"backlog_ms": 0, "queued_ms": 80, "shed_ms": 0, "underruns": 2}
    frames = [{**frame, "index": i} for i in range(9)]
    slow = {**frame, "index": 9, "lm_ms": 120, "step_ms": 140, "late": True, "backlog_ms": 60}
    play(page, served.url, [_LISTENING, *frames, slow])
    expect(page.locator("#figure-mean")).to_have_text("50 ms")
    expect(page.locator("#figure-worst")).to_have_text("140 ms")
    expect(page.locator("#figure-late")).to_have_text("1")
    expect(page.locator("#figure-backlog")).to_have_text("60 ms")
    expect(page.locator("#figure-gaps")).to_have_text("2")


def test_everything_is_reached_with_the_keyboard(served: Served, open_page: OpenPage) -> None:
    page = open_page(served.url)
    expect(page.locator("#state")).to_have_text("Ready")
    page.focus("#tab-setup")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#tab-transcript")).to_be_focused()
    expect(page.locator("#transcript")).to_be_visible()
    page.keyboard.press("Home")
    expect(page.locator("#setup")).to_be_visible()
    page.focus("#primary")
    seen = set()
    for _ in range(20):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.id || document.activeElement.name"))
    assert {"tab-setup", "mode", "model", "record"} <= seen
    assert not seen & {"tab-log", "mute"}, "what is hidden or another tab's is passed over"


def test_every_control_has_a_name(served: Served, open_page: OpenPage) -> None:
    page = open_page(served.url)
    expect(page.locator("#state")).to_have_text("Ready")
    page.check("input[value=machine]")
    page.click("summary")
    nameless = page.evaluate(
        """[...document.querySelectorAll('button, input, select, textarea, a, [role=meter], canvas')]
            .filter((e) => !e.closest('[hidden]') && !e.getAttribute('aria-label') && !e.labels?.length
                        && !e.textContent.trim() && e.getAttribute('aria-hidden') !== 'true')
            .map((e) => e.outerHTML)"""
    )
    assert nameless == []


def test_the_state_is_announced_and_the_words_are_not(served: Served, open_page: OpenPage) -> None:
    page = open_page(served.url)
    expect(page.get_by_role("status")).to_have_text("Ready")
    assert page.locator("#banner").get_attribute("role") == "alert"
    # A screen reader that reads the model's words aloud would be heard by the model.
    assert page.locator("#transcript [aria-live], #transcript [role=log]").count() == 0


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", _SIZES)
def test_the_page_fits(size: str, theme: str, served: Served, open_page: OpenPage, tmp_path: Path) -> None:
    width, height = _SIZES[size]
    page = open_page(served.url, viewport={"width": width, "height": height}, color_scheme=theme)
    folder = Path(os.environ.get("PYMOSHI_TEST_SCREENSHOTS") or tmp_path)  # to be looked at
    expect(page.locator("#state")).to_have_text("Ready")
    page.screenshot(path=folder / f"{size}-{theme}-idle.png", full_page=size == "phone")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    _is_in_sight(page, "#primary", height)
    page.click("#primary")
    expect(page.locator("#lines .it").first).not_to_be_empty()
    wait_for(page, "document.getElementById('clock').textContent >= '00:08'")
    page.screenshot(path=folder / f"{size}-{theme}-call.png", full_page=size == "phone")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    _is_in_sight(page, "#primary", height)
    _is_in_sight(page, "#mute", height)


def _is_in_sight(page: Page, selector: str, height: int) -> None:
    box = page.locator(selector).bounding_box()
    assert box is not None and box["y"] + box["height"] <= height


def test_the_theme_can_be_chosen_and_is_kept(served: Served, open_page: OpenPage) -> None:
    page = open_page(served.url, color_scheme="light")
    page.click("#theme")
    page.click("#theme")
    expect(page.locator("#theme-name")).to_have_text("dark")
    page.reload()
    expect(page.locator("#theme-name")).to_have_text("dark")
    assert page.evaluate("getComputedStyle(document.body).colorScheme") == "dark"


def test_nothing_comes_from_elsewhere(served: Served, open_page: OpenPage) -> None:
    page = open_page(served.url)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    expect(page.locator("#state")).to_have_text("Ready")
    assert asked and all(url.startswith(served.url) for url in asked)


def test_the_token_in_the_address_opens_the_page_and_is_not_needed_again(tmp_path: Path, open_page: OpenPage) -> None:
    with Served(tmp_path, "--token", "a-long-enough-token") as served:
        page = open_page(served.url.split("?")[0])
        expect(page.locator("body")).to_contain_text("token")
        page.goto(f"{served.url.split('?')[0]}?token=a-long-enough-token")
        expect(page.locator("#state")).to_have_text("Ready")
        page.goto(served.url.split("?")[0])
        expect(page.locator("#state")).to_have_text("Ready")
