"""Conversations with the sound devices of the server's machine: a virtual card on a PulseAudio server."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soxr
from playwright.sync_api import expect

from browser.conftest import OpenPage
from browser.driving import start, wait_until_loud
from browser.served import Served
from pymoshi.audio import files
from sound_server.card import RATE, SoundCard


@pytest.fixture
def card(tmp_path: Path) -> Iterator[SoundCard]:
    """The only sound card that the server sees."""
    with SoundCard(tmp_path / "pulse") as card:
        card.settle()
        yield card


@pytest.fixture
def served(tmp_path: Path, card: SoundCard) -> Iterator[Served]:
    """`pymoshi serve` on a machine with that card."""
    with Served(tmp_path, environment=card.environment) as server:
        yield server


def test_a_conversation_through_the_machines_card(served: Served, card: SoundCard, open_page: OpenPage) -> None:
    page = open_page(served.url, microphone=False)  # the browser's is not needed
    expect(page.locator("#state")).to_have_text("Ready")
    page.check("input[value=machine]")
    expect(page.locator("[name=input_device] option")).not_to_have_count(1)
    ear = card.listen()
    start(page)
    expect(page.locator("#lines .it").first).to_contain_text(re.compile(r"\w{3}"))
    until = time.monotonic() + 60
    while np.abs(ear.heard()).max(initial=0) < 0.05:  # the greeting, at the speaker
        assert time.monotonic() < until, "the speaker stays silent"
        page.wait_for_timeout(100)

    question = files.read(Path(__file__).parents[2] / "examples" / "question.flac")
    card.speak(soxr.resample(question, 24_000, RATE))  # for 40 s
    wait_until_loud(page, "user")
    expect(page.locator("#lines .you").first).to_contain_text(re.compile(r"spoke for \d"))

    page.click("#mute")
    expect(page.locator("#state")).to_have_text("Muted")
    page.reload()  # the call is the server's: it goes on, and the page finds it as it is
    expect(page.locator("#state")).to_have_text("Muted")
    expect(page.locator("#clock")).not_to_have_text("00:00")
    page.click("#mute")
    expect(page.locator("#state")).to_have_text("Listening")

    page.click("#primary")
    expect(page.locator("#state")).to_have_text("Ready")
    assert served.state() == "ready"
