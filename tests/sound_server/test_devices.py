"""Microphone and speaker on a real sound server: what is said arrives, what is written is played, and a card that is
pulled out comes back."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from pymoshi.audio import stream as streams
from pymoshi.audio.devices import Direction, list_devices
from pymoshi.audio.files import SAMPLE_RATE
from pymoshi.audio.ports import PortStats
from pymoshi.audio.stream import DeviceStream, open_duplex, open_input, open_output
from pymoshi.conversation.controls import Controls
from pymoshi.conversation.events import Event, FrameDone, State, StateChanged
from pymoshi.conversation.loop import Loop
from pymoshi.errors import AudioDeviceError
from pymoshi.session import Frame
from sound_server.card import RATE, SoundCard

Samples = NDArray[np.float32]

FRAME = 1920
SECONDS = 5
PATIENCE = 400  # frames (32 s) that a test waits for what must come


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver may hold back more than it would: tests of fidelity share their machine with others."""
    monkeypatch.setattr(streams, "_LATENCIES", (0.3,))


def speech(rate: int, seconds: float = SECONDS) -> Samples:
    """Noise below 1 kHz, louder and softer four times a second: no stretch of it is like another. float32 [n]."""
    n = round(seconds * rate)
    noise = np.random.default_rng(5).standard_normal(round(seconds * 2000))
    smooth = np.interp(np.arange(n) / rate, np.arange(noise.size) / 2000, noise)
    return (0.1 * smooth * (1.2 + np.sin(2 * np.pi * 4 * np.arange(n) / rate))).astype(np.float32)


@dataclass
class Match:
    """A recording compared with what was played, in pieces of 100 ms."""

    lags: list[float] = field(default_factory=list)
    """Seconds by which each piece is late."""
    likeness: list[float] = field(default_factory=list)
    """Correlation, 1 for the same."""


def match(said: Samples, heard: Samples, rate: int) -> Match:
    """Finds each piece of `said` in `heard`, near where the one before was."""
    found = Match()
    piece, room = rate // 10, rate // 20
    size = 1 << (said.size + heard.size).bit_length()
    whole = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(said, size)), size)
    lag = int(np.argmax(whole[: heard.size]))
    for begin in range(0, said.size - piece + 1, piece):
        part = said[begin : begin + piece].astype(float)
        first = max(0, begin + lag - room)
        window = heard[first : first + piece + 2 * room].astype(float)
        if window.size < piece:
            break
        products = np.correlate(window, part)
        energies = np.convolve(window**2, np.ones(piece), "valid")
        scores = products / np.sqrt(np.maximum(energies, 1e-12) * (part @ part))
        best = int(np.argmax(scores))
        found.lags.append((first + best - begin) / rate)
        found.likeness.append(float(scores[best]))
    return found


def read_while(stream: DeviceStream, busy: Callable[[], bool], more: int = 15) -> Samples:
    """What the microphone gives until `busy` is over, and some frames more."""
    frames: list[Samples] = []
    for _ in range(PATIENCE):
        frame = stream.read(FRAME, timeout=2.0)
        assert frame is not None, "the microphone fell silent"
        frames.append(frame)
        more -= not busy()
        if more == 0:
            return np.concatenate(frames)
    raise AssertionError("the test took too long")


def wait_for(stream: DeviceStream, wanted: Callable[[PortStats], bool]) -> PortStats:
    """Goes on as a conversation does, frame by frame, until `wanted`."""
    for _ in range(PATIENCE):
        stream.read(FRAME, timeout=0.08)
        stream.write(np.zeros(FRAME, np.float32))
        if wanted(stats := stream.stats()):
            return stats
    raise AssertionError(f"waited in vain; at last: {stats}")


def test_the_card_is_listed(card: SoundCard) -> None:
    assert {"card", "card_mic", "card_speaker"} <= {device.name for device in list_devices()}


def gaps(found: Match, steady: float) -> int:
    """Pieces that are not there, or not where the one before them lets expect: within `steady` seconds."""
    missing = sum(likeness < 0.95 for likeness in found.likeness)
    leaps = sum(abs(later - lag) > steady for lag, later in zip(found.lags, found.lags[1:], strict=False))
    return missing + leaps


def test_what_is_said_arrives_without_gaps(card: SoundCard, unhurried: None) -> None:
    said = speech(RATE)
    with open_input("card_mic") as stream:
        wait_for_sound(stream)
        before = stream.stats()
        mouth = card.speak(said)
        heard = read_while(stream, lambda: mouth.poll() is None)
        missed = stream.stats().xruns - before.xruns
        assert stream.stats().overruns == 0
    found = match(speech(SAMPLE_RATE), heard, SAMPLE_RATE)
    assert len(found.lags) == SECONDS * 10
    assert gaps(found, steady=0.002) <= 2 * missed  # what the driver missed on a busy machine is counted, not hidden


