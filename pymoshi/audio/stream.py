"""Microphone and speaker as a conversation's source and sink, for as long as it lasts.

A device may go away: a headset is unplugged, a sound server ends. Then there is no sound, `stats()` says so (the
conversation goes on in silence), and the device is looked for once a second. One that was named is waited
for; otherwise the one that the system then prefers takes over.
"""

import logging
import threading
from dataclasses import replace
from types import TracebackType
from typing import Final, Self

from pymoshi.audio.capture import Capture
from pymoshi.audio.clock import Clock, SystemClock
from pymoshi.audio.devices import AudioDevice, Direction, find_device
from pymoshi.audio.echo import INSTALL, EchoCanceller, open_canceller
from pymoshi.audio.line import Line, refresh_devices
from pymoshi.audio.playout import Playout
from pymoshi.audio.ports import PortStats, Samples
from pymoshi.errors import AudioDeviceError

__all__ = ["DeviceStream", "open_duplex", "open_input", "open_output"]

log = logging.getLogger("pymoshi")

_LOOK: Final = 0.1  # s between two looks at a device that is there
_RETRY: Final = 1.0  # s between two attempts to get it back
_GIVE_UP: Final = 2.0  # s that `close` waits for a driver that hangs in opening
_LOST: Final = "Lost"
_LATENCIES: Final = ("low", 0.04, 0.08)  # s that the device may hold back, in the order in which they are tried
_TOO_MANY: Final = 5  # xruns within `_WINDOW` s: this machine needs more room
_WINDOW: Final = 5.0


def open_duplex(
    input: str | int | None = None, output: str | int | None = None, *, echo_cancel: bool = True
) -> "DeviceStream":
    """Microphone and speaker, as one object that is source and sink.

    input, output: index, name or part of a name; None: the remembered device, or the system's default.
    echo_cancel: take what the speaker plays out of what the microphone records; False for headphones.

    Raises AudioDeviceError if a device is not there or cannot be opened, or if PortAudio is not installed.
    """
    return DeviceStream({Direction.INPUT: input, Direction.OUTPUT: output}, echo_cancel=echo_cancel)


def open_input(input: str | int | None = None) -> "DeviceStream":
    """The microphone alone; otherwise as `open_duplex`."""
    return DeviceStream({Direction.INPUT: input})


def open_output(output: str | int | None = None) -> "DeviceStream":
    """The speaker alone; otherwise as `open_duplex`."""
    return DeviceStream({Direction.OUTPUT: output})


