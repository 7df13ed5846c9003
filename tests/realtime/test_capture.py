"""Capture: every sample of the device once, in order, at 24 kHz; silence and errors where the device gives none."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pymoshi.audio.capture import Capture
from pymoshi.audio.ports import EndOfAudio
from realtime.virtual import FRAME, VirtualClock, places, ramp


def test_a_device_at_the_models_rate_is_passed_on_bit_by_bit() -> None:
    capture = Capture(24_000, clock=VirtualClock())
    for first in range(0, 7680, 480):
        capture.push(ramp(first, 480))
    heard = [capture.read(FRAME, 0.0) for _ in range(4)]
    assert all(frame is not None and frame.shape == (FRAME,) for frame in heard)
    assert places(np.concatenate([frame for frame in heard if frame is not None])).tolist() == list(range(7680))
    assert capture.read(FRAME, 0.0) is None


def test_a_read_waits_for_the_missing_block_and_no_longer() -> None:
    clock = VirtualClock()
    capture = Capture(24_000, clock=clock)
    for k in range(4):
        clock.at(0.1 + 0.02 * k, lambda: capture.push(np.zeros(480, np.float32)))
    assert capture.read(FRAME, 0.05) is None
    assert clock.now() == pytest.approx(0.05)
    assert capture.read(FRAME, 1.0) is not None
    assert clock.now() == pytest.approx(0.16)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_a_tone_is_the_same_tone_at_any_rate_of_the_device(rate: int) -> None:
    capture = Capture(rate, clock=VirtualClock())
    block = rate // 50
    tone = (0.5 * np.sin(2 * np.pi * 1000 * np.arange(rate) / rate)).astype(np.float32)
    heard = []
    for first in range(0, rate, block):
        capture.push(tone[first : first + block])
        if (frame := capture.read(FRAME, 0.0)) is not None:
            heard.append(frame)
    sound = np.concatenate(heard)
    assert sound.size >= 24_000 - FRAME - 0.011 * 24_000  # the resampler holds 11 ms back, no more
    assert noise_below_tone(sound[2400:], 1000) > 90
    assert capture.stats().latency < (0.011 if rate < 24_000 else 0.006 if rate % 24_000 else 0.0015)


def noise_below_tone(sound: NDArray[np.float32], frequency: float) -> float:
    """dB by which everything that is not the tone is below it."""
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(sound.size))) ** 2
    peak = round(frequency * sound.size / 24_000)
    tone = spectrum[peak - 6 : peak + 7].sum()
    return float(10 * np.log10(tone / (spectrum.sum() - tone)))


def test_what_the_model_cannot_hear_does_not_fold_into_what_it_hears() -> None:
    capture = Capture(48_000, clock=VirtualClock())
    n = np.arange(48_000)
    capture.push((0.5 * np.sin(2 * np.pi * 15_000 * n / 48_000)).astype(np.float32))
    heard = capture.read(20_000, 0.0)
    assert heard is not None
    assert np.abs(heard[1000:]).max() < 1e-3


def test_stereo_becomes_the_mean_of_both_sides() -> None:
    capture = Capture(24_000, clock=VirtualClock())
    capture.push(np.tile(np.array([[0.5, 0.25]], np.float32), (FRAME, 1)))
    heard = capture.read(FRAME, 0.0)
    assert heard is not None
    assert set(heard.tolist()) == {0.375}


def test_what_a_broken_driver_gives_does_not_reach_the_model() -> None:
    capture = Capture(24_000, clock=VirtualClock())
    block = np.zeros(FRAME, np.float32)
    block[:4] = [np.nan, np.inf, -np.inf, 7.0]
    capture.push(block)
    heard = capture.read(FRAME, 0.0)
    assert heard is not None
    assert heard[:5].tolist() == [0.0, 1.0, -1.0, 1.0, 0.0]


def test_a_reader_that_stalls_loses_the_newest_and_is_told_how_often() -> None:
    capture = Capture(24_000, clock=VirtualClock())
    for first in range(0, 3 * 24_000, 480):
        capture.push(ramp(first, 480))
    assert capture.pending() == 2 * 24_000
    assert capture.stats().overruns == 50
    heard = capture.read(FRAME, 0.0)
    assert heard is not None
    assert places(heard)[0] == 0


@pytest.mark.parametrize("rate", [24_000, 48_000])
def test_skipping_drops_the_oldest_and_does_not_click(rate: int) -> None:
    capture = Capture(rate, clock=VirtualClock())
    tone = (0.5 * np.sin(2 * np.pi * 100 * np.arange(rate) / rate)).astype(np.float32)
    capture.push(tone)
    first = capture.read(FRAME, 0.0)
    assert capture.skip(4 * FRAME + 77) == pytest.approx(4 * FRAME + 77, abs=1)
    second = capture.read(FRAME, 0.0)
    assert first is not None and second is not None
    steps = np.abs(np.diff(np.concatenate([first, second])))
    assert steps.max() < 0.03  # the tone's own are 0.013


def test_the_echo_canceller_sees_both_sides_of_the_same_moment() -> None:
    seen: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []

    def echo(near: NDArray[np.float32], far: NDArray[np.float32]) -> NDArray[np.float32]:
        seen.append((near.copy(), far.copy()))
        return near - far

    capture = Capture(48_000, echo=echo, clock=VirtualClock())
    rng = np.random.default_rng(1)
    for _ in range(30):
        far = rng.uniform(-0.4, 0.4, 333).astype(np.float32)  # no multiple of the canceller's block
        capture.push(far, far)
    capture.skip(700)
    while (heard := capture.read(240, 0.0)) is not None:
        assert np.abs(heard).max() < 1e-6
    assert len(seen) > 10
    assert all(near.shape == (480,) and np.array_equal(near, far) for near, far in seen)


def test_a_closed_capture_ends() -> None:
    capture = Capture(clock=VirtualClock())
    capture.close()
    with pytest.raises(EndOfAudio):
        capture.read(FRAME, 1.0)
