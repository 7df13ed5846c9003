"""The call at the server's own microphone and speaker, which here are another module in the worker's path."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from server.running import RunningServer

CARD = Path(__file__).with_name("fake_card")


@pytest.fixture(scope="module")
def machine() -> Iterator[RunningServer]:
    """A server on a machine with a sound card."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(CARD))
        with RunningServer() as running:
            yield running


def test_a_call_at_the_machine_goes_through_its_states(machine: RunningServer) -> None:
    with machine.events() as events:
        answer = machine.http.post("/start", json={"mode": "machine", "echo_cancel": False, "record": True})
        assert answer.status_code == 202
        events.until_state("listening")
        assert machine.status()["mode"] == "machine"
        assert machine.http.post("/start", json={}).status_code == 409

        words = events.until(lambda event: event["type"] == "transcript" and event["final"])
        spoken = events.until(lambda event: event["type"] == "frame" and event["index"] >= 20)
        assert machine.status()["call_seconds"] > 0
        assert machine.http.get("/recordings/latest.wav").status_code == 404  # it is not complete yet
        assert machine.http.post("/stop").status_code == 202
        events.until_state("ready")

    assert words["text"].strip()
    assert 0 < spoken["step_ms"] < 10_000
    assert events.states[1:] == ["loading", "priming", "listening", "stopping", "ready"]
    levels = [event for event in events.seen if event["type"] == "levels"]
    assert levels[-1]["user_db"] == pytest.approx(-23, abs=1)
    assert max(event["model_db"] for event in levels) > -40


def test_the_recording_has_both_sides(machine: RunningServer) -> None:
    pcm, rate = soundfile.read(io.BytesIO(machine.http.get("/recordings/latest.wav").raise_for_status().content))
    assert rate == 24_000
    assert pcm.shape[1] == 2
    assert len(pcm) >= 20 * 1920
    assert (np.sqrt(np.mean(pcm**2, axis=0)) > 0.001).all()


def test_a_muted_model_hears_silence(machine: RunningServer) -> None:
    with machine.events() as events:
        machine.http.post("/start", json={"echo_cancel": False}).raise_for_status()
        events.until_state("listening")
        assert machine.http.post("/mute", json={"muted": True}).json()["muted"]
        events.until(lambda event: event["type"] == "levels" and event["user_db"] == -120)
        machine.http.post("/mute", json={"muted": False}).raise_for_status()
        events.until(lambda event: event["type"] == "levels" and event["user_db"] > -30)
        machine.http.post("/stop")
        events.until_state("ready")


def test_the_devices_are_listed(machine: RunningServer) -> None:
    devices = machine.http.get("/api/devices").json()
    for way in ("inputs", "outputs"):
        assert [(entry["name"], entry["index"], entry["default"]) for entry in devices[way]] == [("Fake card", 0, True)]


def test_a_device_that_is_not_there_is_named_in_the_reason(machine: RunningServer) -> None:
    with machine.events() as events:
        machine.http.post("/start", json={"input_device": "Theremin"}).raise_for_status()
        failed = events.until_state("failed")
        assert "Theremin" in failed["reason"]
        assert "loaded" not in [event["type"] for event in events.seen]

        machine.http.post("/start", json={"echo_cancel": False}).raise_for_status()  # and the next one works
        assert events.until_state("listening")["reason"] is None
        machine.http.post("/stop")
        events.until_state("ready")


def test_a_machine_without_sound_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(CARD))
    monkeypatch.setenv("PYMOSHI_FAKE_CARD", "none")
    with RunningServer() as server, server.events() as events:
        server.http.post("/start", json={}).raise_for_status()
        assert "No microphone" in events.until_state("failed")["reason"]
        assert server.http.get("/api/devices").json() == {"inputs": [], "outputs": []}
