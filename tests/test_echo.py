"""The model does not hear itself, and hears the user while it speaks itself."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from echo import level, share
from numpy.typing import NDArray

from pymoshi.audio import echo
from pymoshi.audio.echo import EchoCanceller, WebRtcCanceller, open_canceller
from pymoshi.audio.reference import EchoReference

Samples = NDArray[np.float32]

RATE = 24_000
BLOCK = RATE // 100


def voice(seconds: float, seed: int = 2) -> Samples:
    """Noise with a voice's spectrum, four syllables a second and pauses, at -20 dBFS. float32 [n]."""
    n = round(seconds * RATE)
    generator = np.random.default_rng(seed)
    frequency = np.fft.rfftfreq(n, 1 / RATE)
    shape = (frequency > 100) / (1 + (frequency / 700) ** 2)
    noise = np.fft.irfft(np.fft.rfft(generator.standard_normal(n)) * shape, n)
    count = round(seconds * 4) + 2
    peaks = generator.uniform(0.3, 1, count) * (generator.uniform(0, 1, count) < 0.7)
    loud = noise * np.interp(np.arange(n) * 8 / RATE, np.arange(2 * count), np.stack([peaks, 0 * peaks], 1).ravel())
    voiced: Samples = (0.1 * loud / np.sqrt((loud**2).mean())).astype(np.float32)
    return voiced


def in_a_room(played: Samples, delay: float = 0.06) -> Samples:
    """What a microphone gets of it, by the straight way and over the walls."""
    n = RATE // 4
    tail = np.random.default_rng(1).standard_normal(n) * 10 ** (-np.arange(n) / n * 2.5) * 0.2
    tail[0] = 1.0
    tail *= 0.5 / np.sqrt((tail**2).sum())  # half as loud as it was played
    size = played.size + n
    heard = np.fft.irfft(np.fft.rfft(played, size) * np.fft.rfft(tail, size), size)[: played.size]
    late = np.concatenate([np.zeros(round(delay * RATE)), heard])[: played.size]
    return late.astype(np.float32)


def cancelled(canceller: EchoCanceller, near: Samples, far: Samples) -> Samples:
    """Block by block."""
    blocks = range(0, near.size - BLOCK + 1, BLOCK)
    return np.concatenate([canceller.process(near[at : at + BLOCK], far[at : at + BLOCK]) for at in blocks])


def test_the_models_own_voice_is_taken_out() -> None:
    far = voice(12)
    near = in_a_room(far)
    out = cancelled(WebRtcCanceller(RATE), near, far)
    assert level(near[6 * RATE :]) - level(out[6 * RATE :]) > 20


def test_the_user_is_heard_while_the_model_speaks() -> None:
    far, user = voice(20), voice(20, seed=3)
    user[: 8 * RATE] = 0
    in_room = in_a_room(far)
    out = cancelled(WebRtcCanceller(RATE), in_room + user, far)
    both = slice(10 * RATE, 20 * RATE)
    assert share(user[both], out[both]) > -4
    assert share(in_room[both], out[both]) < share(in_room[both], (in_room + user)[both]) - 10


def test_a_user_alone_is_left_as_he_is() -> None:
    user = voice(10, seed=3)
    out = cancelled(WebRtcCanceller(RATE), user, np.zeros_like(user))
    assert abs(share(user[2 * RATE :], out[2 * RATE :])) < 0.5


def test_an_echo_that_comes_later_than_before_is_found_again() -> None:
    far = voice(24)
    near = np.concatenate([in_a_room(far)[: 10 * RATE], in_a_room(far, delay=0.12)[10 * RATE :]])
    out = cancelled(WebRtcCanceller(RATE), near, far)
    assert level(near[20 * RATE :]) - level(out[20 * RATE :]) > 20


