"""Conversations with this browser's microphone and speaker."""

import re
from typing import Any

from playwright.sync_api import APIResponse, Route, expect

from browser.conftest import OpenPage
from browser.driving import loudness, start, wait_for, wait_until_loud
from browser.served import Served


def test_a_conversation_is_heard_on_both_sides(served: Served, open_page: OpenPage) -> None:
    page = open_page(served.url)
    start(page)
    expect(page.locator("#lines .it").first).to_contain_text(re.compile(r"\w{3}"))  # the greeting
    wait_for(page, "window.loudest > 0.02")  # it is sound, not only text
    expect(page.locator("#lines .you").first).to_contain_text(re.compile(r"spoke for \d"))
    expect(page.locator("#lines .you ~ .it").first).to_contain_text(re.compile(r"\w{3}"))  # it answers
    expect(page.locator("#figure-mean")).to_have_text(re.compile(r"\d ms"))
    expect(page.locator("#clock")).not_to_have_text("00:00")


def test_states_are_shown_in_their_order_and_only_when_they_are_true(served: Served, open_page: OpenPage) -> None:
    page = open_page(served.url)
    expect(page.locator("#state")).to_have_text("Ready")
    page.evaluate(
        """() => {
            const state = document.getElementById("state");
            window.seen = [];
            new MutationObserver(() => window.seen.push(state.textContent)).observe(state, { childList: true });
        }"""
    )
    start(page)
    assert served.state() == "listening"
    page.click("#primary")
    expect(page.locator("#state")).to_have_text("Ready")
    order = ["Waiting for your microphone", "Loading the model", "Taking on its role", "Listening", "Ending", "Ready"]
    seen = page.evaluate("window.seen")
    places = [order.index(state) for state in seen]
    assert places == sorted(places)
    assert {"Loading the model", "Listening", "Ready"} <= set(seen)


def test_the_meter_and_the_model_get_the_real_microphone(served: Served, open_page: OpenPage) -> None:
    page = open_page(served.url)
    start(page)
    wait_until_loud(page, "user")


def test_muting_silences_the_microphone_and_not_the_call(served: Served, open_page: OpenPage) -> None:
    page = open_page(served.url)
    start(page)
    wait_until_loud(page, "user")
    page.keyboard.press("m")
    expect(page.locator("#state")).to_have_text("Muted")
    expect(page.locator("#mute")).to_have_attribute("aria-pressed", "true")
    # The server measures what the model hears: a second of it, all digital silence.
    page.evaluate(
        """() => {
            const socket = new WebSocket(location.href.replace('http', 'ws') + 'ws');
            window.quiet = 0;
            socket.onmessage = (message) => {
                const event = JSON.parse(message.data);
                if (event.type === 'levels') window.quiet = event.user_db < -90 ? window.quiet + 1 : 0;
            };
        }"""
    )
    wait_for(page, "window.quiet > 12")
    page.click("#mute")
    expect(page.locator("#state")).to_have_text("Listening")
    wait_until_loud(page, "user")


def test_ending_stops_sound_and_microphone(served: Served, open_page: OpenPage) -> None:
    page = open_page(served.url)
    page.evaluate(
        """() => {
            const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
            navigator.mediaDevices.getUserMedia = async (wanted) => (window.stream = await ask(wanted));
        }"""
    )
    start(page)
    assert page.evaluate("window.stream.getTracks()[0].readyState") == "live"
    page.click("#primary")
    expect(page.locator("#state")).to_have_text("Ready")
    assert page.evaluate("window.stream.getTracks()[0].readyState") == "ended"
    assert loudness(page, "user") == loudness(page, "model") == -60
    assert served.state() == "ready"
    start(page)  # and again


