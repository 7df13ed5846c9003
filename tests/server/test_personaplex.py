"""Voices and prompts through the server: what a client may name, and what it may not reach."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pymoshi.server.options import CallOptions
from server.running import RunningServer
from server.spec_client import SpecClient


@pytest.fixture(scope="module")
def plex_server(
    voiced_folder: Path, fixtures: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """A server with a tiny PersonaPlex that has one voice, and voice files in places that are not for clients."""
    folder = tmp_path_factory.mktemp("served")
    model = shutil.copytree(voiced_folder, folder / "tiny-plex")
    for place in (model / "beside.pt", folder / "above.pt", folder / "here.pt"):
        shutil.copy(fixtures / "personaplex" / "voice.pt", place)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with RunningServer(defaults=CallOptions(model=str(model), seed=1, prompt="hello")) as running:
            yield running


def test_nvidias_parameters_choose_voice_and_prompt(plex_server: RunningServer) -> None:
    with plex_server.events() as events:
        with SpecClient(plex_server.connect("/api/chat?voice_prompt=NATF2.pt&text_prompt=a+friend")) as client:
            client.wait_until_ready()
            settings = plex_server.status()["settings"]
            client.converse(0.4)
            events.until_state("listening")
        events.until_state("ready")
    assert (settings["voice"], settings["prompt"]) == ("NATF2.pt", "a friend")
    assert events.states[1:] == ["loading", "priming", "listening", "stopping", "ready"]
    assert any(event.get("progress") == 1.0 for event in events.seen if event.get("state") == "priming")


def test_a_client_that_names_nothing_gets_the_servers_own_choice(plex_server: RunningServer) -> None:
    with SpecClient(plex_server.connect("/api/chat")) as client:
        client.wait_until_ready()
        assert plex_server.status()["settings"]["prompt"] == "hello"


@pytest.mark.parametrize(
    "name", ["NATF3.pt", "beside.pt", "above.pt", "here.pt", "here", "voice", "model", "tiny-plex"]
)
def test_only_the_voices_folder_is_looked_into(plex_server: RunningServer, name: str) -> None:
    with SpecClient(plex_server.connect(f"/api/chat?voice_prompt={name}")) as client:
        client.drain()
    assert "no voice" in client.error
    assert not client.ready


def test_the_voices_are_listed(plex_server: RunningServer) -> None:
    voices = plex_server.http.get("/api/voices").json()
    assert [(voice["name"], voice["preview"]) for voice in voices] == [("NATF2", None)]
    assert "female" in voices[0]["title"]


def test_the_servers_own_model_is_among_the_models(plex_server: RunningServer) -> None:
    names = [model["name"] for model in plex_server.http.get("/api/models").json() if model["installed"]]
    assert plex_server.settings.defaults.model in names