@pytest.mark.parametrize("rate", [16_000, 24_000, 44_100, 48_000])
def test_every_usual_rate_is_taken(rate: int) -> None:
    canceller = open_canceller(rate)
    assert canceller is not None
    canceller.set_delay(0.05)
    block = np.zeros(rate // 100, np.float32)
    assert canceller.process(block, block).shape == block.shape


def test_a_rate_without_blocks_of_10_ms_has_no_canceller(caplog: pytest.LogCaptureFixture) -> None:
    assert open_canceller(11_025) is None
    assert "11025" in caplog.text


# ---- packages that are there, or not -----------------------------------------------------------------------------


def test_without_a_package_there_is_no_canceller(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pywebrtc_audio", "livekit"):
        monkeypatch.setitem(sys.modules, name, None)
    assert open_canceller(48_000) is None
    assert "pip install 'pymoshi[aec]'" in echo.INSTALL


def test_a_package_that_does_not_work_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(rate: int) -> EchoCanceller:
        raise RuntimeError("no such symbol")

    monkeypatch.setattr(echo, "_CANCELLERS", (broken,))
    assert open_canceller(48_000) is None
    assert "no such symbol" in caplog.text


def test_livekit_is_given_the_far_side_first_in_16_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, Any]] = []

    class Module:
        def __init__(self, *, echo_cancellation: bool) -> None:
            assert echo_cancellation

        def process_reverse_stream(self, frame: Any) -> None:
            calls.append(("far", np.frombuffer(frame.data, np.int16)[0]))

        def process_stream(self, frame: Any) -> None:
            calls.append(("near", np.frombuffer(frame.data, np.int16)[0]))

        def set_stream_delay_ms(self, delay: int) -> None:
            calls.append(("delay", delay))

    def frame(data: bytes, rate: int, channels: int, n: int) -> SimpleNamespace:
        assert (rate, channels, n) == (RATE, 1, BLOCK)
        return SimpleNamespace(data=data)

    package = ModuleType("livekit")
    package.rtc = SimpleNamespace(AudioProcessingModule=Module, AudioFrame=frame)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "livekit", package)
    canceller = echo.LiveKitCanceller(RATE)
    canceller.set_delay(0.06)
    out = canceller.process(np.full(BLOCK, 0.5, np.float32), np.full(BLOCK, -2.0, np.float32))
    assert calls == [("far", -32767), ("delay", 60), ("near", 16383)]
    assert np.allclose(out, 0.5, atol=1e-4)


# ---- two devices -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("played", "recorded", "ppm"), [(48_000, 48_000, 0), (48_000, 16_000, 200), (44_100, 48_000, -200)]
)
def test_what_another_device_plays_keeps_its_distance(played: int, recorded: int, ppm: int) -> None:
    """A tone by the speaker's clock stays in step with the microphone's, though the clocks differ and jitter."""
    tone, seconds = 200.0, 40
    generator = np.random.default_rng(0)
    reference = EchoReference(played, recorded)
    rate = played * (1 + ppm * 1e-6)
    blocks: list[Samples] = []
    at, next_out, next_in = 0, 0.0, 0.003
    while next_in < seconds:
        if next_out <= next_in:
            n = np.arange(at, at + played // 100)
            sound = np.sin(2 * np.pi * tone * n / rate).astype(np.float32)
            reference.played(sound, next_out + generator.uniform(0, 0.004))
            at += played // 100
            next_out = at / rate
        else:
            blocks.append(reference.take(recorded // 100, next_in + generator.uniform(0, 0.004)))
            next_in = 0.003 + len(blocks) / 100
    heard = np.concatenate(blocks)
    turns = heard * np.exp(-2j * np.pi * tone * np.arange(heard.size) / recorded)
    phases = np.angle(turns[20 * recorded :].reshape(-1, recorded).mean(axis=1)) / (2 * np.pi * tone)
    assert np.ptp(np.unwrap(phases, period=1 / tone)) < 0.0005  # s, over twenty
    assert np.abs(turns[20 * recorded :].reshape(-1, recorded).mean(axis=1)).min() > 0.48


def test_a_speaker_that_stalls_leaves_silence_and_is_found_again() -> None:
    reference = EchoReference(48_000, 48_000)
    ones = np.ones(480, np.float32)
    for turn in range(10):
        reference.played(ones, turn * 0.01)
    loud = [float(reference.take(480, 0.1 + turn * 0.01).mean()) for turn in range(30)]
    assert loud[1] == 1.0
    assert loud[-1] == 0.0
    for turn in range(10):
        reference.played(ones, 0.5 + turn * 0.01)
    assert float(reference.take(480, 0.6)[-1]) == 1.0