def test_an_answer_that_was_overtaken_changes_nothing(served: Served, open_page: OpenPage) -> None:
    page = open_page(served.url)
    start(page)
    held: list[tuple[Route, APIResponse]] = []
    page.route("**/stop", lambda route: held.append((route, route.fetch())))
    page.click("#primary")
    expect(page.locator("#state")).to_have_text("Ready")  # from the feed
    while not held:  # which may be quicker than the way of the answer through this process
        page.wait_for_timeout(20)
    (route, response), *_ = held
    assert response.json()["state"] in ("stopping", "ready")
    late = {**response.json(), "state": "stopping", "revision": 1}
    with page.expect_response("**/stop"):
        route.fulfill(json=late, status=202)
    page.evaluate("fetch('/status')")
    expect(page.locator("#state")).to_have_text("Ready")


def test_the_recording_can_be_saved_afterwards(served: Served, open_page: OpenPage) -> None:
    page = open_page(served.url)
    page.check("[name=record]")
    start(page)
    wait_for(page, "window.loudest > 0.02")
    expect(page.locator("#recording")).to_be_hidden()
    page.click("#primary")
    with page.expect_download() as download:
        page.click("#recording")
    assert download.value.suggested_filename == "conversation.wav"
    assert download.value.path().read_bytes()[:4] == b"RIFF"
    assert download.value.path().stat().st_size > 48_000


def test_the_transcript_can_be_saved(served: Served, open_page: OpenPage) -> None:
    page = open_page(served.url)
    start(page)
    expect(page.locator("#lines .it").first).to_contain_text(re.compile(r"\w{3}"))
    page.click("#primary")
    expect(page.locator("#state")).to_have_text("Ready")
    words = page.locator("#lines .it .line-text").first.inner_text()
    with page.expect_download() as download:
        page.click("#save-transcript")
    assert re.search(rf"^\[00:0\d] Model: {re.escape(words)}$", download.value.path().read_text(), re.MULTILINE)


def test_loading_the_page_again_frees_the_server(served: Served, open_page: OpenPage) -> None:
    page = open_page(served.url)
    start(page)
    page.reload()
    start(page)


def test_a_second_page_sees_the_call_and_does_not_disturb_it(served: Served, open_page: OpenPage) -> None:
    page = open_page(served.url)
    start(page)
    other = open_page(served.url)
    expect(other.locator("#detail")).to_have_text("Another page holds this conversation.")
    expect(other.locator("#mute")).to_be_hidden()
    other.close()
    expect(page.locator("#state")).to_have_text("Listening")


def test_settings_reach_the_model_and_outlast_the_page(served: Served, open_page: OpenPage) -> None:
    page = open_page(served.url)
    expect(page.locator("#state")).to_have_text("Ready")
    page.click("summary")
    page.fill("[name=temperature]", "0.55")
    page.fill("[name=top_k]", "17")
    asked: list[Any] = []
    page.on("request", lambda request: asked.append(request.post_data_json) if request.url.endswith("start") else None)
    start(page)
    assert asked == [{"mode": "browser", "model": "demo", "record": False, "temperature": 0.55, "top_k": 17}]
    page.reload()
    expect(page.locator("[name=temperature]")).to_have_value("0.55")


def test_a_sound_card_with_a_rate_of_its_own_will_do(served: Served, open_page: OpenPage) -> None:
    page = open_page(served.url)
    expect(page.locator("#state")).to_have_text("Ready")
    page.evaluate(  # as in browsers that connect a microphone only to a context of the microphone's rate
        """() => {
            const Context = window.AudioContext;
            window.AudioContext = class extends Context {
                constructor(options) {
                    super({ ...options, sampleRate: options?.sampleRate ?? 44100 });
                }

                createMediaStreamSource(stream) {
                    if (this.sampleRate !== 44100) throw new DOMException("different rates", "NotSupportedError");
                    return super.createMediaStreamSource(stream);
                }
            };
        }"""
    )
    start(page)
    wait_for(page, "window.loudest > 0.02")
    wait_until_loud(page, "user")
    expect(page.locator("#lines .you")).not_to_have_count(0)
