"""What the page says when something is missing, refused or dead, and how it goes on."""

import re

from playwright.sync_api import WebSocketRoute, expect

from browser.conftest import OpenPage
from browser.driving import start, wait_for
from browser.served import Served

_BANNER = "#banner-text"


def test_a_refused_microphone_is_explained_and_the_machines_is_offered(served: Served, open_page: OpenPage) -> None:
    page = open_page(served.url, microphone=False)
    expect(page.locator("#state")).to_have_text("Ready")
    page.click("#primary")
    expect(page.locator(_BANNER)).to_contain_text("did not give the microphone")
    expect(page.locator("#state")).to_have_text("Ready")
    assert served.state() == "ready"
    page.click("#banner-action")
    expect(page.locator("input[value=machine]")).to_be_checked()


def test_a_browser_without_webcodecs_is_told_so(served: Served, open_page: OpenPage) -> None:
    page = open_page(served.url)
    expect(page.locator("#state")).to_have_text("Ready")
    page.evaluate("delete window.AudioEncoder")
    page.click("#primary")
    expect(page.locator(_BANNER)).to_contain_text("Firefox from 130")


def test_the_workers_death_is_told_and_the_next_call_works(mortal: Served, open_page: OpenPage) -> None:
    page = open_page(mortal.url)
    start(page)
    mortal.kill_worker()
    expect(page.locator("#state")).to_have_text("Stopped by an error")
    expect(page.locator(_BANNER)).not_to_be_empty()
    page.click("#primary")
    expect(page.locator("#state")).to_have_text("Listening")
    expect(page.locator("#banner")).to_be_hidden()


def test_the_servers_death_is_told_and_it_is_found_again(mortal: Served, open_page: OpenPage) -> None:
    page = open_page(mortal.url)
    start(page)
    mortal.kill()
    expect(page.locator("#state")).to_have_text("Server not reachable")
    expect(page.locator(_BANNER)).to_contain_text("connection")
    expect(page.locator("#primary")).to_be_disabled()
    mortal.start()
    expect(page.locator("#state")).to_have_text("Ready")
    expect(page.locator("#banner")).to_be_hidden()
    start(page)


def test_a_lost_feed_is_opened_again_and_the_call_goes_on(served: Served, open_page: OpenPage) -> None:
    page = open_page(served.url)
    feeds: list[WebSocketRoute] = []

    def pass_on(feed: WebSocketRoute) -> None:
        feed.connect_to_server()
        feeds.append(feed)

    page.route_web_socket("**/ws", pass_on)
    page.reload()
    start(page)
    feeds[0].close()
    expect(page.locator("#state")).to_have_text("Server not reachable")
    expect(page.locator("#state")).to_have_text("Listening")
    expect(page.locator("#mute")).to_be_visible()  # it is this page's call still
    assert len(feeds) == 2


def test_a_busy_server_says_so_at_once(served: Served, open_page: OpenPage) -> None:
    page, other = open_page(served.url), open_page(served.url)
    expect(other.locator("#state")).to_have_text("Ready")
    start(page)
    call = '{method: "POST", body: `{"mode": "browser"}`, headers: {"Content-Type": "application/json"}}'
    assert other.evaluate(f'fetch("/start", {call}).then((answer) => answer.status)') == 409
    expect(page.locator("#state")).to_have_text("Listening")


def test_a_value_that_the_server_refuses_is_marked_at_its_field(served: Served, open_page: OpenPage) -> None:
    page = open_page(served.url)
    expect(page.locator("#state")).to_have_text("Ready")
    page.evaluate("document.querySelector('[name=context]').removeAttribute('min')")
    page.click("summary")
    page.fill("[name=context]", "3")
    page.click("#primary")
    expect(page.locator(_BANNER)).to_contain_text("context")
    field = page.locator("[name=context]")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_be_focused()
    field.fill("300")
    expect(field).not_to_have_attribute("aria-invalid", "true")
    assert served.state() == "ready"


def test_a_number_that_is_none_never_reaches_the_server(served: Served, open_page: OpenPage) -> None:
    page = open_page(served.url)
    expect(page.locator("#state")).to_have_text("Ready")
    page.click("summary")
    page.fill("[name=top_k]", "-4")
    page.click("#tab-log")
    page.on("request", lambda request: sent.append(request.url))
    sent: list[str] = []
    page.click("#primary")
    expect(page.locator("[name=top_k]")).to_be_focused()
    assert [url for url in sent if url.endswith("/start")] == []


def test_a_call_that_ends_before_it_began_leaves_nothing_open(served: Served, open_page: OpenPage) -> None:
    page = open_page(served.url)
    expect(page.locator("#state")).to_have_text("Ready")
    page.evaluate(
        """() => {
            navigator.mediaDevices.getUserMedia = () => new Promise((give) => { window.give = give; });
            window.stream = new MediaStreamAudioDestinationNode(new AudioContext()).stream;
        }"""
    )
    page.click("#primary")
    expect(page.locator("#state")).to_have_text("Waiting for your microphone")
    page.click("#primary")
    page.evaluate("window.give(window.stream)")
    expect(page.locator("#state")).to_have_text("Ready")
    wait_for(page, "window.stream.getTracks()[0].readyState === 'ended'")
    assert served.state() == "ready"
    expect(page.locator("#primary")).to_have_text(re.compile("Start"))
