"""A model with voices and prompts, through the page: what is chosen there is what the model gets."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from browser.conftest import OpenPage
from browser.driving import start, wait_for
from browser.served import Served
from pymoshi.personas import find_persona

_ROLE = "You sell hats. <b>Only</b> hats."


@pytest.fixture(scope="module")
def plex_served(voiced_folder: Path, fixtures: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`pymoshi serve` with a tiny PersonaPlex that has two voices."""
    folder = tmp_path_factory.mktemp("plex")
    model = shutil.copytree(voiced_folder, folder / "tiny-plex")
    shutil.copy(fixtures / "personaplex" / "voice.pt", model / "voices" / "NATM1.pt")
    with Served(folder, "--model", str(model), "--voice", "NATF2") as server:
        yield server


def test_voice_and_role_are_chosen_on_the_page(plex_served: Served, open_page: OpenPage) -> None:
    page = open_page(plex_served.url)
    expect(page.locator("#state")).to_have_text("Ready")
    expect(page.locator("[name=voice] option").first).to_have_text("As the server was started: NATF2")
    page.select_option("[name=voice]", "NATM1")
    page.select_option("[name=persona]", label="My own words")
    page.fill("[name=prompt]", _ROLE)
    start(page)
    settings = plex_served.status()["settings"]
    assert (settings["voice"], settings["prompt"]) == ("NATM1", _ROLE)
    wait_for(page, "window.loudest > 0.001")  # it is heard: noise, of a model that was never trained
    page.click("#primary")
    expect(page.locator("#state")).to_have_text("Ready")
    page.reload()
    expect(page.locator("[name=voice]")).to_have_value("NATM1")
    expect(page.locator("[name=prompt]")).to_have_value(_ROLE)


def test_a_persona_is_a_role_that_is_written_already(plex_served: Served, open_page: OpenPage) -> None:
    page = open_page(plex_served.url)
    expect(page.locator("#state")).to_have_text("Ready")
    page.select_option("[name=persona]", "teacher")
    start(page)
    assert plex_served.status()["settings"]["prompt"] == find_persona("teacher").prompt
