"""The doctor's loop test on a real sound server."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from pymoshi.doctor.sound import examine_sound
from sound_server.card import SoundCard


@contextmanager
def open_speaker(card: SoundCard) -> Iterator[None]:
    """What the speaker plays is heard by the microphone."""

    def pactl(*arguments: str) -> str:
        environment = {**os.environ, **card.environment}
        return subprocess.run(
            ["pactl", *arguments], env=environment, capture_output=True, text=True, check=True, timeout=20
        ).stdout.strip()

    module = pactl("load-module", "module-loopback", "source=speaker.monitor", "sink=mouth", "latency_msec=20")
    try:
        yield
    finally:
        pactl("unload-module", module)


def test_microphone_that_hears_the_speaker_tells_the_round_trip(card: SoundCard) -> None:
    with open_speaker(card):  # several times: on a busy machine pieces of the sound are missing
        reports = (examine_sound(play=True) for _ in range(5))
        found = next(report for report in reports if report.round_trip_ms is not None)
    assert found.problem == ""
    assert "hears the speaker" in found.loop
    assert found.round_trip_ms is not None
    assert 5 < found.round_trip_ms < 800


def test_microphone_that_hears_nothing_is_said_to_be_silent(card: SoundCard) -> None:
    found = examine_sound(play=True)
    assert found.problem == ""
    assert found.round_trip_ms is None
    assert "silence" in found.loop


def test_nothing_is_played_unless_it_is_asked_for(card: SoundCard) -> None:
    found = examine_sound(play=False)
    assert found.microphone
    assert found.speaker
    assert found.devices
    assert found.loop == ""
    assert found.problem == ""
