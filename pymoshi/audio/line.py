"""The way to a sound card: PortAudio's streams, whose callbacks move samples between the card and the rings.

One stream if microphone and speaker are one device, else two. Blocks are 10 ms, at the device's own rate.
"""

import atexit
import gc
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import numpy as np

from pymoshi.audio.capture import Capture
from pymoshi.audio.clock import Clock, SystemClock
from pymoshi.audio.devices import AudioDevice, Direction, portaudio
from pymoshi.audio.playout import Playout
from pymoshi.audio.ports import Samples
from pymoshi.audio.reference import EchoReference
from pymoshi.errors import AudioDeviceError

log = logging.getLogger("pymoshi")

_BLOCKS_A_SECOND: Final = 100
_RATES: Final = (48_000, 44_100, 32_000, 24_000, 16_000)
_SILENT: Final = 1.0  # s without a callback: the device is gone, whatever the driver says
_STARTING: Final = 3.0  # s that it may take to begin
_GIVE_UP: Final = 2.0  # s to wait for a driver that hangs
_MISSING: Final = 0.25  # s of sound that did not come: some drivers do not tell
_PATIENCE: Final = 0.001  # by how much a device's clock may be slow without being said to miss anything

_portaudio_lock = threading.Lock()  # nobody may open a stream while PortAudio looks for devices anew


class _Turns:
    """What a callback notes about its calls; read by other threads."""

    def __init__(self, rate: int, now: float) -> None:
        self._rate = rate
        self._started: float | None = None
        self._samples = 0
        self._lag = 0.0
        self.last = now
        self.xruns = 0

    def note(self, n: int, now: float, status: Any) -> None:
        if self._started is None:
            self._started = now
        lag = now - self._started - self._samples / self._rate
        allowed = self._lag + _PATIENCE * n / self._rate
        missed = lag > allowed + _MISSING
        self._lag = lag if missed else min(lag, allowed)
        told = status and (
            status.input_overflow or status.input_underflow or status.output_underflow or status.output_overflow
        )
        self.xruns += bool(missed or told)
        self._samples += n
        self.last = now


class Line:
    """Streams that are open, to one device or two. `start` begins, `close` ends; not used again after that.

    latency: seconds that the driver may hold back, about; "low": what it takes to be the least.

    Raises AudioDeviceError if one of the devices cannot be opened.
    """

    def __init__(
        self,
        microphone: AudioDevice | None,
        speaker: AudioDevice | None,
        *,
        latency: str | float = "low",
        clock: Clock | None = None,
    ) -> None:
        self._latency = latency
        self.microphone, self.speaker = microphone, speaker
        self._clock = clock or SystemClock()
        self._capture = Capture()  # until `start`
        self._playout = Playout()
        self._reference: EchoReference | None = None
        self._streams: list[Any] = []
        self._left = False
        sounddevice = portaudio()
        with _portaudio_lock:
            try:
                with _hushed():
                    self._open(sounddevice)
            except BaseException:
                self.close()
                raise

    def _open(self, sounddevice: Any) -> None:
        microphone, speaker = self.microphone, self.speaker
        if microphone is not None and speaker is not None and microphone.index == speaker.index:
            both = self._add(sounddevice, sounddevice.Stream, (microphone, speaker), self._on_both)
            self.input_latency, self.output_latency = both.latency
            self.input_rate = self.output_rate = round(both.samplerate)
        else:
            self.input_latency = self.output_latency = 0.0
            self.input_rate = self.output_rate = _RATES[0]
            if microphone is not None:
                recording = self._add(sounddevice, sounddevice.InputStream, (microphone,), self._on_input)
                self.input_rate, self.input_latency = round(recording.samplerate), recording.latency
            if speaker is not None:
                playing = self._add(sounddevice, sounddevice.OutputStream, (speaker,), self._on_output)
                self.output_rate, self.output_latency = round(playing.samplerate), playing.latency
        now = self._clock.now()
        self._in, self._out = _Turns(self.input_rate, now), _Turns(self.output_rate, now)

    def _add(self, sounddevice: Any, kind: Any, devices: tuple[AudioDevice, ...], callback: Callable[..., None]) -> Any:
        """Opens a stream in the first of the ways that the devices take."""
        directions = (Direction.INPUT, Direction.OUTPUT) if len(devices) == 2 else _directions(self, devices[0])
        first_error: Exception | None = None
        for rate in _rates(devices):
            for channels in _channels(devices, directions):
                try:
                    stream = kind(
                        samplerate=rate,
                        blocksize=rate // _BLOCKS_A_SECOND,
                        device=_one_or_two([device.index for device in devices]),
                        channels=_one_or_two(channels),
                        dtype="float32",
                        latency=self._latency,
                        callback=callback,
                    )
                except (sounddevice.PortAudioError, ValueError) as error:
                    first_error = first_error or error
                    continue
                self._streams.append(stream)
                return stream
        names = " and ".join(f"the {way.noun} {device.name!r}" for way, device in zip(directions, devices, strict=True))
        raise AudioDeviceError(
            f"{names[0].upper()}{names[1:]} cannot be opened: {first_error}. Does another program hold it, or is this "
            "one not allowed to use it? Others are listed by: pymoshi devices --audio"
        ) from first_error

    # ---- running -------------------------------------------------------------------------------------------------

    def start(self, capture: Capture, playout: Playout) -> None:
        """Sound begins to flow. Raises AudioDeviceError if the device does not start."""
        self._capture, self._playout = capture, playout
        if len(self._streams) == 2:
            self._reference = EchoReference(self.output_rate, self.input_rate)
        self._started = self._clock.now()
        try:
            for stream in self._streams:
                stream.start()
        except portaudio().PortAudioError as error:
            self.close()
            raise AudioDeviceError(f"The sound device does not start: {error}") from error

    def _on_both(self, recorded: Samples, out: Samples, n: int, _time: Any, status: Any) -> None:
        now = self._clock.now()
        played = self._play(out, n)
        if self._left:
            return
        self._capture.push(recorded, played)
        self._in.note(n, now, status)
        self._out.note(n, now, None)

    def _on_output(self, out: Samples, n: int, _time: Any, status: Any) -> None:
        now = self._clock.now()
        played = self._play(out, n)
        if self._reference is not None:
            self._reference.played(played, now)
        self._out.note(n, now, status)

    def _on_input(self, recorded: Samples, n: int, _time: Any, status: Any) -> None:
        if self._left:
            return
        now = self._clock.now()
        self._capture.push(recorded, None if self._reference is None else self._reference.take(n, now))
        self._in.note(n, now, status)

    def _play(self, out: Samples, n: int) -> Samples:
        """Fills the device's block [n, channels], all channels alike. Returns what is played, [n]."""
        played = np.zeros(n, np.float32)
        if not self._left:
            self._playout.pull(played)
        out[:] = played[:, np.newaxis]
        return played

    @property
    def devices(self) -> dict[Direction, AudioDevice]:
        """The open ones."""
        ends = {Direction.INPUT: self.microphone, Direction.OUTPUT: self.speaker}
        return {way: device for way, device in ends.items() if device is not None}

    @property
    def alive(self) -> bool:
        """Whether every stream still calls back."""
        now = self._clock.now()
        if not all(stream.active for stream in self._streams):
            return False
        turns = {Direction.INPUT: self._in, Direction.OUTPUT: self._out}
        heard = min(turns[way].last for way in self.devices)
        return now - heard <= _SILENT or now - self._started <= _STARTING

    @property
    def xruns(self) -> int:
        """Times that sound was missed, in either direction."""
        return self._in.xruns + self._out.xruns

    def leave(self) -> None:
        """The rings are somebody else's from now on, even if a device that was thought to be gone calls back."""
        self._left = True

    def close(self) -> None:
        """Ends the streams, without waiting for what is still to be played; takes 2 s at most, even if a driver hangs.

        That happens: ALSA's plugin for PulseAudio may never come back once the server has died.
        """
        streams, self._streams = self._streams, []
        if not streams:
            return
        closer = threading.Thread(target=_end, args=(streams,), name="pymoshi-audio-close", daemon=True)
        closer.start()
        closer.join(_GIVE_UP)
        if closer.is_alive():
            log.info("The driver of a sound device hangs; leaving it to itself")
            # At the end of the program PortAudio would wait for it, for ever.
            atexit.unregister(portaudio()._exit_handler)