def test_what_is_written_is_played_without_gaps(card: SoundCard, unhurried: None) -> None:
    # Something else comes before it, while the queue finds its length, and after it. No silence: that may be left out.
    other = speech(SAMPLE_RATE)[::-1][:SAMPLE_RATE]
    said = np.concatenate([other, speech(SAMPLE_RATE), other])
    ear = card.listen()
    with open_output("card_speaker") as stream:
        feed(stream, said[:SAMPLE_RATE])
        before = stream.stats()
        feed(stream, said[SAMPLE_RATE:])
        after = stream.stats()
        for _ in range(100):
            stream.read(1, timeout=0.01)  # what the driver holds back is played
    found = match(speech(RATE), ear.stop(), RATE)
    missed = after.xruns - before.xruns + after.underruns - before.underruns
    assert after.trimmed == before.trimmed
    assert len(found.lags) == SECONDS * 10
    assert (
        gaps(found, steady=0.002) <= 2 * missed
    )  # the queue moves by 0.2 % of the time; leaps are counted, not hidden
    assert np.median(found.likeness) > 0.95


def feed(stream: DeviceStream, pcm: Samples) -> None:
    """Writes `pcm` as the device needs it, and returns when all but little of it is played."""
    for begin in range(0, pcm.size, FRAME // 4):
        for _ in range(PATIENCE):
            if stream.queued() < 0.15 * SAMPLE_RATE:
                break
            stream.read(1, timeout=0.01)  # there is no microphone: this waits
        stream.write(pcm[begin : begin + FRAME // 4])


def wait_for_sound(stream: DeviceStream) -> None:
    """Until the device delivers steadily; what it took to start is of no interest."""
    steady = 0
    for _ in range(PATIENCE):
        steady = 0 if stream.read(FRAME, timeout=0.5) is None else steady + 1
        if steady == 12:
            return
    raise AssertionError("the microphone does not start")


# ---- going away --------------------------------------------------------------------------------------------------


def _pull_out(card: SoundCard) -> None:
    card.unplug()


def _crash(card: SoundCard) -> None:
    card.stop_server()


def _plug_in(card: SoundCard) -> None:
    card.plug_in()


def _restart(card: SoundCard) -> None:
    card.start_server()


@pytest.mark.parametrize("names", [("card", "card"), ("card_mic", "card_speaker")], ids=["one device", "two devices"])
@pytest.mark.parametrize(("go", "come"), [(_pull_out, _plug_in), (_crash, _restart)], ids=["unplugged", "server crash"])
def test_a_card_that_goes_comes_back(
    card: SoundCard,
    names: tuple[str, str],
    go: Callable[[SoundCard], None],
    come: Callable[[SoundCard], None],
    unhurried: None,
) -> None:
    with open_duplex(*names, echo_cancel=False) as stream:
        wait_for_sound(stream)
        go(card)
        lost = wait_for(stream, lambda stats: stats.lost)
        assert "card" in lost.detail
        assert stream.devices == {}
        come(card)
        back = wait_for(stream, lambda stats: not stats.lost)
        assert back.detail.startswith("Sound is back")
        card.settle()
        wait_for_sound(stream)
        mouth = card.speak(speech(RATE, 1.0))
        heard = read_while(stream, lambda: mouth.poll() is None)
    # On a busy machine not all of it, but what comes is what was said.
    assert sum(likeness > 0.95 for likeness in match(speech(SAMPLE_RATE, 1.0), heard, SAMPLE_RATE).likeness) >= 3


def test_a_card_that_is_away_at_the_start_is_an_error(card: SoundCard) -> None:
    with pytest.raises(AudioDeviceError, match="no microphone 'headset'"):
        open_duplex("headset", "card_speaker")
    card.stop_server()
    try:
        with pytest.raises(AudioDeviceError, match="cannot be opened"):
            open_duplex("card", "card")
    finally:
        card.start_server()


# ---- a conversation ----------------------------------------------------------------------------------------------


class Parrot:
    """A model without a codec that says what it hears."""

    def step(self, pcm: ArrayLike) -> Frame:
        audio = np.array(pcm, np.float32)
        return Frame(audio, "", None, None, np.zeros(0, np.int32), 0, 0.0, 0.0, 0.0)

    def force_text(self, token: int | None) -> None:
        del token


def test_a_conversation_lives_through_the_loss_of_its_card(card: SoundCard) -> None:
    events: list[Event] = []
    controls = Controls()
    frames = 0

    def see(event: Event) -> None:
        nonlocal frames
        events.append(event)
        frames += isinstance(event, FrameDone)
        match frames if isinstance(event, FrameDone) else 0:
            case 25:
                card.unplug()
            case 75:
                card.plug_in()
        if frames > PATIENCE or (frames > 75 and not stream.stats().lost):
            controls.stop()

    with open_duplex("card", "card") as stream:
        Loop(Parrot(), stream, stream, see, controls=controls).run()
    states = [event.state for event in events if isinstance(event, StateChanged)]
    assert State.DEVICE_LOST in states
    assert 75 < frames <= PATIENCE  # it went on without the card, and ended when that was back
    assert [event.record.index for event in events if isinstance(event, FrameDone)] == list(range(frames))


def test_two_conversations_share_a_card(card: SoundCard) -> None:
    with open_duplex("card", "card", echo_cancel=False) as first:
        with open_duplex("card", "card", echo_cancel=False) as second:
            wait_for_sound(second)
        wait_for_sound(first)
        assert first.devices.keys() == set(Direction)
        assert not first.stats().lost
