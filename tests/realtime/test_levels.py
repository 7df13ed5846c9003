"""Who is speaking, told by level: soon, without being fooled by clicks, fans and hum."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pymoshi.conversation.events import SpeechEnded, SpeechStarted
from pymoshi.conversation.levels import Pace, SpeechDetector, dbfs

Samples = NDArray[np.float32]
FRAME = 1920


def noise(seconds: float, db: float, seed: int = 1) -> Samples:
    return (np.random.default_rng(seed).standard_normal(round(seconds * 24_000)) * 10 ** (db / 20)).astype(np.float32)


def told(detector: SpeechDetector, sound: Samples) -> list[SpeechStarted | SpeechEnded]:
    events: list[SpeechStarted | SpeechEnded] = []
    for k in range(sound.size // FRAME):
        events += detector.hear(k * 0.08, sound[k * FRAME : (k + 1) * FRAME])
    return events


def test_levels_are_those_of_full_scale() -> None:
    assert dbfs(np.zeros(1920, np.float32)) == -120.0
    assert dbfs(np.zeros(0, np.float32)) == -120.0
    assert dbfs(np.ones(1920, np.float32)) == pytest.approx(0.0)
    assert dbfs(np.full(1920, 0.1, np.float32)) == pytest.approx(-20.0, abs=1e-4)


@pytest.mark.parametrize("floor", [-120.0, -70.0, -45.0])
def test_a_turn_has_a_beginning_and_an_end(floor: float) -> None:
    sound = noise(8.0, floor)
    sound[48_000:96_000] += noise(2.0, -25.0, seed=2)
    started, ended = told(SpeechDetector("user"), sound)
    assert isinstance(started, SpeechStarted) and isinstance(ended, SpeechEnded)
    assert started.time == pytest.approx(2.0, abs=0.021)
    assert ended.time == pytest.approx(4.0, abs=0.021)
    assert ended.seconds == pytest.approx(2.0, abs=0.041)


def test_a_pause_between_words_does_not_end_a_turn() -> None:
    sound = noise(6.0, -70.0)
    for begin in (1.0, 1.8, 2.5):
        at = round(begin * 24_000)
        sound[at : at + 9_600] += noise(0.4, -25.0, seed=3)
    events = told(SpeechDetector("user"), sound)
    assert [type(event) for event in events] == [SpeechStarted, SpeechEnded]


def test_clicks_are_no_speech() -> None:
    sound = noise(10.0, -70.0)
    sound[24_000::24_000] = 1.0
    sound[24_001::24_000] = -1.0
    assert told(SpeechDetector("user"), sound) == []


def test_a_loud_fan_is_no_speech_and_speech_is_heard_over_it() -> None:
    sound = noise(20.0, -35.0)
    assert told(SpeechDetector("user"), sound) == []
    sound[240_000:288_000] += noise(2.0, -18.0, seed=2)
    assert [type(event) for event in told(SpeechDetector("user"), sound)] == [SpeechStarted, SpeechEnded]


def test_a_fan_that_is_switched_on_is_taken_for_silence_after_a_while() -> None:
    sound = np.concatenate([noise(5.0, -70.0), noise(20.0, -35.0)])
    events = told(SpeechDetector("user"), sound)
    assert [type(event) for event in events] == [SpeechStarted, SpeechEnded]
    assert events[1].time < 5.0 + 9.0


def test_what_goes_on_at_the_end_is_ended() -> None:
    detector = SpeechDetector("model", threshold=-45.0, above_floor=0.0)
    assert [type(event) for event in told(detector, noise(2.0, -20.0))] == [SpeechStarted]
    (ended,) = detector.finish(2.0)
    assert isinstance(ended, SpeechEnded)
    assert (ended.who, ended.time) == ("model", 2.0)
    assert detector.finish(2.0) == []


def test_a_single_slow_frame_is_no_slow_machine() -> None:
    pace = Pace()
    for k in range(200):
        pace.add(1000.0 if k == 100 else 50.0)
        assert not pace.too_slow


def test_the_rate_is_that_of_the_last_five_seconds() -> None:
    pace = Pace()
    for _ in range(100):
        pace.add(40.0)
    for _ in range(Pace.FRAMES):
        pace.add(125.0)
    assert pace.too_slow
    assert pace.rate == pytest.approx(8.0)
    for _ in range(Pace.FRAMES):
        pace.add(79.0)
    assert pace.too_slow  # only just: it would come and go
    for _ in range(Pace.FRAMES):
        pace.add(70.0)
    assert not pace.too_slow