def _end(streams: list[Any]) -> None:
    for stream in streams:
        stream.abort()
        stream.close()


def refresh_devices() -> None:
    """Lets PortAudio see what was plugged in or out, which it looks for only when it starts.

    It stays as it is while anything in this process, be it ours or not, has a stream open: that one would break.
    """
    sounddevice = portaudio()
    with _portaudio_lock:
        if any(issubclass(type(thing), sounddevice._StreamBase) and not thing.closed for thing in gc.get_objects()):
            return
        with suppress(sounddevice.PortAudioError):
            sounddevice._terminate()
        try:
            sounddevice._initialize()
        except sounddevice.PortAudioError as error:
            raise AudioDeviceError(f"PortAudio cannot start: {error}") from error


@contextmanager
def _hushed() -> Iterator[None]:
    """Without what PortAudio writes to stderr of each failure, into the terminal's picture; errors say it as well."""
    try:
        kept = os.dup(2)
    except OSError:  # there is no stderr
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


# ---- what a device takes -----------------------------------------------------------------------------------------


def _directions(line: Line, device: AudioDevice) -> tuple[Direction, ...]:
    return (Direction.INPUT,) if device is line.microphone else (Direction.OUTPUT,)


def _rates(devices: Iterable[AudioDevice]) -> list[int]:
    """To be tried in this order: the device's own, which takes no resampling in the driver; then the usual ones."""
    # Through ALSA, PortAudio says 44.1 kHz of every device that takes it, though nearly all run at 48.
    own = [device.sample_rate for device in devices if device.host != "ALSA" and device.sample_rate % 100 == 0]
    return list(dict.fromkeys([*own, *_RATES]))


def _channels(devices: tuple[AudioDevice, ...], directions: tuple[Direction, ...]) -> list[list[int]]:
    """To be tried in this order: two, as a single one may be only the left one of two; all; one."""
    most = [device.channels(way) for device, way in zip(devices, directions, strict=True)]
    ways = [[min(2, n) for n in most], most, [1 for _ in most]]
    return [way for place, way in enumerate(ways) if way not in ways[:place]]


def _one_or_two(values: list[int]) -> Any:
    """As sounddevice takes it: a pair for both directions, a number for one."""
    return tuple(values) if len(values) == 2 else values[0]
