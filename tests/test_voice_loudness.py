"""A recording gets the level that PersonaPlex's voices were trained with."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from pymoshi.audio import files as audio_files
from pymoshi.errors import VoiceError
from pymoshi.voices.loudness import integrated_loudness, normalise
from pymoshi.voices.recording import prepare_recording

FIXTURES = Path(__file__).parent / "fixtures" / "personaplex"


def sine(seconds: float, amplitude: float, rate: int = 24000, frequency: float = 997.0) -> NDArray[np.float32]:
    return (amplitude * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def test_voice_recording_equals_the_reference_sample_by_sample() -> None:
    golden = load_file(FIXTURES / "golden.safetensors")["voice_pcm_normalized"].ravel()
    prepared = prepare_recording(audio_files.read(FIXTURES / "voice.wav"), "voice.wav")
    assert prepared.dtype == np.float32
    assert np.abs(prepared[: golden.size] - golden).max() < 1e-6
    assert not prepared[golden.size :].any()


@pytest.mark.parametrize("rate", [16000, 24000, 48000])
def test_a_full_scale_sine_reads_what_the_standard_says(rate: int) -> None:
    # EBU Tech 3341: a 997 Hz sine at 0 dBFS in one channel measures -3.01 LUFS.
    assert integrated_loudness(sine(3, 1.0, rate), rate) == pytest.approx(-3.01, abs=0.1)


def test_pauses_do_not_lower_the_loudness() -> None:
    speech = sine(4, 0.1)
    with_pause = np.concatenate([speech, np.zeros(24000 * 6, np.float32)])
    assert integrated_loudness(with_pause, 24000) == pytest.approx(integrated_loudness(speech, 24000), abs=0.3)


def test_rumble_is_not_heard() -> None:
    assert integrated_loudness(sine(3, 0.1, frequency=10.0), 24000) < integrated_loudness(sine(3, 0.1), 24000) - 20


def test_normalised_sound_has_the_asked_loudness() -> None:
    noise = np.random.default_rng(3).normal(0, 0.01, 24000 * 2).astype(np.float32)
    assert integrated_loudness(normalise(noise, 24000, -24.0), 24000) == pytest.approx(-24.0, abs=1e-3)


def test_prepared_recordings_are_whole_frames() -> None:
    assert prepare_recording(sine(1.01, 0.1), "x").size == 13 * 1920
    assert prepare_recording(sine(0.96, 0.1), "x").size == 12 * 1920


@pytest.mark.parametrize(
    ("pcm", "message"),
    [
        (np.zeros(0, np.float32), "needs at least"),
        (sine(0.49, 0.1), "needs at least"),
        (sine(61, 0.1), "at most"),
        (np.zeros(24000, np.float32), "silent"),
        (sine(2, 3e-4), "too quiet"),
        (np.full(24000, np.nan, np.float32), "not finite"),
    ],
)
def test_unusable_recordings_are_refused_by_name(pcm: NDArray[np.float32], message: str) -> None:
    with pytest.raises(VoiceError, match=f"me.wav.*{message}"):
        prepare_recording(pcm, "me.wav")


def test_a_long_recording_is_taken_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert prepare_recording(sine(31, 0.1), "me.wav").size >= 31 * 24000
    assert "me.wav lasts 31 s" in caplog.text