class DeviceStream:
    """Devices that are open, and opened again when they come back: an AudioSource and an AudioSink. A context manager.

    wanted: what was asked for, by direction; a direction that is absent is not opened.
    echo_cancel: as in `open_duplex`.
    watched: False if `look` is called by whoever made this, instead of by a thread.
    """

    def __init__(
        self,
        wanted: dict[Direction, str | int | None],
        *,
        echo_cancel: bool = False,
        clock: Clock | None = None,
        watched: bool = True,
    ) -> None:
        self._wanted = wanted
        self._echo_wanted = echo_cancel and len(wanted) == 2
        self._clock = clock or SystemClock()
        self._canceller: EchoCanceller | None = None
        self._xruns = 0  # of lines that were closed
        self._detail = ""
        self._latency = 0  # index of `_LATENCIES`
        self._counted = (self._clock.now(), 0)  # when xruns were last counted, and how many there were
        self._line: Line | None = None
        self._closing = threading.Event()

        line = self._open()
        self._capture, self._playout = self._capture_for(line), Playout(line.output_rate)
        if self._echo_wanted and self._canceller is None:
            log.warning(INSTALL)
        line.start(self._capture, self._playout)
        self._line = line
        self._watcher = threading.Thread(target=self._watch, name="pymoshi-audio-watch", daemon=True)
        if watched:
            self._watcher.start()

    @property
    def source(self) -> Self:
        """What a conversation hears: this object, if it has a microphone."""
        return self

    @property
    def sink(self) -> Self:
        """Where a conversation speaks: this object, if it has a speaker."""
        return self

    # ---- sound ---------------------------------------------------------------------------------------------------

    def read(self, n: int, timeout: float) -> Samples | None:
        return self._capture.read(n, timeout)

    def pending(self) -> int:
        return self._capture.pending()

    def skip(self, n: int) -> int:
        return self._capture.skip(n)

    def write(self, pcm: Samples) -> None:
        self._playout.write(pcm)

    def queued(self) -> int:
        return self._playout.queued()

    def clear(self) -> None:
        self._playout.clear()

    # ---- what there is -------------------------------------------------------------------------------------------

    @property
    def canceller(self) -> str | None:
        """The echo canceller's name, None if there is none."""
        return None if self._canceller is None else self._canceller.name

    @property
    def devices(self) -> dict[Direction, AudioDevice]:
        """Those in use now; empty while they are away."""
        return {} if (line := self._line) is None else line.devices

    def stats(self) -> PortStats:
        """Of both directions together; `latency` is that of the way in and the way out."""
        recorded, played, line = self._capture.stats(), self._playout.stats(), self._line
        latency = recorded.latency + played.latency
        if line is not None:
            latency += line.input_latency + line.output_latency
        return replace(
            played,
            overruns=recorded.overruns,
            xruns=self._xruns + (0 if line is None else line.xruns),
            latency=latency,
            lost=line is None,
            detail=self._detail,
        )

    def _capture_for(self, line: Line) -> Capture:
        self._canceller = open_canceller(line.input_rate) if self._echo_wanted else None
        if self._canceller is None:
            return Capture(line.input_rate, clock=self._clock)
        self._canceller.set_delay(line.input_latency + line.output_latency)
        return Capture(line.input_rate, echo=self._canceller.process, clock=self._clock)

    # ---- watching ------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._closing.wait(_RETRY if self._line is None else _LOOK):
            try:
                self.look()
            except Exception:  # what can fail in a driver is not known, and this thread must not end
                log.exception("Watching the sound device failed; going on")

    def look(self) -> None:
        """Looks after the devices: notes that one went away, or tries to get it back."""
        line = self._line
        if line is None:
            try:
                refresh_devices()
            except AudioDeviceError as error:
                log.debug("The sound device is not back: %s", error)
                return
            self._come_back()
        elif not line.alive:
            self._detail = f"{_LOST} {_named(line.devices)}; the conversation goes on in silence until it is back."
            log.warning("%s", self._detail)
            self._leave(line)
        elif self._skips(line):
            self._latency += 1
            log.info("The sound skips; giving %s more room", _named(line.devices))
            self._leave(line)
            self._come_back()

    def _leave(self, line: Line) -> None:
        self._xruns += line.xruns
        self._line = None
        line.leave()
        line.close()

    def _skips(self, line: Line) -> bool:
        """Whether sound is missed again and again, and more room could help."""
        since, before = self._counted
        if self._clock.now() - since < _WINDOW and line.xruns >= before:
            return False
        self._counted = self._clock.now(), line.xruns
        return line.xruns - before >= _TOO_MANY and self._latency + 1 < len(_LATENCIES)

    def _come_back(self) -> None:
        try:
            line = self._open()
        except AudioDeviceError as error:
            log.debug("The sound device is not back: %s", error)
            return
        if self._capture.rate != line.input_rate:  # another device, perhaps
            self._capture = self._capture_for(line)
        if self._playout.rate != line.output_rate:
            self._playout = Playout(line.output_rate)
        self._playout.clear()  # what nobody heard then would come late now
        try:
            line.start(self._capture, self._playout)
        except AudioDeviceError as error:
            log.debug("The sound device is not back: %s", error)
            return
        self._line = line
        self._counted = self._clock.now(), 0
        if self._detail.startswith(_LOST):
            self._detail = f"Sound is back: {_named(line.devices)}."
            log.info("%s", self._detail)

    def _open(self) -> Line:
        found = {way: find_device(way, wish) for way, wish in self._wanted.items()}
        microphone, speaker = found.get(Direction.INPUT), found.get(Direction.OUTPUT)
        return Line(microphone, speaker, latency=_LATENCIES[self._latency], clock=self._clock)

    # ---- closing -------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Gives the devices back; closing twice is allowed. Takes some seconds at most, even if a driver hangs."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._capture.close()
        self._playout.close()
        if self._watcher.is_alive():
            self._watcher.join(_GIVE_UP)
        if self._line is not None:
            self._line.leave()
            self._line.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _named(devices: dict[Direction, AudioDevice]) -> str:
    """For a sentence."""
    names = {way: device.name for way, device in devices.items()}
    if len(names) == 2 and len(set(names.values())) == 1:
        return f"the sound device {names[Direction.INPUT]!r}"
    return " and ".join(f"the {way.noun} {name!r}" for way, name in names.items())
