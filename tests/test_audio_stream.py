"""Opening sound devices, losing them and getting them back, on a PortAudio of the test's own."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pymoshi.audio import devices, line, stream
from pymoshi.audio.devices import Direction
from pymoshi.audio.ports import EndOfAudio
from pymoshi.audio.stream import DeviceStream, open_duplex
from pymoshi.errors import AudioDeviceError
from realtime.virtual import VirtualClock

Samples = NDArray[np.float32]
IN, OUT = Direction.INPUT, Direction.OUTPUT


class PortAudioError(Exception):
    pass


class FakeStream:
    """A stream of `FakePortAudio`, whose callback the test calls."""

    closed = True  # one that could not be opened

    def __init__(self, owner: "FakePortAudio", kind: str, **options: Any) -> None:
        pair = kind == "duplex"
        names = [owner.cards[index][0] for index in (options["device"] if pair else [options["device"]])]
        owner.tried.append((kind, options["samplerate"], options["channels"], options["latency"]))
        if not owner.takes(options["samplerate"]):
            raise PortAudioError("Invalid sample rate")
        if any(name in owner.busy for name in names):
            raise PortAudioError("Device unavailable")
        self.kind, self.names, self.options = kind, names, options
        self.samplerate = float(options["samplerate"])
        self.latency = (0.02, 0.03) if pair else 0.02
        self.active = self.closed = False
        owner.streams.append(self)

    def start(self) -> None:
        self.active = True

    def abort(self) -> None:
        self.active = False

    def close(self) -> None:
        self.closed = True

    def turn(self, recorded: float = 0.0, *, xrun: bool = False) -> Samples:
        """10 ms go by. Returns what is played, [n, channels]."""
        n = self.options["blocksize"]
        status = SimpleNamespace(
            input_overflow=xrun, input_underflow=False, output_underflow=False, output_overflow=False
        )
        channels = self.options["channels"]
        into = np.full((n, channels[0] if self.kind == "duplex" else channels), recorded, np.float32)
        out = np.ones((n, channels[-1] if self.kind == "duplex" else channels), np.float32)
        sides = {"duplex": (into, out), "input": (into,), "output": (out,)}[self.kind]
        self.options["callback"](*sides, n, None, status)
        return out


class FakePortAudio:
    """A machine with sound cards that the test plugs in and out."""

    PortAudioError = PortAudioError
    _StreamBase = FakeStream

    def __init__(self) -> None:
        self.cards: list[tuple[str, int, int]] = [("Headset", 1, 2), ("Webcam", 2, 0), ("Speakers", 0, 2)]
        self.busy: set[str] = set()
        self.takes: Callable[[int], bool] = lambda rate: rate == 48_000
        self.streams: list[FakeStream] = []
        self.tried: list[tuple[str, int, Any, Any]] = []
        self.refreshed = 0
        self.default = SimpleNamespace(device=(0, 0))

    def query_devices(self) -> list[dict[str, Any]]:
        return [
            {
                "index": index,
                "name": name,
                "hostapi": 0,
                "max_input_channels": inputs,
                "max_output_channels": outputs,
                "default_samplerate": 48_000.0,
            }
            for index, (name, inputs, outputs) in enumerate(self.cards)
        ]

    def query_hostapis(self) -> list[dict[str, Any]]:
        return [{"name": "Core Audio"}]

    def Stream(self, **options: Any) -> FakeStream:
        return FakeStream(self, "duplex", **options)

    def InputStream(self, **options: Any) -> FakeStream:
        return FakeStream(self, "input", **options)

    def OutputStream(self, **options: Any) -> FakeStream:
        return FakeStream(self, "output", **options)

    def _terminate(self) -> None:
        self.refreshed += 1

    def _initialize(self) -> None:
        pass

    @property
    def open(self) -> list[FakeStream]:
        return [made for made in self.streams if not made.closed]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakePortAudio]:
    fake = FakePortAudio()
    for module in (devices, line):
        monkeypatch.setattr(module, "portaudio", lambda: fake)
    yield fake
    for made in fake.open:  # `refresh_devices` asks whether any is open in this process
        made.close()


def opened(clock: VirtualClock, microphone: str | None, speaker: str | None, **options: Any) -> DeviceStream:
    return DeviceStream({IN: microphone, OUT: speaker}, clock=clock, watched=False, **options)


def go_on(clock: VirtualClock, machine: FakePortAudio, seconds: float, **turn: Any) -> None:
    """Time goes by, and the devices call back."""
    for _ in range(round(seconds * 100)):
        clock.sleep(0.01)
        for made in machine.open:
            if made.active:
                made.turn(**turn)


# ---- opening -----------------------------------------------------------------------------------------------------


def test_one_device_is_one_stream(machine: FakePortAudio) -> None:
    with opened(VirtualClock(), "headset", "headset"):
        assert [made.kind for made in machine.open] == ["duplex"]
        assert machine.open[0].options["blocksize"] == 480
        assert machine.open[0].options["channels"] == (1, 2)


def test_two_devices_are_two_streams(machine: FakePortAudio) -> None:
    with opened(VirtualClock(), "webcam", "speakers") as both:
        assert [(made.kind, made.names) for made in machine.open] == [("input", ["Webcam"]), ("output", ["Speakers"])]
        assert {way: device.name for way, device in both.devices.items()} == {IN: "Webcam", OUT: "Speakers"}
    assert machine.open == []


def test_what_is_recorded_is_read_and_what_is_written_is_played(machine: FakePortAudio) -> None:
    clock = VirtualClock()
    with opened(clock, "headset", "headset") as both:
        both.write(np.full(1920, 0.5, np.float32))
        card = machine.open[0]
        played = np.concatenate([card.turn(recorded=0.25) for _ in range(10)])
        heard = both.read(1920, timeout=0.0)
    assert heard is not None
    assert abs(float(heard[-1]) - 0.25) < 0.01
    assert abs(float(played.max()) - 0.5) < 0.1  # a step rings
    assert (played[:, 0] == played[:, 1]).all()  # all channels alike


def test_the_canceller_gets_what_is_played(machine: FakePortAudio, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs: list[tuple[float, float]] = []

    class Canceller:
        name = "spy"

        def process(self, near: Samples, far: Samples) -> Samples:
            pairs.append((float(near.max()), float(np.abs(far).max())))
            return near

        def set_delay(self, seconds: float) -> None:
            assert 0 < seconds < 1

    monkeypatch.setattr(stream, "open_canceller", lambda rate: Canceller())
    clock = VirtualClock()
    for names in (("headset", "headset"), ("webcam", "speakers")):
        pairs.clear()
        with opened(clock, *names, echo_cancel=True) as both:
            assert both.canceller == "spy"
            for _ in range(10):
                both.write(np.full(1920, 0.5, np.float32))
                go_on(clock, machine, 0.08, recorded=0.25)
                both.read(1920, timeout=0.0)
        assert pairs[-1][0] == 0.25
        assert abs(pairs[-1][1] - 0.5) < 0.05, names


def test_without_a_canceller_the_person_is_told_what_to_do(
    machine: FakePortAudio, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stream, "open_canceller", lambda rate: None)
    with opened(VirtualClock(), "headset", "headset", echo_cancel=True) as both:
        assert both.canceller is None
    assert caplog.text.count("pip install 'pymoshi[aec]'") == 1


def test_a_device_is_opened_at_a_rate_that_it_takes(machine: FakePortAudio) -> None:
    machine.takes = lambda rate: rate == 16_000
    with opened(VirtualClock(), "headset", "headset"):
        assert machine.open[0].samplerate == 16_000


def test_a_device_that_cannot_be_opened_is_named(machine: FakePortAudio) -> None:
    machine.busy = {"Webcam"}
    with pytest.raises(AudioDeviceError, match="The microphone 'Webcam' cannot be opened: Device unavailable"):
        opened(VirtualClock(), "webcam", "speakers")
    assert machine.open == []


def test_a_speaker_that_cannot_be_opened_leaves_no_microphone_open(machine: FakePortAudio) -> None:
    machine.busy = {"Speakers"}
    with pytest.raises(AudioDeviceError, match="The speaker 'Speakers'"):
        opened(VirtualClock(), "webcam", "speakers")
    assert machine.open == []


def test_closing_ends_reading(machine: FakePortAudio) -> None:
    both = open_duplex("headset", "headset", echo_cancel=False)
    both.close()
    both.close()
    assert machine.open == []
    with pytest.raises(EndOfAudio):
        both.read(1920, timeout=0.0)


# ---- losing ------------------------------------------------------------------------------------------------------


def test_a_device_that_stops_is_lost_and_found(machine: FakePortAudio) -> None:
    clock = VirtualClock()
    with opened(clock, "headset", "headset") as both:
        go_on(clock, machine, 4)
        both.look()
        assert not both.stats().lost
        machine.open[0].active = False
        machine.cards = [("Speakers", 0, 2)]
        both.look()
        assert both.stats().lost
        assert "Headset" in both.stats().detail
        for _ in range(3):
            both.look()
        assert both.stats().lost
        machine.cards = [("Speakers", 0, 2), ("Headset", 1, 2)]  # another index
        both.look()
        assert not both.stats().lost
        assert both.stats().detail == "Sound is back: the sound device 'Headset'."
        assert machine.refreshed == 4
        machine.open[0].turn(recorded=0.5)
        assert both.pending() > 0


def test_a_device_that_falls_silent_is_lost(machine: FakePortAudio) -> None:
    clock = VirtualClock()
    with opened(clock, "webcam", "speakers") as both:
        go_on(clock, machine, 4)
        microphone = machine.open[0]
        for _ in range(150):
            clock.sleep(0.01)
            microphone.turn()  # the speaker does not call back any more, and says nothing of it
        both.look()
        assert both.stats().lost


def test_a_device_may_take_its_time_to_start(machine: FakePortAudio) -> None:
    clock = VirtualClock()
    with opened(clock, "headset", "headset") as both:
        clock.sleep(2.5)
        both.look()
        assert not both.stats().lost
        clock.sleep(1)
        both.look()
        assert both.stats().lost


def test_where_no_name_was_given_another_device_takes_over(machine: FakePortAudio) -> None:
    clock = VirtualClock()
    with opened(clock, None, None) as both:
        go_on(clock, machine, 1)
        assert both.devices[OUT].name == "Headset"
        machine.open[0].active = False
        machine.cards = [("Webcam", 2, 0), ("Speakers", 0, 2)]
        machine.default = SimpleNamespace(device=(0, 1))
        machine.takes = lambda rate: rate == 44_100
        both.look()
        both.look()
        assert both.devices[OUT].name == "Speakers"
        go_on(clock, machine, 0.2, recorded=0.5)
        heard = both.read(1920, timeout=0.0)
        assert heard is not None  # resampled from the new rate
        assert abs(float(heard[-1]) - 0.5) < 0.01


def test_portaudio_is_not_restarted_under_somebody_elses_stream(machine: FakePortAudio) -> None:
    clock = VirtualClock()
    with opened(clock, "headset", "headset") as both:
        others = machine.OutputStream(
            samplerate=48_000, blocksize=480, device=2, channels=2, latency="low", callback=None
        )
        machine.open[0].active = False
        both.look()
        both.look()
        assert machine.refreshed == 0
        assert not others.closed
        assert not both.stats().lost


# ---- skipping ----------------------------------------------------------------------------------------------------


def test_missed_sound_is_counted(machine: FakePortAudio) -> None:
    clock = VirtualClock()
    with opened(clock, "headset", "headset") as both:
        go_on(clock, machine, 1)
        machine.open[0].turn(xrun=True)
        assert both.stats().xruns == 1
        clock.sleep(0.5)  # no word from the driver, and no sound either
        machine.open[0].turn()
        assert both.stats().xruns > 1


def test_a_slow_clock_is_no_missed_sound(machine: FakePortAudio) -> None:
    clock = VirtualClock()
    with opened(clock, "headset", "headset") as both:
        for _ in range(60_000):
            clock.sleep(0.01 * 1.0002)
            machine.open[0].turn()
        assert both.stats().xruns == 0


def test_a_device_that_skips_again_and_again_gets_more_room(machine: FakePortAudio) -> None:
    clock = VirtualClock()
    with opened(clock, "headset", "headset") as both:
        for _ in range(4):
            go_on(clock, machine, 5.5, xrun=True)
            both.look()
        assert [latency for *_, latency in machine.tried] == list(stream._LATENCIES)
        assert not both.stats().lost
        assert both.stats().detail == ""
        assert both.stats().xruns > 1000


def test_latency_tells_of_the_driver(machine: FakePortAudio) -> None:
    with opened(VirtualClock(), "headset", "headset") as both:
        assert 0.05 <= both.stats().latency < 0.1
